//! What a host sends for the library: stored one step after the other, while the port goes on reading. A disk that
//! hangs must not keep an emergency stop in the kernel's buffer.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::desk::{SharedDesk, Sink};
use crate::jobs::Intended;

/// A piece must be on disk within this time.
const DISK: Duration = Duration::from_secs(10);
/// A deletion, the first step of a file, or the check of a finished one ends within this time.
const FILE_WORK: Duration = Duration::from_secs(120);
/// Steps that may wait before the host must; a step is a piece of 64 KiB at most times.
const BEHIND: usize = 2;

/// What is done with a file, in this order.
enum Step {
    Begin(String),
    Write(Bytes),
    End,
    /// As [`Step::End`], then it is printed.
    Print(Intended),
}

impl Step {
    fn ends(&self) -> bool {
        matches!(self, Self::End | Self::Print(_))
    }
}

/// What a step came to.
pub(super) enum Stored {
    /// Nothing that the host must be told.
    Piece,
    /// The file is not stored; what was still to come of it is thrown away.
    Failed(String),
    /// The whole file is in the library, or was refused there.
    Whole(Result<(), String>),
    /// The whole file of a streamed print: its path, or why there is none.
    Printable(Result<String, String>, Intended),
}

type Outcome = (Option<Box<dyn Sink>>, Stored);

struct UnderWay {
    work: BoxFuture<'static, Outcome>,
    ends: bool,
}

/// The files of one port, one after the other.
pub(super) struct Spool {
    desk: SharedDesk,
    steps: VecDeque<Step>,
    under_way: Option<UnderWay>,
    /// The file that is open between two steps.
    sink: Option<Box<dyn Sink>>,
}

impl Spool {
    pub fn new(desk: SharedDesk) -> Self {
        Self { desk, steps: VecDeque::new(), under_way: None, sink: None }
    }

    /// A file begins; without a name it gets one.
    pub fn begin(&mut self, name: String) {
        self.steps.push_back(Step::Begin(name));
    }

    /// Its next piece.
    pub fn write(&mut self, piece: Bytes) {
        self.steps.push_back(Step::Write(piece));
    }

    /// It is whole.
    pub fn end(&mut self) {
        self.steps.push_back(Step::End);
    }

    /// It is whole, and is to be printed unless the start is withdrawn meanwhile.
    pub fn print(&mut self, intended: Intended) {
        self.steps.push_back(Step::Print(intended));
    }

    /// Throws away the file that is not whole yet; those before it are stored.
    pub fn abort(&mut self) {
        let whole = self.steps.iter().rposition(Step::ends).map_or(0, |last| last + 1);
        self.steps.truncate(whole);
        if whole == 0 && !self.under_way.as_ref().is_some_and(|step| step.ends) {
            self.under_way = None;
            self.sink = None;
        }
    }

    /// So much waits that the host must.
    pub fn behind(&self) -> bool {
        self.steps.len() > BEHIND
    }

    /// The end of the next step; pending while there is none. Cancel-safe.
    pub async fn next(&mut self) -> Stored {
        if self.under_way.is_none() {
            self.under_way = self.begin_step();
        }
        let Some(step) = &mut self.under_way else { return std::future::pending().await };
        let (sink, stored) = step.work.as_mut().await;
        self.under_way = None;
        self.sink = sink;
        stored
    }

    fn begin_step(&mut self) -> Option<UnderWay> {
        loop {
            let step = self.steps.pop_front()?;
            let ends = step.ends();
            let work: BoxFuture<'static, Outcome> = match (step, self.sink.take()) {
                (Step::Begin(name), _) => Box::pin(begin(self.desk.clone(), name)),
                (Step::Write(piece), Some(sink)) => Box::pin(write(sink, piece)),
                (Step::End, Some(sink)) => {
                    Box::pin(
                        async move { (None, Stored::Whole(in_time(sink.finish()).await.map(|_path| ()))) },
                    )
                }
                (Step::Print(intended), Some(sink)) => {
                    Box::pin(async move { (None, Stored::Printable(in_time(sink.finish()).await, intended)) })
                }
                // Of a file that failed, which was told.
                (_, None) => continue,
            };
            return Some(UnderWay { work, ends });
        }
    }
}

async fn begin(desk: SharedDesk, name: String) -> Outcome {
    let name = if name.is_empty() {
        format!("streamed-{}.gcode", jiff::Zoned::now().strftime("%Y%m%d-%H%M%S"))
    } else {
        name
    };
    match in_time(desk.begin(name)).await {
        Ok(sink) => (Some(sink), Stored::Piece),
        Err(error) => (None, Stored::Failed(error)),
    }
}

async fn write(mut sink: Box<dyn Sink>, piece: Bytes) -> Outcome {
    match tokio::time::timeout(DISK, sink.write(piece)).await {
        Ok(Ok(())) => (Some(sink), Stored::Piece),
        Ok(Err(error)) => (None, Stored::Failed(error)),
        Err(_late) => (None, Stored::Failed("The disk does not answer.".to_owned())),
    }
}

/// Work on files that may take long, but not for ever.
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(FILE_WORK, work)
        .await
        .unwrap_or_else(|_late| Err("It took longer than two minutes.".to_owned()))
}
