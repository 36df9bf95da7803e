//! Printers, clients and bare copies for `compat/bench`, in one program that is not the bottleneck.
//!
//! Orders come as lines of JSON on standard input, answers go out as lines of JSON; the end of the input ends it.

mod calls;
mod copies;
mod farm;
mod frames;
mod klippy;
mod latency;
mod mqtt;
mod serial;
mod stats;
mod upload;
mod viewers;

use std::error::Error;
use std::io::{BufRead, Write};

use serde_json::{Value, json};

/// Whatever goes wrong ends a measurement with its reason.
pub type Failure = Box<dyn Error + Send + Sync>;

fn main() {
    let mut bench = Bench::default();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let answer =
            match serde_json::from_str(&line).map_err(Failure::from).and_then(|order| bench.obey(&order)) {
                Ok(answer) => answer,
                Err(error) => json!({"error": error.to_string()}),
            };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{answer}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// What has been started so far.
#[derive(Default)]
struct Bench {
    farm: Option<farm::Farm>,
    klippy: Option<klippy::Klippy>,
}

impl Bench {
    fn obey(&mut self, order: &Value) -> Result<Value, Failure> {
        match text(order, "do")? {
            "farm" => {
                let farm = farm::Farm::start(order)?;
                let answer = farm.places();
                self.farm = Some(farm);
                Ok(answer)
            }
            "online" => Ok(json!({"online": self.farm()?.online()})),
            "pace" => {
                self.farm()?.pace(order);
                Ok(json!({}))
            }
            "klippy" => {
                self.klippy = Some(klippy::Klippy::start(order)?);
                Ok(json!({}))
            }
            "latency" => latency::measure(self.farm.as_ref(), self.klippy.as_ref(), order),
            "calls" => calls::measure(order),
            "serial" => serial::measure(order),
            "upload" => upload::measure(order),
            "echo" => copies::answer_bare(order),
            "socket_copy" => copies::to_file(order),
            "viewers" => viewers::watch(order),
            "fan_out" => copies::fan_out(order),
            other => Err(format!("unknown order {other:?}").into()),
        }
    }

    fn farm(&self) -> Result<&farm::Farm, Failure> {
        self.farm.as_ref().ok_or_else(|| "no printers were started".into())
    }
}

/// A text member of an order.
pub fn text<'a>(order: &'a Value, key: &str) -> Result<&'a str, Failure> {
    order[key].as_str().ok_or_else(|| format!("{key} is missing").into())
}

/// A whole number of an order.
pub fn number(order: &Value, key: &str) -> Result<u64, Failure> {
    order[key].as_u64().ok_or_else(|| format!("{key} is missing").into())
}
