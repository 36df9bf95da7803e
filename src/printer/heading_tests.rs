//! Moves in a row, and commands that leave the head where nobody knows, in paused time.

use super::*;
use crate::model::{Axes, Link, LinkPhase, Seen};

fn at(position: Option<[f64; 3]>) -> Arc<PrinterState> {
    let link = Link { phase: LinkPhase::Online, ..Link::default() };
    let mut state = PrinterState { link, ..PrinterState::default() };
    state.device.motion.position = position;
    Arc::new(state)
}

fn place(axis: usize, value: f64) -> Command {
    let mut place = [None; 3];
    place[axis] = Some(value);
    Command::MoveTo { place, feed: None }
}

struct Printer {
    heading: Heading,
    reports: watch::Sender<Arc<PrinterState>>,
}

impl Printer {
    fn new(position: Option<[f64; 3]>) -> Self {
        Self { heading: Heading::default(), reports: watch::Sender::new(at(position)) }
    }

    /// Sends a command as the handle does; the way that the driver is given.
    async fn send(&self, command: Command, result: Result<Outcome, CommandError>) -> Option<[f64; 3]> {
        let command = self.heading.aim(command, self.reports.subscribe()).await.expect("known")?;
        let state = self.reports.borrow().clone();
        let before = self.heading.begin(&command, &state);
        self.heading.end(&command, before, &result);
        match command {
            Command::Jog { delta, .. } => Some(delta),
            _ => None,
        }
    }

    async fn goes(&self, command: Command) -> Option<[f64; 3]> {
        self.send(command, Ok(Outcome::new(Seen::Acknowledged))).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_move_goes_on_from_the_first_whose_report_is_not_there_yet() {
    let printer = Printer::new(Some([0.0, 10.0, 50.0]));
    assert_eq!(printer.goes(place(0, 50.0)).await, Some([50.0, 0.0, 0.0]));
    assert_eq!(printer.goes(place(0, 100.0)).await, Some([50.0, 0.0, 0.0]));
    assert_eq!(printer.goes(place(0, 100.0)).await, None, "it is on its way there");
    assert_eq!(printer.goes(Command::Jog { delta: [5.0; 3], feed: None }).await, Some([5.0; 3]));
    assert_eq!(printer.goes(place(2, 20.0)).await, Some([0.0, 0.0, -35.0]));
    let shown = printer.heading.steered(printer.reports.borrow().clone());
    assert_eq!(shown.device.motion.position, Some([105.0, 15.0, 20.0]));
    // Long after, the report is right: somebody may have moved it at its screen.
    tokio::time::sleep(Duration::from_secs(60)).await;
    printer.reports.send_replace(at(Some([7.0, 15.0, 20.0])));
    assert_eq!(printer.goes(place(0, 10.0)).await, Some([3.0, 0.0, 0.0]));
}

fn feeds(position: Option<[f64; 3]>, operation: FilamentOperation) -> Arc<PrinterState> {
    let mut state = PrinterState::clone(&at(position));
    state.device.activity = Activity::Busy("changing filament".to_owned());
    state.device.filament.operation = operation;
    Arc::new(state)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_moved_while_the_machine_loads_filament_that_somebody_began_at_its_screen() {
    let moving = [
        Command::Jog { delta: [1.0; 3], feed: None },
        place(0, 1.0),
        Command::Home(Axes::ALL),
        Command::MotorsOff,
    ];
    for position in [None, Some([10.0; 3])] {
        let printer = Printer::new(position);
        printer.reports.send_replace(feeds(position, FilamentOperation::Loading));
        let began = Instant::now();
        for command in moving.clone() {
            let refused = printer.heading.aim(command.clone(), printer.reports.subscribe()).await;
            let Err(CommandError::Busy(why)) = refused else { panic!("{command:?}: {refused:?}") };
            let name = command.name();
            assert!(why.contains("changing filament") && why.contains(name), "{why}");
        }
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits for what may take minutes");
        let hot = Command::LoadFilament(crate::model::SlotId::External(0));
        printer.heading.aim(hot, printer.reports.subscribe()).await.expect("not for the head to decide");
        printer.reports.send_replace(feeds(position, FilamentOperation::Stuck));
        assert_eq!(printer.goes(moving[0].clone()).await, Some([1.0; 3]), "the user helps");
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_behind_a_load_of_ours_waits_for_its_end() {
    for position in [None, Some([10.0; 3])] {
        let printer = Printer::new(position);
        printer.goes(Command::UnloadFilament).await;
        printer.reports.send_replace(feeds(position, FilamentOperation::Unloading));
        let done = async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            printer.reports.send_replace(at(position));
        };
        let jog = Command::Jog { delta: [1.0; 3], feed: None };
        let began = Instant::now();
        let (way, ()) = tokio::join!(printer.goes(jog.clone()), done);
        assert_eq!(way, Some([1.0; 3]));
        assert!(began.elapsed() >= Duration::from_secs(40), "not before it was done");

        printer.goes(Command::UnloadFilament).await;
        printer.reports.send_replace(feeds(position, FilamentOperation::Unloading));
        let late = printer.heading.aim(jog, printer.reports.subscribe()).await;
        assert!(matches!(late, Err(CommandError::Busy(_))), "{late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_homing_the_next_report_is_waited_for() {
    let printer = Printer::new(Some([10.0, 10.0, 200.0]));
    printer.goes(Command::Home(Axes::ALL)).await;
    let homing = PrinterState {
        device: crate::model::Device {
            activity: Activity::Busy("homing".into()),
            motion: printer.reports.borrow().device.motion.clone(),
            ..crate::model::Device::default()
        },
        ..PrinterState::clone(&at(None))
    };
    printer.reports.send_replace(Arc::new(homing));
    let (way, ()) = tokio::join!(printer.goes(place(2, 10.0)), async {
        tokio::time::sleep(Duration::from_secs(50)).await;
        printer.reports.send_replace(at(Some([10.0, 10.0, 200.0])));
        tokio::time::sleep(Duration::from_secs(1)).await;
        printer.reports.send_replace(at(Some([128.0, 128.0, 8.0])));
    });
    assert_eq!(way, Some([0.0, 0.0, 2.0]));
}

#[tokio::test(start_paused = true)]
async fn a_refused_move_leads_nowhere_and_a_lost_one_is_looked_for() {
    let printer = Printer::new(Some([0.0; 3]));
    printer.send(place(0, 50.0), Err(CommandError::Invalid("no".into()))).await;
    assert_eq!(printer.goes(place(0, 60.0)).await, Some([60.0, 0.0, 0.0]));
    printer.send(place(0, 80.0), Err(CommandError::Timeout("late".into()))).await;
    let began = Instant::now();
    printer.reports.send_replace(at(Some([80.0, 0.0, 0.0])));
    assert_eq!(printer.goes(place(0, 90.0)).await, Some([10.0, 0.0, 0.0]));
    assert_eq!(began.elapsed(), REPORTED);
}

#[tokio::test(start_paused = true)]
async fn a_printer_that_tells_no_place_is_moved_relatively_at_once() {
    let printer = Printer::new(None);
    printer.goes(Command::Home(Axes::ALL)).await;
    let began = Instant::now();
    assert_eq!(printer.goes(Command::Jog { delta: [5.0; 3], feed: None }).await, Some([5.0; 3]));
    assert_eq!(began.elapsed(), Duration::ZERO);
    let refused = printer.heading.aim(place(0, 5.0), printer.reports.subscribe()).await;
    assert!(matches!(refused, Err(CommandError::Invalid(_))));
}
