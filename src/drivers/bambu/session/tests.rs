//! One link's bookkeeping without a network, in paused time: the test says what the printer reports.

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::*;
use crate::drivers::bambu::models::by_code_or_name;
use crate::drivers::bambu::{BambuConfig, shared};
use crate::model::{Axes, Command, JobPhase, LinkFault, Outcome, PrintOption, Seen, StartJob};
use crate::printer::Request;
use crate::secret::Secret;

const SERIAL: &str = "01P00A000000001";

type Reply = oneshot::Receiver<Result<Outcome, CommandError>>;

/// A P1S whose reports the test writes.
struct Talk<'a> {
    session: Session<'a>,
    client: MqttClient,
    state: StateWriter,
}

fn memory() -> Memory {
    Memory::new(by_code_or_name("P1S").expect("row"))
}

fn writer() -> StateWriter {
    StateWriter::new(by_code_or_name("P1S").expect("row").capabilities(&Value::Null))
}

impl<'a> Talk<'a> {
    /// A link that was just made.
    fn new(memory: &'a mut Memory, state: &StateWriter) -> Self {
        let config = BambuConfig::new("test", "192.0.2.1", SERIAL, Secret::new("12345678"));
        let place = Place { name: "test".into(), address: "192.0.2.1:8883".into(), serial: SERIAL.into() };
        let client = MqttClient::detached();
        state.link(LinkPhase::Syncing);
        let shared = shared(config);
        let mut session = Session::new(shared, memory, client.clone(), place, state.clone());
        session.begin();
        Self { session, client, state: state.clone() }
    }

    /// One that is Online with an idle printer.
    fn online(memory: &'a mut Memory, state: &StateWriter) -> Self {
        let mut talk = Self::new(memory, state);
        talk.answer_versions();
        talk.full(json!({}));
        assert_eq!(talk.phase(), LinkPhase::Online);
        talk.sent();
        talk
    }

    fn phase(&self) -> LinkPhase {
        self.state.state().link.phase
    }

    fn hear(&mut self, payload: &Value) -> Option<LinkFault> {
        self.session.take(payload.to_string().as_bytes());
        self.session.tick()
    }

    fn answer_versions(&mut self) {
        let module = json!({"name": "ota", "product_name": "Bambu Lab P1S", "sw_ver": "01.08.00.00"});
        assert_eq!(self.hear(&json!({"info": {"command": "get_version", "module": [module]}})), None);
    }

    fn report(&mut self, msg: u8, fields: Value) {
        let mut body = json!({"command": "push_status", "msg": msg});
        body.as_object_mut().expect("object").extend(fields.as_object().expect("object").clone());
        assert_eq!(self.hear(&json!({ "print": body })), None);
    }

    /// A complete report: an idle printer with axes that are not homed, unless said otherwise.
    fn full(&mut self, fields: Value) {
        let mut all =
            json!({"gcode_state": "IDLE", "stg_cur": -1, "home_flag": 256, "sdcard": true, "ams_status": 0});
        all.as_object_mut().expect("object").extend(fields.as_object().expect("object").clone());
        self.report(0, all);
    }

    fn delta(&mut self, fields: Value) {
        self.report(1, fields);
    }

    /// What was sent since the last call, without its envelope.
    fn sent(&self) -> Vec<Value> {
        let payloads = self.client.published().into_iter();
        let body = |payload: bytes::Bytes| {
            let value: Value = serde_json::from_slice(&payload).expect("json");
            value.as_object().expect("object").values().next().expect("category").clone()
        };
        payloads.map(body).collect()
    }

    /// How often this was sent since the last call.
    fn sent_of(&self, command: &str) -> usize {
        self.sent().iter().filter(|body| body["command"] == command).count()
    }

