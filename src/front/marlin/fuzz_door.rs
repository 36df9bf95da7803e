//! The whole serial dialogue behind one door for the fuzzer: any bytes, any moment, one `ok` for each line.

use std::sync::Arc;
use std::time::Duration;

use super::catalog::Catalog;
use super::dialogue::{Dialogue, View};
use super::lines::Splitter;
use crate::config::StreamedPrints;
use crate::model::{Capabilities, JobPhase, LinkPhase, PrinterState};

/// Every held reply and every job's effect is over after so many rounds.
const ROUNDS: usize = 64;

/// The first byte chooses what the printer does meanwhile, and whether the library halts the lines at times.
pub(crate) fn dialogue(bytes: &[u8]) {
    let (choice, bytes) = bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest));
    let mut state = PrinterState::default();
    state.link.phase = if choice & 1 == 0 { LinkPhase::Online } else { LinkPhase::Backoff };
    state.job.phase = match choice >> 1 & 3 {
        0 => JobPhase::Idle,
        1 => JobPhase::Printing,
        2 => JobPhase::Paused,
        _ => JobPhase::Complete,
    };
    state.job.serial = u64::from(choice >> 3 & 1);
    let mut view = View {
        state: Arc::new(state),
        caps: Arc::new(Capabilities::default()),
        now: Duration::from_secs(100),
        unix: 1_760_000_000.0,
    };
    let mut dialogue = Dialogue::new(StreamedPrints::default(), Catalog::default());
    dialogue.opened();
    let expected = Splitter::default().push(bytes).len();
    let mut told = 0;
    let halting = choice >> 4 & 1 == 1;
    for (index, piece) in bytes.chunks(61).enumerate() {
        dialogue.stand(halting && index % 3 == 1, &view);
        dialogue.bytes(piece, &view);
        told += oks(&mut dialogue);
        view.now += Duration::from_millis(40);
        dialogue.tick(&view);
    }
    dialogue.stand(false, &view);
    for _ in 0..ROUNDS + bytes.len() / 4 {
        if told >= expected {
            break;
        }
        view.now += Duration::from_secs(30);
        dialogue.tick(&view);
        told += oks(&mut dialogue);
    }
    assert_eq!(told, expected, "one ok for each line");
}

fn oks(dialogue: &mut Dialogue) -> usize {
    let out = dialogue.output().to_vec();
    dialogue.written(out.len());
    drop(dialogue.take_effects());
    out.split(|byte| *byte == b'\n').filter(|line| *line == b"ok" || line.starts_with(b"ok ")).count()
}
