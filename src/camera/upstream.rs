//! The one connection to the camera: opened when wanted, given up when stalled, closed when nobody watches.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::demand::Demand;
use super::frame::{FRAME_LIMIT, Frame, plausible};
use super::health::{Health, Meter, Phase, Status};
use super::settings::Settings;
use super::video::Video;
use crate::model::CameraKind;
use crate::net::backoff::Backoff;
use crate::printer::io::{AccessUnit, CameraError, CameraFeed, CameraSource};

/// A printer needs a moment to free the slot of the connection that just closed.
const SETTLE: Duration = Duration::from_millis(500);
/// Fraction of a pause that is random.
const JITTER: f64 = 0.2;

/// What the connection task and the viewers share.
pub(super) struct Upstream {
    pub settings: Settings,
    pub demand: Arc<Demand>,
    pub status: watch::Sender<Status>,
    pub meter: Meter,
    pub outlet: Outlet,
    /// Nothing is opened before.
    rested: Instant,
}

/// Where the pictures go.
pub(super) enum Outlet {
    /// The latest one wins.
    Pictures(watch::Sender<Option<Arc<Frame>>>),
    /// Each one counts.
    Video(Arc<Video>),
}

/// Why a connection ended.
enum End {
    Cancelled,
    Idle,
    Fault(CameraError),
}

impl Upstream {
    pub fn new(settings: Settings, outlet: Outlet) -> Arc<Self> {
        Arc::new(Self {
            rested: Instant::now() + settings.rest,
            settings,
            demand: Arc::default(),
            status: watch::Sender::default(),
            meter: Meter::default(),
            outlet,
        })
    }

    /// Runs until `cancel`. There is one such task per upstream, which is why connections cannot overlap.
    pub async fn run(self: Arc<Self>, source: Arc<dyn CameraSource>, cancel: CancellationToken) {
        let mut backoff = Backoff::new(self.settings.backoff_min, self.settings.backoff_max, JITTER);
        loop {
            let wanted = async {
                self.demand.wanted(self.settings.idle_close).await;
                sleep_until(self.rested).await;
            };
            tokio::select! {
                () = cancel.cancelled() => break,
                () = wanted => {}
            }
            let began = Instant::now();
            let pause = match self.session(source.as_ref(), &cancel).await {
                End::Cancelled => break,
                End::Idle => {
                    self.phase(Phase::Closed);
                    if let Outlet::Video(video) = &self.outlet {
                        video.restart();
                    }
                    SETTLE
                }
                End::Fault(error) => {
                    if began.elapsed() >= self.settings.stale * 2 {
                        backoff.reset();
                    }
                    let pause = self.pause(&mut backoff, &error);
                    self.failed(error);
                    pause
                }
            };
            tokio::select! {
                () = cancel.cancelled() => break,
                () = sleep(pause) => {}
            }
            // Whoever comes now is worth an attempt, so he waits for it instead of being told the old reason.
            self.phase(Phase::Closed);
        }
        self.status.send_modify(|status| *status = Status { opened: status.opened, ..Status::default() });
    }

    /// The connection's state and figures.
    pub fn health(&self, kind: CameraKind) -> Health {
        Health::of(kind, self.status.borrow().clone(), self.meter.read(), self.demand.viewers())
    }

    fn phase(&self, phase: Phase) {
        self.status.send_modify(|status| status.phase = phase);
    }

    /// A fault that needs the user is not worth knocking every two seconds.
    fn pause(&self, backoff: &mut Backoff, error: &CameraError) -> Duration {
        let pause = backoff.next_delay();
        match error {
            CameraError::Blocked(_) => pause.max(self.settings.backoff_max / 2),
            CameraError::Lost(_) => pause,
        }
    }

    fn failed(&self, error: CameraError) {
        let blocked = matches!(error, CameraError::Blocked(_));
        let reason = crate::secret::redact(&error.to_string());
        self.status.send_modify(|status| {
            if status.reason.as_ref() != Some(&reason) {
                tracing::info!(%reason, "The camera is dark.");
            }
            status.phase = Phase::Waiting;
            status.reason = Some(reason);
            status.blocked = blocked;
        });
    }

