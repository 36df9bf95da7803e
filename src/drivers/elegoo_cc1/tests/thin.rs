//! A printer that says less than the captures do, or says it later: answers that do not name their request, a 1 that outlives
//! its job, a homing that takes its time, an entry of the history that is written after the end (elegoo.md 2.3, 2.6, 2.11).

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::super::{Cc1Config, assemble, codes};
use super::linked::quick;
use crate::drivers::elegoo::testing::Rig;
use crate::model::*;

struct Told {
    status: Value,
    named: bool,
    /// Names itself in each status, and tells no attributes.
    board: Option<&'static str>,
    /// A start is taken, and its file rejected with this code.
    rejects: Option<i64>,
    /// Answers to 321, one after the other; the last one stays.
    history: Vec<Value>,
    /// Commands that came, with the `CurrentStatus` of then.
    came: Vec<(i64, Value)>,
}

pub struct Thin(Mutex<Told>);

impl Thin {
    fn now(&self, status: Value) {
        self.0.lock().unwrap().status = status;
    }

    fn came(&self, number: i64) -> Vec<Value> {
        let told = self.0.lock().unwrap();
        told.came.iter().filter(|(came, _)| *came == number).map(|(_, then)| then.clone()).collect()
    }

    /// Nothing but who it is and how it is.
    pub fn given_nothing(&self) {
        let told = self.0.lock().unwrap();
        let asked: Vec<i64> = told.came.iter().map(|(number, _)| *number).collect();
        assert!(asked.iter().all(|number| matches!(number, 0 | 1)), "{asked:?}");
    }

    fn answers(&self, text: &str) -> Vec<Value> {
        let Ok(asked) = serde_json::from_str::<Value>(text) else { return Vec::new() };
        let mut told = self.0.lock().unwrap();
        let number = asked["Data"]["Cmd"].as_i64().unwrap();
        let then = told.status["CurrentStatus"].clone();
        told.came.push((number, then));
        let content = match number {
            321 if told.history.len() > 1 => told.history.remove(0),
            321 => told.history[0].clone(),
            402 => {
                told.status["CurrentStatus"] = json!([9]);
                json!({"Ack": 0})
            }
            _ => json!({"Ack": 0}),
        };
        let mut answer = json!({"Topic": "sdcp/response/x", "Data": {"Cmd": number, "Data": content}});
        if told.named {
            answer["Data"]["RequestID"] = asked["Data"]["RequestID"].clone();
        }
        let attributes = json!({"MachineName": "Centauri Carbon", "FirmwareVersion": "V1.1.46"});
        let frame = match number {
            0 if told.board.is_some() => Some(json!({"Status": told.status, "MainboardID": told.board})),
            0 => Some(json!({"Topic": "sdcp/status/x", "Status": told.status})),
            1 if told.board.is_some() => None,
            128 => told
                .rejects
                .map(|code| json!({"Topic": "sdcp/error/x", "Data": {"Data": {"ErrorCode": code}}})),
            1 => Some(json!({"Topic": "sdcp/attributes/x", "Attributes": attributes})),
            _ => None,
        };
        std::iter::once(answer).chain(frame).collect()
    }

    async fn serve(&self, stream: TcpStream) {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            let Message::Text(text) = message else { continue };
            for answer in self.answers(&text) {
                if socket.send(Message::Text(answer.to_string().into())).await.is_err() {
                    return;
                }
            }
        }
    }
}

pub fn status(codes: Value, sub: i64, file: &str) -> Value {
    let print = json!({"Status": sub, "CurrentLayer": 3, "TotalLayer": 9, "CurrentTicks": 30, "TotalTicks": 90,
        "Progress": 30, "Filename": file, "TaskId": if file.is_empty() { "" } else { "run" }});
    json!({"CurrentStatus": codes, "PrintInfo": print})
}

async fn bench(first: Value) -> Rig<Thin> {
    let bench = bench_of(first, None, |_| ()).await;
    bench.online().await;
    bench
}

