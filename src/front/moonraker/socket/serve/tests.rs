//! How long a slow client is waited for.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::Context;

use tokio::time::{Sleep, sleep};

use super::*;

/// A client that takes so many bytes a second, and none at all with 0.
struct Client {
    takes: u64,
    /// Bytes that are on their way to it.
    underway: u64,
    busy: Option<Pin<Box<Sleep>>>,
    /// Bytes that it has.
    has: u64,
}

impl Client {
    fn new(takes: u64) -> Self {
        Self { takes, underway: 0, busy: None, has: 0 }
    }
}

impl Sink<Message> for Client {
    type Error = Infallible;

    /// One frame at a time, as in a socket whose buffer is full.
    fn poll_ready(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.poll_flush(task)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: Message) -> Result<(), Infallible> {
        self.underway = frame.into_data().len() as u64;
        let time = match self.takes {
            0 => Duration::MAX,
            takes => Duration::from_secs_f64(self.underway as f64 / takes as f64),
        };
        self.busy = Some(Box::pin(sleep(time)));
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if let Some(busy) = &mut self.busy {
            ready!(busy.as_mut().poll(task));
            self.busy = None;
            self.has += std::mem::take(&mut self.underway);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.poll_flush(task)
    }
}

fn frame(bytes: usize) -> Waiting {
    Waiting::new("x".repeat(bytes).into(), &Arc::default())
}

/// Whether a client that takes so many bytes a second is sent all of these frames, and after how many seconds that is
/// known.
async fn sent(takes: u64, frames: &[usize]) -> (bool, u64) {
    let mut outgoing = Outgoing::new(Client::new(takes));
    frames.iter().for_each(|bytes| outgoing.push(frame(*bytes)));
    let begun = Instant::now();
    let sent = outgoing.send().await.is_ok();
    assert_eq!(sent, outgoing.sink.has == frames.iter().sum::<usize>() as u64);
    assert_eq!(sent, !outgoing.due(), "what was sent counts no more");
    (sent, begun.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_waited_for_ten_seconds_and_by_the_length_of_its_answer() {
    assert_eq!(sent(0, &[100]).await, (false, 10));
    assert_eq!(sent(0, &[1 << 20]).await, (false, 10 + 64));
    assert_eq!(sent(0, &[8 << 10, 16 << 10, 8 << 10]).await, (false, 10 + 2));
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_reaches_a_slow_client() {
    // Eight megabytes, such as a large listing, at the least that is asked for, and at less.
    assert_eq!(sent(SLOWEST, &[8 << 20]).await, (true, 512));
    assert_eq!(sent(SLOWEST / 2, &[8 << 20]).await, (false, 10 + 512));
    // Short frames are in time at much less.
    assert_eq!(sent(100, &[200; 4]).await, (true, 8));
}

/// The time runs from the first frame that waits, however often what comes later makes the sending begin again.
#[tokio::test(start_paused = true)]
async fn frames_that_come_later_buy_a_stuck_client_no_time() {
    let mut outgoing = Outgoing::new(Client::new(0));
    outgoing.push(frame(100));
    let begun = Instant::now();
    for _ in 0..4 {
        assert!(
            tokio::time::timeout(Duration::from_secs(2), outgoing.send()).await.is_err(),
            "still waited for"
        );
        outgoing.push(frame(100));
    }
    assert!(outgoing.send().await.is_err());
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn each_batch_has_its_own_time() {
    let mut outgoing = Outgoing::new(Client::new(SLOWEST));
    for _ in 0..20 {
        outgoing.push(frame(8 * SLOWEST as usize));
        assert!(outgoing.send().await.is_ok());
    }
    assert_eq!(outgoing.sink.has, 160 * SLOWEST);
}
