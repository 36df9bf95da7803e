use super::*;
use crate::model::Link;

/// A tiny printer: snapshots follow each other through `follow` as the writer does it.
struct Played {
    state: PrinterState,
    events: Vec<Event>,
    now: f64,
}

impl Played {
    fn online(stage: DeviceStage) -> Self {
        let mut played = Self { state: PrinterState::default(), events: Vec::new(), now: 1000.0 };
        played.step(|s| s.link = Link { phase: LinkPhase::Syncing, ..Link::default() });
        played.step(|s| {
            s.device.job.stage = stage;
            s.link.phase = LinkPhase::Online;
        });
        played
    }

    fn step(&mut self, change: impl FnOnce(&mut PrinterState)) -> JobPhase {
        let before = self.state.clone();
        change(&mut self.state);
        self.now += 1.0;
        follow(&before, &mut self.state, self.now, &mut self.events);
        self.state.job.phase
    }

    fn stage(&mut self, stage: DeviceStage) -> JobPhase {
        self.step(|s| s.device.job.stage = stage)
    }

    fn started_and_ended(&self) -> (usize, usize) {
        let count = |want: fn(&Event) -> bool| self.events.iter().filter(|e| want(e)).count();
        (count(|e| matches!(e, Event::JobStarted(_))), count(|e| matches!(e, Event::JobEnded(_))))
    }
}

#[test]
fn a_complete_job_found_at_connect_is_done_to_its_last_layer() {
    // The Centauri Carbon tells no progress of a job that is over.
    let mut played = Played::online(DeviceStage::Idle);
    played.step(|s| {
        s.device.job.stage = DeviceStage::Finished;
        s.device.job.total_layers = Some(12);
    });
    assert!(played.state.job.found_ended);
    assert_eq!((played.state.job.progress, played.state.job.layer), (1.0, Some(12)));
}

#[test]
fn an_end_found_at_connect_is_history_not_news() {
    let played = Played::online(DeviceStage::Failed);
    assert_eq!(played.state.job.phase, JobPhase::Failed);
    assert!(played.state.job.found_ended);
    assert_eq!(played.started_and_ended(), (0, 0));
}

#[test]
fn a_run_without_a_number_is_another_one_only_under_another_title() {
    let mut played = Played::online(DeviceStage::Idle);
    played.step(|s| {
        s.device.job.stage = DeviceStage::Printing;
        (s.device.job.token, s.device.job.title) = (Some("77001".into()), Some("cube".into()));
    });
    let serial = played.state.job.serial;
    played.step(|s| s.device.job.token = None);
    assert_eq!(played.state.job.serial, serial, "the same title");
    played.step(|s| s.device.job.token = Some("77001".into()));
    played.step(|s| (s.device.job.token, s.device.job.title) = (None, Some("vase".into())));
    assert_eq!((played.state.job.serial, played.state.job.phase), (serial + 1, JobPhase::Printing));
    assert_eq!(played.state.job.origin, JobOrigin::Elsewhere);
    assert_eq!(played.started_and_ended(), (2, 1));
}

#[test]
fn the_same_title_begun_anew_while_the_link_was_lost_is_another_run() {
    for (ours, told, anew) in
        [(Some("77001"), None, true), (None, None, true), (Some("77001"), Some("77001"), false)]
    {
        for (progress, lost) in [(0.05, true), (0.38, true), (0.6, true), (0.05, false)] {
            let mut played = Played::online(DeviceStage::Idle);
            played.step(|s| {
                s.device.job.stage = DeviceStage::Printing;
                (s.device.job.token, s.device.job.progress) = (ours.map(str::to_owned), Some(0.4));
            });
            let serial = played.state.job.serial;
            if lost {
                played.step(|s| s.link.phase = LinkPhase::Backoff);
                played.step(|s| s.link.phase = LinkPhase::Syncing);
            }
            played.step(|s| {
                (s.device.job.token, s.device.job.progress) = (told.map(str::to_owned), Some(progress));
            });
            played.step(|s| s.link.phase = LinkPhase::Online);
            played.step(|s| s.device.job.layer = Some(1));
            let another = usize::from(anew && lost && progress < 0.3);
            assert_eq!(played.state.job.serial, serial + another as u64, "{ours:?} {progress} {lost}");
            assert_eq!(played.started_and_ended(), (1 + another, another), "{ours:?} {progress} {lost}");
        }
    }
}

