//! The start pipeline: the turn, the plan, the file to the printer, and the start, which is sent once. What becomes of it
//! is watched by `landing`.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::intent::{Intent, Stage};
use super::plan::{self, Plan, Way};
use super::transfer::link_lost;
use super::turn::Turn;
use super::{Inner, Intended, MappedFilament, StartError, StartRequest};
use crate::filament::Planned;
use crate::model::{Command, CommandError, Job, JobOrigin, JobPhase, PrinterState, Speaker, StartJob};
use crate::printer::clock::unix_now;

const CANCELLED: &str = "Cancelled before the print began.";

/// The start under way.
pub struct Active {
    pub serial: u64,
    pub file: String,
    /// Set by a cancel: ends a transfer; a start that was sent is cancelled when it has landed.
    pub abort: CancellationToken,
    /// What the printer said against that cancel.
    refused: watch::Sender<Option<CommandError>>,
}

/// Resolves when the printer refuses to cancel what has landed.
pub async fn refused(told: &mut watch::Receiver<Option<CommandError>>) -> CommandError {
    match told.wait_for(Option::is_some).await.map(|told| told.clone()) {
        Ok(Some(error)) => error,
        _ => std::future::pending().await,
    }
}

/// Why a start did not become a print.
pub struct End {
    pub phase: JobPhase,
    pub reason: String,
}

pub fn failed(reason: impl Into<String>) -> End {
    End { phase: JobPhase::Failed, reason: reason.into() }
}

pub fn cancelled() -> End {
    End { phase: JobPhase::Cancelled, reason: CANCELLED.to_owned() }
}

fn closing() -> StartError {
    StartError::Failed("The gateway is shutting down.".to_owned())
}

impl Inner {
    /// Guards, then makes the job known and lets it run on its own.
    pub async fn start(
        self: &Arc<Self>,
        request: StartRequest,
        intended: Intended,
    ) -> Result<u64, StartError> {
        let request = self.by_its_plate(request).await;
        let wanted = || match self.held.borrow().as_deref() {
            _ if intended.withdrawn() => Err(StartError::Failed(CANCELLED.to_owned())),
            Some(why) => Err(StartError::Objection { code: "stopped".to_owned(), text: why.to_owned() }),
            None => Ok(()),
        };
        let (_gate, plan) = loop {
            let gate = match self.turn(&request.file).await? {
                Turn::Ours(gate) => gate,
                Turn::Begun(serial) => return Ok(serial),
            };
            wanted()?;
            let plan = tokio::select! {
                () = self.cancel.cancelled() => return Err(closing()),
                plan = self.plan(&request) => plan?,
            };
            wanted()?;
            if !self.is_deleting(&plan.remote_path) {
                break (gate, plan);
            }
            // What is left of its last print is just being deleted: what is there is known when that is done.
            drop(gate);
            tokio::select! {
                () = self.cancel.cancelled() => return Err(closing()),
                () = self.deleted(&plan.remote_path) => wanted()?,
            }
        };
        plan.check(&request.overrides)?;
        let intent = Intent {
            stage: Stage::Transferring,
            file: plan.file.path.clone(),
            plate: plan.told_plate,
            token: rand::random_range(1..1 << 31),
            title: plan.title.clone(),
            remote_path: plan.remote_path.clone(),
            started_at: unix_now(),
            queued: request.queued.clone(),
        };
        if let Err(error) = self.keep_intent(&intent).await {
            // Memory has it all the same: it must not reach the disk later.
            self.forget_intent(intent.token).await;
            let text = format!("The print was not started, as it could not be noted on disk: {error}.");
            return Err(StartError::Failed(text));
        }
        self.filament.begin(intent.token, &intent.file, account(&plan)).await;
        let phase = if plan.transfer { JobPhase::Transferring } else { JobPhase::Starting };
        let Some((serial, abort)) = self.announce(&intent, phase) else {
            self.forget_intent(intent.token).await;
            return Err(CommandError::Busy("The printer just began another job.".to_owned()).into());
        };
        if intended.withdrawn() {
            abort.cancel();
        }
        let inner = self.clone();
        self.tasks.spawn(async move { inner.carry(plan, intent, serial, abort).await });
        Ok(serial)
    }