    /// Time goes by with its deadlines.
    async fn pass(&mut self, seconds: u64) -> Option<LinkFault> {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            let next = self.session.next_deadline();
            if next > end {
                tokio::time::sleep_until(end).await;
                return self.session.tick();
            }
            tokio::time::sleep_until(next).await;
            if let Some(fault) = self.session.tick() {
                return Some(fault);
            }
        }
    }

    fn send(&mut self, command: Command) -> Reply {
        let (reply, answer) = oneshot::channel();
        self.session.request(Request { command, reply });
        assert_eq!(self.session.tick(), None);
        answer
    }

    /// Sends a command that the printer acknowledges; returns what it got.
    fn acknowledged(&mut self, command: Command) -> (Reply, Value) {
        let answer = self.send(command);
        let body = self.sent().pop().expect("a message");
        let mut ack = body.clone();
        ack["result"] = "success".into();
        assert_eq!(self.hear(&json!({ "print": ack })), None);
        (answer, body)
    }

    fn home(&mut self) -> (Reply, i64) {
        let (answer, body) = self.acknowledged(Command::Home(Axes::ALL));
        let lines = body["param"].as_str().expect("lines");
        let marker = lines.rsplit(' ').next().and_then(|word| word.trim().parse().ok());
        (answer, marker.expect("a marker"))
    }
}

fn outcome(mut answer: Reply) -> Option<Outcome> {
    answer.try_recv().ok().map(|result| result.expect("taken"))
}