#[test]
fn a_job_started_elsewhere_is_followed_to_its_end() {
    let mut played = Played::online(DeviceStage::Idle);
    assert_eq!(played.stage(DeviceStage::Preparing), JobPhase::Preparing);
    assert_eq!(played.state.job.origin, JobOrigin::Elsewhere);
    assert_eq!(played.stage(DeviceStage::Printing), JobPhase::Printing);
    played.step(|s| s.device.job.progress = Some(0.4));
    assert_eq!(played.stage(DeviceStage::Paused), JobPhase::Paused);
    assert_eq!(played.stage(DeviceStage::Printing), JobPhase::Printing);
    assert_eq!(played.stage(DeviceStage::Finished), JobPhase::Complete);
    assert_eq!(played.state.job.progress, 1.0);
    assert_eq!(played.state.job.printed_s, 3.0, "one second paused is not printing");
    assert_eq!(played.stage(DeviceStage::Idle), JobPhase::Complete, "the end stays until the next job");
    assert_eq!(played.started_and_ended(), (1, 1));
}

#[test]
fn our_start_waits_for_our_own_run() {
    let mut played = Played::online(DeviceStage::Finished);
    played.step(|s| s.device.job.token = Some("old".into()));
    played.step(|s| {
        s.job = Job {
            serial: s.job.serial + 1,
            phase: JobPhase::Starting,
            origin: JobOrigin::Gateway,
            file: Some("cube.gcode".into()),
            token: Some("77".into()),
            ..Job::default()
        }
    });
    assert_eq!(played.stage(DeviceStage::Finished), JobPhase::Starting, "the old end is not ours");
    assert_eq!(
        played.step(|s| s.device.job.token = Some("77".into())),
        JobPhase::Starting,
        "landed, not running"
    );
    assert_eq!(played.stage(DeviceStage::Preparing), JobPhase::Preparing);
    assert_eq!(played.state.job.file.as_deref(), Some("cube.gcode"));
    assert_eq!(played.stage(DeviceStage::Failed), JobPhase::Failed);
    assert!(played.state.job.reason.is_some());
    assert_eq!(played.started_and_ended(), (1, 1));
}

#[test]
fn a_requested_cancel_makes_a_failure_a_cancel() {
    let mut played = Played::online(DeviceStage::Idle);
    played.stage(DeviceStage::Printing);
    assert_eq!(played.step(|s| s.job.requested = Some(JobPhase::Cancelling)), JobPhase::Cancelling);
    assert_eq!(played.stage(DeviceStage::Failed), JobPhase::Cancelled);
    assert_eq!(played.state.job.reason, None);
}

#[test]
fn a_stopped_job_is_cancelled_whatever_the_printer_calls_its_end_unless_it_was_done() {
    for (progress, last, phase) in [
        (0.4, None, JobPhase::Cancelled),
        (0.4, Some(0.41), JobPhase::Cancelled),
        (0.97, Some(1.0), JobPhase::Complete),
        (0.995, None, JobPhase::Complete),
    ] {
        let mut played = Played::online(DeviceStage::Idle);
        played.stage(DeviceStage::Printing);
        played.step(|s| s.device.job.progress = Some(progress));
        played.step(|s| s.job.requested = Some(JobPhase::Cancelling));
        let ended = played.step(|s| {
            s.device.job.stage = DeviceStage::Finished;
            s.device.job.progress = last;
        });
        assert_eq!(ended, phase, "{progress} {last:?}");
        assert_eq!(played.state.job.progress < 1.0, phase == JobPhase::Cancelled);
    }
    let mut unasked = Played::online(DeviceStage::Idle);
    unasked.stage(DeviceStage::Printing);
    assert_eq!(unasked.stage(DeviceStage::Finished), JobPhase::Complete);
}

#[test]
fn a_requested_pause_shows_until_the_printer_has_paused() {
    let mut played = Played::online(DeviceStage::Idle);
    played.stage(DeviceStage::Printing);
    assert_eq!(played.step(|s| s.job.requested = Some(JobPhase::Pausing)), JobPhase::Pausing);
    assert_eq!(played.step(|s| s.device.job.progress = Some(0.2)), JobPhase::Pausing);
    assert_eq!(played.stage(DeviceStage::Paused), JobPhase::Paused);
    assert_eq!(played.state.job.requested, None);
}