pub async fn bench_of(
    first: Value,
    board: Option<&'static str>,
    change: impl FnOnce(&mut Cc1Config),
) -> Rig<Thin> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = Cc1Config::new("cc1", "127.0.0.1");
    config.ports.websocket = listener.local_addr().unwrap().port();
    // Nobody answers there.
    config.ports.discovery = 9;
    change(&mut config);
    let history = vec![json!({"Ack": 0})];
    let told = Told { status: first, named: true, board, rejects: None, history, came: Vec::new() };
    let thin = Arc::new(Thin(Mutex::new(told)));
    let printer = Arc::clone(&thin);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            printer.serve(stream).await;
        }
    });
    Rig::new("cc1", thin, assemble(config, quick()), |thin: &Thin| {
        format!("{:?}", thin.0.lock().unwrap().status)
    })
}

impl Rig<Thin> {
    async fn polls(&self, more: usize) {
        let wanted = self.sim.came(0).len() + more;
        self.until_sim("polls", move |thin| thin.came(0).len() >= wanted).await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_name_its_request_is_the_one_to_the_request_in_flight() {
    let bench = bench(status(json!([0]), 0, "")).await;
    bench.sim.0.lock().unwrap().named = false;
    let set = bench.printer.send(Command::SetFan { fan: FanId::Part, speed: 0.5 }).await;
    assert!(set.is_ok(), "{set:?}");
}

#[tokio::test]
async fn a_start_waits_until_the_job_before_is_quite_over() {
    let bench = bench(status(json!([1]), 9, "")).await;
    let (started, ()) = tokio::join!(bench.start_file("b.gcode", 3), async {
        bench.polls(3).await;
        bench.sim.now(status(json!([0]), 9, ""));
    });
    assert!(started.is_ok(), "{started:?}");
    assert_eq!(bench.sim.came(128), [json!([0])], "once, and not before");
}

#[tokio::test]
async fn a_file_that_is_rejected_after_the_start_was_taken_is_told_with_its_reason() {
    let bench = bench(status(json!([0]), 0, "")).await;
    bench.sim.0.lock().unwrap().rejects = Some(1);
    bench.start_file("b.gcode", 3).await.unwrap();
    let told = |state: &Arc<PrinterState>| !state.device.faults.is_empty();
    let fault = bench.until("the reason", told).await.device.faults[0].clone();
    assert_eq!((fault.code.as_str(), fault.severity), ("sdcp/error 1", Severity::Serious));
    assert!(fault.text.contains("Send it again"), "{}", fault.text);
    // The next start begins without it, and a job that runs has none.
    bench.sim.0.lock().unwrap().rejects = None;
    bench.start_file("b.gcode", 4).await.unwrap();
    bench.until("no fault", |state| state.device.faults.is_empty()).await;
    bench.sim.now(status(json!([1]), 13, "b.gcode"));
    assert!(bench.phase(JobPhase::Printing).await.device.faults.is_empty());
    assert_eq!(bench.sim.came(128).len(), 2);
}

#[tokio::test]
async fn whoever_homes_is_answered_when_the_axes_are_homed() {
    let bench = bench(status(json!([0]), 0, "")).await;
    let (homed, ()) = tokio::join!(bench.printer.send(Command::Home(Axes::ALL)), async {
        bench.until_sim("the homing", |thin| !thin.came(402).is_empty()).await;
        bench.polls(3).await;
        assert_eq!(bench.printer.state().device.motion.homed, Some(Homed::default()));
        bench.sim.now(status(json!([0]), 0, ""));
    });
    assert!(homed.is_ok(), "{homed:?}");
    assert_eq!(bench.printer.state().device.motion.homed, Some(Homed::ALL));
    let moved = bench.printer.send(Command::Jog { delta: [5.0, 0.0, 0.0], feed: None }).await;
    assert!(moved.is_ok(), "{moved:?}");
}

#[tokio::test]
async fn the_reason_of_a_failure_is_asked_for_until_the_history_has_it() {
    let bench = bench(status(json!([1]), 13, "a.gcode")).await;
    bench.phase(JobPhase::Printing).await;
    let entry = json!({"TaskId": "run", "TaskName": "a.gcode", "TaskStatus": 2, "ErrorStatusReason": 3});
    bench.sim.0.lock().unwrap().history.push(json!({"Ack": 0, "HistoryDetailList": [entry]}));
    bench.sim.now(status(json!([0]), 14, ""));
    let failed = bench.phase(JobPhase::Failed).await;
    assert_eq!(failed.job.reason, codes::reason(3));
    assert_eq!(bench.sim.came(321).len(), 2);
}