    /// Opens the camera and passes its pictures on. The feed is gone when this returns.
    async fn session(&self, source: &dyn CameraSource, cancel: &CancellationToken) -> End {
        self.status.send_modify(|status| {
            status.phase = Phase::Opening;
            status.opened += 1;
        });
        let mut idle = pin!(self.demand.idle(self.settings.idle_close));
        let deadline = self.settings.open_deadline;
        let opened = tokio::select! {
            biased;
            () = cancel.cancelled() => return End::Cancelled,
            () = &mut idle => return End::Idle,
            opened = timeout(deadline, source.open()) => opened,
        };
        let feed = match opened {
            Ok(Ok(feed)) => feed,
            Ok(Err(error)) => return End::Fault(error),
            Err(_) => {
                return End::Fault(lost(format!("the camera did not answer within {}", text(deadline))));
            }
        };
        self.status.send_modify(|status| status.phase = Phase::Open);
        let ended = async {
            match (feed, &self.outlet) {
                (CameraFeed::Jpeg(feed), Outlet::Pictures(pictures)) => {
                    self.pump(feed, |data| self.picture(pictures, data)).await
                }
                (CameraFeed::H264(feed), Outlet::Video(video)) => {
                    video.restart();
                    self.pump(feed, |unit| self.unit(video, unit)).await
                }
                (CameraFeed::Jpeg(_), Outlet::Video(_)) => {
                    blocked("the camera sends JPEG, H.264 was expected")
                }
                (CameraFeed::H264(_), Outlet::Pictures(_)) => {
                    blocked("the camera sends H.264, JPEG was expected")
                }
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => End::Cancelled,
            () = &mut idle => End::Idle,
            error = ended => End::Fault(error),
        }
    }

    /// Passes pictures on until the feed ends or stalls, and says why.
    async fn pump<T>(
        &self,
        mut feed: BoxStream<'static, Result<T, CameraError>>,
        mut publish: impl FnMut(T) -> bool,
    ) -> CameraError {
        let stale = self.settings.stale;
        let mut deadline = Instant::now() + stale;
        let mut dark = true;
        loop {
            match timeout_at(deadline, feed.next()).await {
                Err(_) => return lost(format!("no picture for {}", text(stale))),
                Ok(None) => return lost("the camera closed the connection".to_owned()),
                Ok(Some(Err(error))) => return error,
                Ok(Some(Ok(item))) => {
                    if !publish(item) {
                        self.meter.discard();
                        continue;
                    }
                    deadline = Instant::now() + stale;
                    if dark {
                        dark = false;
                        self.lit();
                    }
                }
            }
        }
    }

    /// What comes first: the picture, the reason of a failed attempt, or the end of patience.
    pub async fn first<T>(&self, next: impl Future<Output = Option<T>>) -> Result<T, CameraError> {
        let limit = self.settings.first_picture;
        tokio::select! {
            next = timeout(limit, next) => match next {
                Ok(next) => next.ok_or_else(stopping),
                Err(_) => Err(lost(format!("no picture within {}", text(limit)))),
            },
            error = self.dark() => Err(error),
        }
    }

    /// Returns the reason once an attempt has failed.
    async fn dark(&self) -> CameraError {
        let mut status = self.status.subscribe();
        let failed = status.wait_for(|status| status.phase == Phase::Waiting).await;
        match failed.as_deref() {
            Ok(Status { reason, blocked, .. }) => {
                let reason = reason.clone().unwrap_or_default();
                if *blocked { CameraError::Blocked(reason) } else { CameraError::Lost(reason) }
            }
            Err(_) => stopping(),
        }
    }

    /// The first good picture of a connection ends whatever was wrong.
    fn lit(&self) {
        self.status.send_modify(|status| {
            if status.reason.take().is_some() {
                tracing::info!("The camera is back.");
            }
            status.blocked = false;
        });
    }

    fn picture(&self, pictures: &watch::Sender<Option<Arc<Frame>>>, data: bytes::Bytes) -> bool {
        let good = plausible(&data);
        if good {
            let number = self.meter.frame();
            pictures.send_replace(Some(Arc::new(Frame::new(data, number))));
        }
        good
    }

    fn unit(&self, video: &Video, unit: AccessUnit) -> bool {
        let good = unit.data.len() <= FRAME_LIMIT && video.accept(unit);
        if good {
            self.meter.frame();
        }
        good
    }
}

fn stopping() -> CameraError {
    lost("the gateway is stopping".to_owned())
}

fn lost(text: String) -> CameraError {
    CameraError::Lost(text)
}

fn blocked(text: &str) -> CameraError {
    CameraError::Blocked(text.to_owned())
}

fn text(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}