#[test]
fn a_job_that_vanishes_is_judged_by_its_progress() {
    for (progress, expected) in [(0.995, JobPhase::Complete), (0.5, JobPhase::Failed)] {
        let mut played = Played::online(DeviceStage::Idle);
        played.stage(DeviceStage::Printing);
        played.step(|s| s.device.job.progress = Some(progress));
        assert_eq!(played.stage(DeviceStage::Idle), expected);
    }
}

/// A P1 reports every one to two seconds: what was printed since the last report is told with the end.
#[test]
fn the_last_report_tells_how_far_a_job_came() {
    for (stage, told, came) in [
        (DeviceStage::Failed, Some(0.51), 0.51),
        (DeviceStage::Cancelled, Some(0.51), 0.51),
        (DeviceStage::Failed, Some(0.0), 0.34),
        (DeviceStage::Cancelled, None, 0.34),
        (DeviceStage::Idle, Some(0.9), 0.34),
    ] {
        let mut played = Played::online(DeviceStage::Idle);
        played.stage(DeviceStage::Printing);
        played.step(|s| {
            s.device.job.progress = Some(0.34);
            s.device.job.layer = Some(8);
        });
        played.step(|s| {
            s.device.job.stage = stage;
            s.device.job.progress = told;
            s.device.job.layer = Some(0);
        });
        assert_eq!(
            (played.state.job.progress, played.state.job.layer),
            (came, Some(8)),
            "{stage:?} {told:?}"
        );
    }
    // Cancelled before it printed: the figures are still those of the job before.
    let mut played = Played::online(DeviceStage::Idle);
    played.stage(DeviceStage::Preparing);
    played.step(|s| {
        s.device.job.stage = DeviceStage::Cancelled;
        s.device.job.progress = Some(1.0);
    });
    assert_eq!(played.state.job.progress, 0.0);
}

#[test]
fn a_lost_link_ends_nothing() {
    let mut played = Played::online(DeviceStage::Idle);
    played.stage(DeviceStage::Printing);
    assert_eq!(played.step(|s| s.link.phase = LinkPhase::Backoff), JobPhase::Printing);
    assert_eq!(
        played.stage(DeviceStage::Idle),
        JobPhase::Printing,
        "no report counts while the link is down"
    );
}

#[test]
fn a_clock_that_is_set_makes_no_job_longer() {
    let mut job = Job { phase: JobPhase::Printing, started_at: Some(100.0), ..Job::default() };
    job.printing_since = Some(150.0);
    shift(&mut job, 86_400.0);
    assert_eq!((job.total_seconds(86_600.0), job.print_seconds(86_600.0)), (100.0, 50.0));
    shift(&mut job, -86_400.0);
    assert_eq!(job.total_seconds(200.0), 100.0);
    let mut ended = Job { phase: JobPhase::Complete, ended_at: Some(200.0), ..job };
    shift(&mut ended, 86_400.0);
    assert_eq!(ended.total_seconds(0.0), 100.0, "what has ended stays");
}

#[test]
fn the_printers_own_count_of_the_printing_time_is_believed() {
    let mut played = Played::online(DeviceStage::Idle);
    let told = |played: &mut Played, seconds: f64| {
        played.step(|s| s.device.job.print_s = Some(seconds));
        played.state.job.print_seconds(played.now)
    };
    played.stage(DeviceStage::Preparing);
    assert_eq!(told(&mut played, 500.0), 0.0, "nothing is printed yet");
    played.stage(DeviceStage::Printing);
    assert_eq!(told(&mut played, 60.0), 60.0);
    assert_eq!(told(&mut played, 60.5), 61.0, "a report is a little old");
    assert_eq!(told(&mut played, 120.0), 120.0, "its time may run faster");
    played.step(|_| ());
    assert_eq!(played.state.job.print_seconds(played.now), 121.0, "counted on between reports");
    assert_eq!(told(&mut played, 100.0), 100.0, "or more slowly");
    played.stage(DeviceStage::Paused);
    assert_eq!(told(&mut played, 104.0), 104.0);
    played.stage(DeviceStage::Finished);
    let job = &played.state.job;
    assert_eq!(
        (job.printed_s, job.total_seconds(played.now)),
        (104.0, 104.0),
        "a whole is no less than its part"
    );
}