    /// A plate asked for by the name of its archive goes by its own name: under that it is listed, with its own picture
    /// and figures, and under that a slicer's upload has started it already.
    async fn by_its_plate(&self, request: StartRequest) -> StartRequest {
        let Ok(file) = self.library.job_file(&request.file).await else { return request };
        if !file.archive || file.plate.is_some() || file.local.is_none() {
            return request;
        }
        let Ok(plate) = plan::plate(&request, &file) else { return request };
        match self.library.plate_path(&file.stored, plate) {
            Some(listed) => StartRequest { file: listed, plate: Some(plate), ..request },
            None => request,
        }
    }

    /// Makes a job of ours the printer's job; `None` where another one is under way.
    pub fn announce(&self, intent: &Intent, phase: JobPhase) -> Option<(u64, CancellationToken)> {
        let mut announced = None;
        self.printer.writer().job(|job| {
            if job.phase.active() {
                return;
            }
            let serial = job.serial + 1;
            announced = Some(serial);
            *job = Job {
                serial,
                phase,
                origin: JobOrigin::Gateway,
                file: Some(intent.file.clone()),
                title: Some(intent.title.clone()),
                token: Some(intent.token.to_string()),
                plate: intent.plate,
                started_at: Some(intent.started_at),
                ..Job::default()
            };
        });
        let (serial, abort) = (announced?, CancellationToken::new());
        let refused = watch::Sender::new(None);
        *self.active() = Some(Active { serial, file: intent.file.clone(), abort: abort.clone(), refused });
        Some((serial, abort))
    }

    async fn carry(self: Arc<Self>, plan: Plan, intent: Intent, serial: u64, abort: CancellationToken) {
        let result = tokio::select! {
            // A gateway that stops leaves everything as it is: the next one finds the intent.
            () = self.cancel.cancelled() => {
                abort.cancel();
                return;
            }
            result = self.bring_to_print(&plan, &intent, serial, &abort) => result,
        };
        self.settle(&intent, serial, result.err()).await;
    }

    pub(super) async fn settle(&self, intent: &Intent, serial: u64, end: Option<End>) {
        if let Some(end) = end {
            let told = self.end_job(serial, end.phase, &end.reason);
            if end.phase == JobPhase::Failed && !told {
                // Another job is shown by now: the end of this one is no event.
                let text = format!("Print failed: {} ({})", intent.file, end.reason);
                self.printer.writer().console(Speaker::Error, text);
            }
        }
        self.forget_intent(intent.token).await;
        let settled = self.active().take();
        self.settled.notify_waiters();
        let cancelled = settled.filter(|active| active.serial == serial && active.abort.is_cancelled());
        let state = self.printer.state();
        let runs = state.job.serial == serial && state.job.phase.active();
        if let Some(asked) = cancelled
            && runs
            && let Err(error) = self.printer.send(Command::Cancel).await
        {
            let text = format!("\"{}\" could not be cancelled: {error}", intent.file);
            self.printer.writer().console(Speaker::Error, text);
            asked.refused.send_replace(Some(error));
        }
        self.cleanup_due.notify_one();
    }

    /// True where the job was still shown as beginning: its end is an event then, which the console tells.
    fn end_job(&self, serial: u64, phase: JobPhase, reason: &str) -> bool {
        let mut ended = false;
        self.printer.writer().job(|job| {
            ended = job.serial == serial && matches!(job.phase, JobPhase::Transferring | JobPhase::Starting);
            if ended {
                job.phase = phase;
                job.reason = Some(reason.to_owned());
                job.ended_at = Some(unix_now());
                job.transfer = None;
                job.requested = None;
                job.detail = None;
            }
        });
        ended
    }