#[tokio::test(start_paused = true)]
async fn a_marker_that_only_a_complete_report_tells_is_asked_for() {
    for key in ["stg_cur", "stage"] {
        let (mut memory, state) = (memory(), writer());
        let mut talk = Talk::online(&mut memory, &state);
        let (mut answer, marker) = talk.home();
        assert_eq!(talk.pass(9).await, None);
        assert_eq!(talk.sent_of("pushall"), 0, "not at once");
        assert_eq!(talk.pass(2).await, None);
        assert_eq!(talk.sent_of("pushall"), 1);
        talk.full(json!({}));
        assert!(answer.try_recv().is_err(), "still under way");
        talk.delta(json!({"wifi_signal": "-50dBm"}));
        assert_eq!(talk.pass(20).await, None);
        assert_eq!(talk.sent_of("pushall"), 1);
        let told =
            if key == "stage" { json!({"stage": {"_id": marker}}) } else { json!({"stg_cur": marker}) };
        talk.full(told);
        assert_eq!(outcome(answer).expect("an answer").seen, Seen::Effect, "{key}");
        let cleared = talk.sent();
        assert_eq!(cleared[0]["param"], "M1002 gcode_claim_action : 0\n", "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn homed_axes_in_a_later_complete_report_end_the_wait() {
    let (mut memory, state) = (memory(), writer());
    let mut talk = Talk::online(&mut memory, &state);
    let (answer, _marker) = talk.home();
    assert_eq!(talk.pass(11).await, None);
    talk.full(json!({"home_flag": 256 + 7}));
    assert_eq!(outcome(answer).expect("an answer").seen, Seen::Effect);
    // They were homed before: that proves nothing the next time.
    let (mut answer, _marker) = talk.home();
    assert_eq!(talk.pass(11).await, None);
    talk.full(json!({"home_flag": 256 + 7}));
    assert!(answer.try_recv().is_err());
}

/// A jog that follows `G28` at once is refused by the guard as long as the state says that nothing is homed.
#[tokio::test(start_paused = true)]
async fn homing_is_answered_when_the_state_shows_it() {
    let (mut memory, state) = (memory(), writer());
    let mut talk = Talk::online(&mut memory, &state);
    let (mut answer, marker) = talk.home();
    talk.delta(json!({"stg_cur": marker}));
    assert!(answer.try_recv().is_err(), "a delta of a small model does not tell what is homed");
    assert_eq!(talk.pass(11).await, None);
    assert_eq!(talk.sent_of("pushall"), 1, "asked for, ten seconds after the one before");
    talk.full(json!({"home_flag": 256 + 7}));
    assert_eq!(outcome(answer).expect("an answer").seen, Seen::Effect);
    assert!(state.state().device.motion.homed.is_some_and(|homed| homed.x && homed.y && homed.z));
    assert_eq!(talk.pass(20).await, None);
    assert_eq!(talk.sent_of("pushall"), 0, "once is enough");
}

#[tokio::test(start_paused = true)]
async fn homing_ends_also_where_no_complete_report_follows() {
    let (mut memory, state) = (memory(), writer());
    let mut talk = Talk::online(&mut memory, &state);
    let (mut answer, marker) = talk.home();
    talk.delta(json!({"stg_cur": marker}));
    assert_eq!(talk.pass(14).await, None);
    assert!(answer.try_recv().is_err());
    assert_eq!(talk.pass(2).await, None);
    assert_eq!(outcome(answer).expect("an answer").seen, Seen::Effect, "the marker told that it is executed");
}

#[tokio::test(start_paused = true)]
async fn a_printer_without_markers_does_not_keep_its_commands_for_minutes() {
    let (mut memory, state) = (memory(), writer());
    let mut talk = Talk::online(&mut memory, &state);
    for _run in 0..UNMARKED_COMMANDS {
        let (mut answer, _marker) = talk.home();
        for seconds in [11, 20] {
            assert_eq!(talk.pass(seconds).await, None);
            talk.full(json!({}));
            // Some printers tell everything each second: nothing more is proved by that.
            talk.full(json!({}));
            assert!(answer.try_recv().is_err());
        }
        assert_eq!(talk.pass(30).await, None);
        talk.full(json!({}));
        let outcome = outcome(answer).expect("an answer after a minute");
        assert_eq!(outcome.seen, Seen::Acknowledged, "honest");
        assert!(outcome.note.is_some_and(|note| note.contains("did not tell")));
    }
    let (answer, _marker) = talk.home();
    assert_eq!(outcome(answer).expect("at once").seen, Seen::Acknowledged, "learned");
}

const UNMARKED_COMMANDS: u32 = 3;

#[tokio::test(start_paused = true)]
async fn a_printer_that_showed_a_marker_is_waited_for() {
    let (mut memory, state) = (memory(), writer());
    let mut talk = Talk::online(&mut memory, &state);
    let (answer, marker) = talk.home();
    talk.delta(json!({"stg_cur": marker}));
    talk.full(json!({"stg_cur": marker, "home_flag": 256 + 7}));
    assert_eq!(outcome(answer).expect("an answer").seen, Seen::Effect);
    let (mut answer, _marker) = talk.home();
    for _report in 0..6 {
        assert_eq!(talk.pass(30).await, None);
        talk.full(json!({"stg_cur": 0}));
    }
    assert!(answer.try_recv().is_err(), "long lines run long");
    assert_eq!(talk.pass(40).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_idle_printer_stays_online() {
    let (mut memory, state) = (memory(), writer());
    let mut talk = Talk::online(&mut memory, &state);
    for _minute in 0..5 {
        assert_eq!(talk.pass(61).await, None);
        assert_eq!(talk.sent_of("start"), 1);
        assert_eq!(talk.phase(), LinkPhase::Online);
        assert_eq!(talk.pass(10).await, None);
        assert_eq!(talk.sent_of("pushall"), 1, "some answer nothing else");
        assert_eq!(talk.phase(), LinkPhase::Online);
        talk.full(json!({}));
    }
    assert_eq!(talk.pass(79).await, None);
    let fault = talk.pass(2).await.expect("given up when that fails too");
    assert_eq!(fault.code, "MG-BAMBU-SILENT");
}

#[tokio::test(start_paused = true)]
async fn a_link_over_which_reports_come_is_kept_until_they_are_complete() {
    let (mut memory, state) = (memory(), writer());
    let mut talk = Talk::new(&mut memory, &state);
    let mut asked = 0;
    for _second in 0..120 {
        talk.delta(json!({"wifi_signal": "-50dBm"}));
        assert_eq!(talk.pass(1).await, None, "it is alive");
        asked += talk.sent_of("pushall");
        assert_eq!(talk.phase(), LinkPhase::Syncing);
    }
    assert!((4..8).contains(&asked), "asked again, ever more seldom: {asked}");
    talk.full(json!({}));
    assert_eq!(talk.phase(), LinkPhase::Online);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_link_told_is_not_taken_for_news() {
    let (mut memory, state) = (memory(), writer());
    drop(Talk::online(&mut memory, &state));
    state.link(LinkPhase::Backoff);
    let mut talk = Talk::new(&mut memory, &state);
    for _second in 0..60 {
        talk.delta(json!({"wifi_signal": "-50dBm"}));
        assert_eq!(talk.pass(1).await, None);
    }
    assert_eq!(talk.phase(), LinkPhase::Syncing, "whether it prints is not known");
    talk.delta(json!({"gcode_state": "RUNNING"}));
    for _second in 0..120 {
        talk.delta(json!({"wifi_signal": "-50dBm"}));
        assert_eq!(talk.pass(1).await, None);
    }
    assert_eq!(talk.phase(), LinkPhase::Online, "better what there is than nothing");
}

#[tokio::test(start_paused = true)]
async fn nothing_at_all_ends_the_link() {
    let (mut memory, state) = (memory(), writer());
    let mut talk = Talk::new(&mut memory, &state);
    let fault = talk.pass(11).await.expect("a fault");
    assert!(fault.code == "MG-BAMBU-SILENT" && fault.remedy.contains("serial number"), "{fault:?}");
    let closed = crate::net::mqtt::MqttError::Closed("the broker closed the connection".into());
    let fault = talk.session.place().unheard(&closed, None);
    assert!(fault.code == "MG-BAMBU-LOST" && fault.remedy.contains("serial number"), "{fault:?}");
}

#[tokio::test(start_paused = true)]
async fn the_module_list_is_asked_for_again_and_not_for_ever() {
    let (mut memory, state) = (memory(), writer());
    let mut talk = Talk::new(&mut memory, &state);
    talk.full(json!({}));
    let mut asked = talk.sent_of("get_version");
    for _second in 0..90 {
        talk.delta(json!({"wifi_signal": "-50dBm"}));
        assert_eq!(talk.pass(1).await, None);
        asked += talk.sent_of("get_version");
    }
    assert_eq!(asked, 3);
    let (mut memory, state) = (self::memory(), writer());
    let mut talk = Talk::online(&mut memory, &state);
    assert_eq!(talk.pass(50).await, None);
    assert_eq!(talk.sent_of("get_version"), 0, "it was answered");
}

#[tokio::test(start_paused = true)]
async fn detectors_may_be_set_without_an_acknowledgement() {
    let (mut memory, state) = (memory(), writer());
    let mut talk = Talk::online(&mut memory, &state);
    for _more_than_a_deaf_one_gets in 0..3 {
        let answer = talk.send(Command::SetOption { option: PrintOption::SpaghettiDetection, on: true });
        assert_eq!(talk.pass(11).await, None, "not taken for deaf");
        let outcome = outcome(answer).expect("an answer");
        assert_eq!(outcome.seen, Seen::Sent);
        assert!(outcome.note.is_some_and(|note| note.contains("did not acknowledge")));
        assert!(talk.sent_of("pushall") > 0, "the next complete report shows it");
        talk.full(json!({}));
    }
    let mut refused = talk.send(Command::SetOption { option: PrintOption::SpaghettiDetection, on: true });
    let mut ack = talk.sent().pop().expect("sent");
    (ack["result"], ack["reason"]) = ("fail".into(), "not now".into());
    assert_eq!(talk.hear(&json!({ "xcam": ack })), None);
    assert!(matches!(refused.try_recv(), Ok(Err(_))), "a refusal is told");
}

#[tokio::test(start_paused = true)]
async fn pings_may_stay_unanswered_while_a_job_is_unpacked() {
    let (mut memory, state) = (memory(), writer());
    let mut talk = Talk::online(&mut memory, &state);
    assert!(!talk.client.is_excused());
    let (_answer, _body) = talk.acknowledged(start());
    assert!(talk.client.is_excused());
    talk.delta(json!({"gcode_state": "RUNNING", "subtask_id": "77001"}));
    assert!(!talk.client.is_excused());
}

fn start() -> Command {
    Command::StartJob(Box::new(StartJob {
        remote_path: "cube.gcode.3mf".into(),
        title: "cube".into(),
        plate: 1,
        token: 77_001,
        mapping: vec![Some(crate::model::SlotId::External(0))],
        ..StartJob::default()
    }))
}

/// Starts a job after the printer showed these, and as the gateway itself notes it.
fn started<'a>(memory: &'a mut Memory, state: &StateWriter, before: Value) -> Talk<'a> {
    let mut talk = Talk::online(memory, state);
    talk.delta(before);
    state.job(|job| {
        *job = crate::model::Job {
            serial: job.serial + 1,
            phase: JobPhase::Starting,
            origin: crate::model::JobOrigin::Gateway,
            file: Some("cube.gcode".into()),
            token: Some("77001".into()),
            ..crate::model::Job::default()
        };
    });
    let (answer, _body) = talk.acknowledged(start());
    assert!(outcome(answer).is_some());
    talk
}

fn token(state: &StateWriter) -> Option<String> {
    state.state().device.job.token.clone()
}

#[tokio::test(start_paused = true)]
async fn a_start_is_known_by_its_file_where_its_number_is_not_echoed() {
    let echoes = [
        json!({"gcode_file": "cube.gcode.3mf"}),
        json!({"subtask_name": "cube"}),
        json!({"gcode_file": "/data/Metadata/plate_1.gcode", "subtask_name": "cube"}),
        json!({"gcode_file": "cache/cube_plate_1.gcode"}),
    ];
    for (id, echo) in ["0", "4711"].into_iter().flat_map(|id| echoes.clone().map(|echo| (id, echo))) {
        let (mut memory, state) = (memory(), writer());
        let before = json!({"gcode_state": "FINISH", "gcode_file": "vase.3mf", "subtask_name": "vase", "subtask_id": id});
        let mut talk = started(&mut memory, &state, before);
        assert_ne!(token(&state).as_deref(), Some("77001"), "{id} {echo}");
        talk.delta(echo.clone());
        assert_eq!(token(&state).as_deref(), Some("77001"), "landed: {id} {echo}");
        assert_eq!(talk.pass(50).await, None);
        talk.delta(json!({"gcode_state": "PREPARE"}));
        assert_eq!(state.state().job.phase, JobPhase::Preparing, "{id} {echo}");
        assert_eq!(state.state().job.origin, crate::model::JobOrigin::Gateway, "{id} {echo}");
        talk.delta(json!({"gcode_state": "RUNNING", "gcode_file": "/data/Metadata/plate_1.gcode"}));
        talk.delta(json!({"gcode_state": "FINISH"}));
        assert_eq!(state.state().job.phase, JobPhase::Complete, "{id} {echo}");
        // The same file once more, at the screen: that is not our start.
        talk.delta(json!({"gcode_state": "RUNNING"}));
        assert_eq!(state.state().job.origin, crate::model::JobOrigin::Elsewhere, "{id} {echo}");
        assert_ne!(token(&state).as_deref(), Some("77001"), "{id} {echo}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_stood_there_before_or_is_somebody_elses_is_not_our_start() {
    let vase = || json!({"gcode_state": "FINISH", "gcode_file": "vase.3mf", "subtask_name": "vase", "subtask_id": "4711"});
    for (before, then) in [
        (vase(), json!({"gcode_file": "other.3mf", "subtask_name": "other"})),
        // Its own number says that somebody else started it: this printer echoes ours.
        (vase(), json!({"gcode_file": "cube.gcode.3mf", "subtask_name": "cube", "subtask_id": "4712"})),
    ] {
        let (mut memory, state) = (memory(), writer());
        let echoed = json!({"gcode_file": "cube.gcode.3mf", "subtask_name": "cube", "subtask_id": "77001"});
        let mut earlier = started(&mut memory, &state, vase());
        earlier.delta(echoed);
        earlier.delta(json!({"gcode_state": "RUNNING"}));
        earlier.delta(json!({"gcode_state": "FINISH"}));
        let mut talk = started(&mut memory, &state, before.clone());
        talk.delta(then.clone());
        assert_ne!(token(&state).as_deref(), Some("77001"), "{before} {then}");
        talk.delta(json!({"gcode_state": "RUNNING"}));
        assert_eq!(state.state().job.phase, JobPhase::Starting, "{before} {then}: not ours");
    }
    // A start that was lost: long after it, the name alone proves nothing.
    let (mut memory, state) = (memory(), writer());
    let mut talk = started(&mut memory, &state, vase());
    for _second in 0..301 {
        talk.delta(json!({"wifi_signal": "-50dBm"}));
        assert_eq!(talk.pass(1).await, None);
    }
    talk.delta(json!({"gcode_file": "cube.gcode.3mf", "gcode_state": "RUNNING"}));
    assert_ne!(token(&state).as_deref(), Some("77001"));
}

#[tokio::test(start_paused = true)]
async fn a_start_is_known_by_its_file_where_the_printer_numbers_each_run_itself() {
    let shown = |id: &str, file: &str| json!({"gcode_file": file, "subtask_name": file.trim_end_matches(".gcode.3mf"), "subtask_id": id});
    // The same file as before, too.
    for file in ["vase.gcode.3mf", "cube.gcode.3mf"] {
        let (mut memory, state) = (memory(), writer());
        let mut before = shown("run-1", file);
        before["gcode_state"] = "FINISH".into();
        let mut talk = started(&mut memory, &state, before);
        talk.delta(shown("run-2", "cube.gcode.3mf"));
        assert_eq!(token(&state).as_deref(), Some("77001"), "landed, after {file}");
        talk.delta(json!({"gcode_state": "RUNNING", "gcode_file": "/data/Metadata/plate_1.gcode"}));
        assert_eq!(state.state().job.phase, JobPhase::Printing);
        assert_eq!(state.state().job.origin, crate::model::JobOrigin::Gateway);
        let serial = state.state().job.serial;
        talk.delta(json!({"gcode_state": "FINISH"}));
        assert_eq!((state.state().job.phase, state.state().job.serial), (JobPhase::Complete, serial));
        let mut screen = shown("run-3", "cube.gcode.3mf");
        screen["gcode_state"] = "RUNNING".into();
        talk.delta(screen);
        assert_eq!(state.state().job.origin, crate::model::JobOrigin::Elsewhere, "at the screen");
        assert_eq!(token(&state).as_deref(), Some("run-3"));
    }
    // Long after the start, and under another name, it is another run.
    for (seconds, file) in [(95, "cube.gcode.3mf"), (5, "other.gcode.3mf")] {
        let (mut memory, state) = (memory(), writer());
        let mut talk = started(&mut memory, &state, shown("run-1", "vase.gcode.3mf"));
        for _second in 0..seconds {
            talk.delta(json!({"wifi_signal": "-50dBm"}));
            assert_eq!(talk.pass(1).await, None);
        }
        talk.delta(shown("run-2", file));
        assert_eq!(token(&state).as_deref(), Some("run-2"), "{seconds} s, {file}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_file_once_more_under_the_old_number_is_ours_when_it_runs() {
    let (mut memory, state) = (memory(), writer());
    let cube = json!({"gcode_state": "FINISH", "gcode_file": "cube.gcode.3mf", "subtask_name": "cube", "subtask_id": "4711"});
    let mut talk = started(&mut memory, &state, cube);
    talk.delta(json!({"mc_percent": 0}));
    assert_ne!(token(&state).as_deref(), Some("77001"), "nothing of it is news");
    assert_eq!(state.state().job.phase, JobPhase::Starting);
    talk.delta(json!({"gcode_state": "RUNNING"}));
    assert_eq!(token(&state).as_deref(), Some("77001"));
    assert_eq!(state.state().job.phase, JobPhase::Printing);
    talk.delta(json!({"gcode_state": "FINISH"}));
    assert_eq!(state.state().job.phase, JobPhase::Complete);
    talk.delta(json!({"gcode_state": "RUNNING"}));
    assert_eq!(state.state().job.origin, crate::model::JobOrigin::Elsewhere, "at the screen");
}

/// At the screen, while the link was lost.
#[tokio::test(start_paused = true)]
async fn our_file_begun_anew_while_nobody_listened_is_not_our_run() {
    let cube = |id: &str, percent: u32| {
        json!({"gcode_state": "RUNNING", "gcode_file": "cube.gcode.3mf", "subtask_name": "cube",
        "subtask_id": id, "mc_percent": percent})
    };
    // What the printer told of the run as its number, then after the lost link, and how far it is by then.
    for (first, then, percent, ours) in [
        ("77001", "77001", 60, true),
        ("77001", "77001", 5, true),
        ("77001", "0", 60, true),
        ("77001", "0", 5, false),
        ("0", "0", 60, true),
        ("0", "0", 5, false),
    ] {
        let (mut memory, state) = (memory(), writer());
        let mut talk = started(&mut memory, &state, json!({}));
        talk.delta(cube(first, 40));
        talk.delta(json!({"mc_percent": 40}));
        assert_eq!(state.state().job.phase, JobPhase::Printing);
        let serial = state.state().job.serial;
        state.link(LinkPhase::Backoff);
        let mut again = Talk::new(&mut memory, &state);
        again.answer_versions();
        again.full(cube(then, percent));
        let job = &state.state().job;
        assert!(ours || token(&state).is_none(), "{first} {then} {percent}");
        assert_eq!(job.serial, serial + u64::from(!ours), "{first} {then} {percent}");
        assert_eq!(job.origin == crate::model::JobOrigin::Gateway, ours, "{first} {then} {percent}");
        again.delta(json!({"mc_percent": percent + 1}));
        assert_eq!(
            state.state().job.serial,
            serial + u64::from(!ours),
            "{first} {then} {percent}: as before"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn another_title_is_another_job_where_runs_have_no_numbers() {
    let (mut memory, state) = (memory(), writer());
    let vase = json!({"gcode_state": "FINISH", "gcode_file": "/data/Metadata/plate_1.gcode", "subtask_name": "vase", "subtask_id": "0"});
    let mut talk = started(&mut memory, &state, vase.clone());
    talk.delta(json!({"gcode_state": "RUNNING", "subtask_name": "cube"}));
    assert_eq!(token(&state).as_deref(), Some("77001"));
    // The link was lost meanwhile: ours has ended, and somebody else's runs from the same place in memory.
    talk.full(json!({"gcode_state": "RUNNING", "gcode_file": "/data/Metadata/plate_1.gcode", "subtask_name": "vase", "subtask_id": "0"}));
    assert_ne!(token(&state).as_deref(), Some("77001"));
    assert_eq!(state.state().job.origin, crate::model::JobOrigin::Elsewhere);
    // No title at all tells nothing.
    let mut talk = started(&mut memory, &state, vase);
    talk.delta(json!({"gcode_state": "RUNNING", "subtask_name": "cube"}));
    talk.delta(json!({"subtask_name": ""}));
    assert_eq!(token(&state).as_deref(), Some("77001"));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_turned_down_does_not_block_the_next() {
    let (mut memory, state) = (memory(), writer());
    let vase = json!({"gcode_state": "FINISH", "gcode_file": "vase.3mf", "print_error": 0});
    let mut talk = started(&mut memory, &state, vase);
    let mut busy = talk.send(start());
    assert!(matches!(busy.try_recv(), Ok(Err(CommandError::Busy(_)))), "it is being digested");
    talk.delta(json!({"print_error": 0x0700_8011}));
    let mut busy = talk.send(start());
    assert!(matches!(busy.try_recv(), Ok(Err(CommandError::Busy(_)))), "that is about something else");
    talk.delta(json!({"print_error": 0x0500_4003}));
    talk.sent();
    talk.send(start());
    assert_eq!(talk.sent_of("project_file"), 1);
}

/// The error of the start before still stands, and this one fails of the same: nothing of it is another word.
#[tokio::test(start_paused = true)]
async fn a_start_that_fails_of_what_the_one_before_failed_of_has_failed() {
    let (mut memory, state) = (memory(), writer());
    let failed = json!({"gcode_state": "FAILED", "gcode_file": "cube.gcode.3mf", "subtask_name": "cube",
                        "subtask_id": "4711", "print_error": 0x0500_4003});
    let mut talk = started(&mut memory, &state, failed);
    let known = state.state().device.faults.clone();
    let stands = || state.state().device.faults.iter().all(|fault| fault.is_among(&known));
    tokio::time::advance(Duration::from_secs(2)).await;
    talk.delta(json!({"subtask_id": "77001"}));
    talk.delta(json!({"gcode_state": "FAILED", "mc_percent": 0}));
    assert!(stands(), "what was not told again is the old one");
    let mut busy = talk.send(start());
    assert!(matches!(busy.try_recv(), Ok(Err(CommandError::Busy(_)))), "it is being digested");
    talk.delta(json!({"gcode_state": "FAILED", "print_error": 0x0500_4003}));
    assert!(!stands(), "told again");
    talk.sent();
    talk.send(start());
    assert_eq!(talk.sent_of("project_file"), 1, "the next one may be tried");
    talk.delta(json!({"subtask_id": "77001", "mc_percent": 1}));
    let mut busy = talk.send(start());
    assert!(matches!(busy.try_recv(), Ok(Err(CommandError::Busy(_)))), "the old word is not of this one");
}

fn heat(celsius: f64) -> Command {
    Command::SetNozzle { tool: 0, target: celsius }
}

/// A P1 that ignores a target is asked in another way, but never behind what was wanted since.
#[tokio::test(start_paused = true)]
async fn nothing_is_heated_again_behind_a_stop_or_somebody_elses_target() {
    let nozzle = |target: i64| json!({"nozzle_temper": 25, "nozzle_target_temper": target});
    for stopped in [false, true] {
        let (mut memory, state) = (memory(), writer());
        let mut talk = Talk::online(&mut memory, &state);
        talk.full(nozzle(0));
        talk.acknowledged(heat(250.0));
        if stopped {
            // Ignored so far; nothing was shown.
            talk.send(Command::EmergencyStop);
        } else {
            talk.delta(nozzle(250));
            talk.delta(nozzle(0));
        }
        talk.sent();
        assert_eq!(talk.pass(8).await, None);
        let sent = talk.sent();
        assert!(sent.iter().all(|body| body["command"] != "gcode_line"), "{stopped}: {sent:?}");
    }
    let (mut memory, state) = (memory(), writer());
    let mut talk = Talk::online(&mut memory, &state);
    talk.full(nozzle(0));
    talk.acknowledged(heat(250.0));
    assert_eq!(talk.pass(8).await, None);
    assert_eq!(talk.sent().first().expect("asked again")["param"], "M109 S250\n");
}

#[tokio::test(start_paused = true)]
async fn a_doubt_about_the_storage_is_settled_by_a_complete_report() {
    let (mut memory, state) = (memory(), writer());
    let mut talk = Talk::online(&mut memory, &state);
    assert_eq!(talk.pass(20).await, None);
    talk.delta(json!({"home_flag": 512}));
    assert_eq!(state.state().device.storage.trouble, None, "it flaps");
    assert_eq!(talk.sent_of("pushall"), 1);
    talk.full(json!({"home_flag": 512}));
    assert!(state.state().device.storage.trouble.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_report_of_another_printer_is_none_of_this_one() {
    let (mut memory, state) = (memory(), writer());
    let talk = Talk::online(&mut memory, &state);
    assert!(talk.session.is_report(&format!("device/{SERIAL}/report")));
    for topic in
        ["device/01P00A000000002/report", "device//report", "report", "", &format!("device/{SERIAL}/request")]
    {
        assert!(!talk.session.is_report(topic), "{topic}");
    }
}
