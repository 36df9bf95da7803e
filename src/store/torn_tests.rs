//! The power goes at every single write of the database: what was told as written is there, and the file opens.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::{Change, Disk};

#[derive(Debug, Clone)]
enum Step {
    Length(u64),
    Write(u64, Vec<u8>),
    Sync,
}

/// A disk that remembers in which order it was written.
#[derive(Debug, Clone, Default)]
struct Recorder {
    bytes: Arc<Mutex<Vec<u8>>>,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Recorder {
    fn holding(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(Mutex::new(bytes)), ..Self::default() }
    }

    fn note(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
    }

    fn disk(&self) -> Result<Disk, String> {
        let backend = self.clone();
        Disk::with(Box::new(move || {
            redb::Database::builder().create_with_backend(backend.clone()).map_err(|error| error.to_string())
        }))
    }
}

fn apply(bytes: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Length(length) => bytes.resize(*length as usize, 0),
        Step::Write(offset, data) => {
            let end = *offset as usize + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset as usize..end].copy_from_slice(data);
        }
        Step::Sync => {}
    }
}

impl redb::StorageBackend for Recorder {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let from = offset as usize;
        out.copy_from_slice(bytes.get(from..from + out.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        apply(&mut self.bytes.lock().unwrap(), &Step::Length(length));
        self.note(Step::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.note(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let step = Step::Write(offset, data.to_vec());
        apply(&mut self.bytes.lock().unwrap(), &step);
        self.note(step);
        Ok(())
    }
}

fn change(number: usize) -> Change {
    let value = json!({"number": number, "text": "x".repeat(number * 37 % 900)}).to_string();
    Change { space: "jobs".to_owned(), key: format!("{number:04}"), value: Some(value.into()) }
}

/// What may be on the disk when the power goes before `cut`: all that was synced, and of what came after it any part.
/// The last write may be torn in the middle.
fn remains(steps: &[Step], cut: usize) -> Vec<Vec<u8>> {
    let synced = steps[..cut].iter().rposition(|step| matches!(step, Step::Sync)).map_or(0, |at| at + 1);
    let mut base = Vec::new();
    steps[..synced].iter().for_each(|step| apply(&mut base, step));
    let loose = &steps[synced..cut];
    let picked = |keep: &dyn Fn(usize) -> bool| {
        let mut bytes = base.clone();
        for (at, step) in loose.iter().enumerate() {
            match step {
                Step::Write(offset, data) if at + 1 == loose.len() => {
                    apply(&mut bytes, &Step::Write(*offset, data[..data.len() / 2].to_vec()));
                }
                step if keep(at) => apply(&mut bytes, step),
                _ => {}
            }
        }
        bytes
    };
    // A file never gets shorter by what did not happen: lengths are kept.
    let length = |at: usize| matches!(loose[at], Step::Length(_));
    vec![picked(&|_| true), picked(&length), picked(&|at| length(at) || at % 2 == 0)]
}

#[test]
fn what_was_told_as_written_survives_the_power_at_every_write() {
    let recorder = Recorder::default();
    let mut disk = recorder.disk().unwrap();
    // Steps so far, and keys that are promised from then on.
    let mut promises = vec![(recorder.steps.lock().unwrap().len(), 0)];
    for number in 0..12 {
        disk.write(&[change(number)]).unwrap();
        promises.push((recorder.steps.lock().unwrap().len(), number + 1));
    }
    let steps = recorder.steps.lock().unwrap().clone();
    let made = promises[0].0;
    assert!(steps.len() > made + 24, "{} steps", steps.len());
    for cut in made..=steps.len() {
        let promised = promises.iter().rfind(|(at, _)| *at <= cut).unwrap().1;
        for bytes in remains(&steps, cut) {
            let found = Recorder::holding(bytes).disk().and_then(|disk| disk.load());
            let found = found.unwrap_or_else(|error| panic!("cut at step {cut} of {}: {error}", steps.len()));
            let keys = found.get("jobs").map_or(0, |jobs| jobs.len());
            assert!(
                (promised..=promised + 1).contains(&keys),
                "cut at step {cut}: {keys} keys, {promised} promised"
            );
        }
    }
}

/// Each page of a closed file emptied, and cut in the middle: told as damage or read without it, never a crash.
#[test]
fn a_file_torn_at_any_page_is_told() {
    const PAGE: usize = 4096;
    let recorder = Recorder::default();
    let mut disk = recorder.disk().unwrap();
    for number in 0..40 {
        disk.write(&[change(number)]).unwrap();
    }
    drop(disk);
    let good = recorder.bytes.lock().unwrap().clone();
    let mut told = 0;
    let used = good.chunks(PAGE).rposition(|page| page.iter().any(|byte| *byte != 0)).unwrap() + 1;
    for page in 0..used {
        for torn in [page * PAGE..(page + 1) * PAGE, page * PAGE + PAGE / 2..(page + 1) * PAGE] {
            let mut bad = good.clone();
            let end = torn.end.min(bad.len());
            bad[torn.start.min(end)..end].fill(0);
            let opened = std::panic::catch_unwind(|| {
                Recorder::holding(bad).disk().and_then(|disk| disk.load()).map(|spaces| spaces["jobs"].len())
            });
            match opened {
                Ok(Ok(keys)) => assert!(keys <= 40),
                Ok(Err(_)) => told += 1,
                // `Disk::open` catches what the library panics of on a real file; here the opener is the test's own.
                Err(_) => told += 1,
            }
        }
    }
    assert!(told > 0, "some pages matter");
}