    async fn bring_to_print(
        &self,
        plan: &Plan,
        intent: &Intent,
        serial: u64,
        abort: &CancellationToken,
    ) -> Result<(), End> {
        let (md5, link) = match plan.way {
            Way::OnPrinter => (None, plan.link),
            _ => {
                let (md5, link) = self.bring_file(plan, intent, serial, abort).await?;
                (Some(md5), link)
            }
        };
        let baseline = self.before_start(link, intent, serial, abort).await?;
        let start = StartJob {
            remote_path: plan.remote_path.clone(),
            title: plan.title.clone(),
            plate: plan.plate,
            token: intent.token,
            md5,
            mapping: plan.mapping.slots.clone(),
            options: plan.options.clone(),
        };
        let sending = self.printer.send_unless(Command::StartJob(Box::new(start)), abort);
        let answer = tokio::select! {
            answer = sending => answer.map(drop),
            () = self.seen_running(serial) => Ok(()),
        };
        let lost = match answer {
            Ok(()) => {
                "The printer took the start, but shows nothing of it. It was not started again: look at the printer."
            }
            // Whether the printer has it is unknown: only its own report can tell.
            Err(CommandError::Offline(_) | CommandError::Timeout(_)) => {
                "The connection was lost as the print was being started, and the printer shows nothing of it. It was not \
                 started again: look at the printer."
            }
            Err(_unsent) if abort.is_cancelled() => return Err(cancelled()),
            Err(error) => return Err(failed(error.to_string())),
        };
        let known = baseline.device.faults.clone();
        self.watch_start(intent, serial, abort, Some(&known), lost).await
    }

    /// The last checks, and the note on disk without which nothing is sent. Returns the state before the start.
    async fn before_start(
        &self,
        link: u64,
        intent: &Intent,
        serial: u64,
        abort: &CancellationToken,
    ) -> Result<Arc<PrinterState>, End> {
        let state = self.printer.state();
        if state.job.serial != serial || state.device.job.stage.active() {
            return Err(failed("The printer began another job in the meantime."));
        }
        if state.job.requested == Some(JobPhase::Cancelling) {
            return Err(cancelled());
        }
        if !state.link.holds(link) {
            return Err(link_lost());
        }
        self.printer.writer().job(|job| {
            if job.serial == serial {
                job.phase = JobPhase::Starting;
                job.transfer = None;
            }
        });
        let noted = self.keep_intent(&Intent { stage: Stage::Starting, ..intent.clone() }).await;
        noted.map_err(|error| {
            failed(format!("The print was not started, as it could not be noted on disk: {error}."))
        })?;
        if abort.is_cancelled() {
            return Err(cancelled());
        }
        if self.printer.state().link.holds(link) { Ok(state) } else { Err(link_lost()) }
    }

    /// Cancels the start under way; `None` when there is none. Also where what the printer has against it will be told.
    pub fn abort_start(&self) -> Option<(u64, watch::Receiver<Option<CommandError>>)> {
        let state = self.printer.state();
        let active = self.active();
        let active =
            active.as_ref().filter(|active| active.serial == state.job.serial && state.job.phase.active())?;
        active.abort.cancel();
        Some((active.serial, active.refused.subscribe()))
    }
}

/// What the plate takes of each filament, and from where.
fn account(plan: &Plan) -> Vec<Planned> {
    let filaments = &plan.mapping.filaments;
    let planned =
        |used: &MappedFilament| Some(Planned { index: used.index, slot: used.slot, grams: used.weight_g? });
    let weighed: Vec<Planned> = filaments.iter().filter_map(planned).collect();
    match (weighed.is_empty(), filaments.as_slice(), plan.file.metadata.filament_weight_total) {
        (true, [only], Some(grams)) => vec![Planned { index: only.index, slot: only.slot, grams }],
        _ => weighed,
    }
}
