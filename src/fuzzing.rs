//! Every parser of outside bytes behind one kind of door, for the fuzzer (`fuzz/`), for a short deterministic run in the
//! tests, and for the benches (feature `doors`). Built for these only. A door must come back from any bytes: no panic, no overflow, no endless work.

use std::io::Cursor;

use axum::extract::{FromRequest, Multipart};
use axum::http::{Request, header};

use crate::config::{Config, Environment};
use crate::drivers::{JpegScanner, bambu, elegoo_cc1, elegoo_cc2};
use crate::{access, front, gcode, library, metadata, net};

/// A parser behind its door.
pub type Door = fn(&[u8]);

/// All doors, by the name of their fuzz target.
pub const DOORS: [(&str, Door); 14] = [
    ("gcode_line", gcode_line),
    ("gcode_metadata", file_metadata),
    ("three_mf", three_mf),
    ("multipart", multipart),
    ("json_rpc", json_rpc),
    ("bambu_json", bambu_json),
    ("sdcp", elegoo_cc1::fuzz_doors::frames),
    ("cc2_json", elegoo_cc2::fuzz_doors::payloads),
    ("camera", camera),
    ("ftps", ftps),
    ("config", config),
    ("rtsp", net::rtsp::fuzz_door),
    ("rtsp_server", front::rtsp::fuzz_door),
    ("serial", front::marlin::fuzz_door::dialogue),
];

/// The door of a fuzz target.
pub fn door(name: &str) -> Option<Door> {
    DOORS.iter().find(|(known, _)| *known == name).map(|(_, door)| *door)
}

fn gcode_line(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(line) = gcode::parse(line) {
            let _any = (line.code(), line.extended(), line.value('S'), line.string('P'), line.flag('X'));
        }
    }
}

fn file_metadata(bytes: &[u8]) {
    let _metadata = metadata::read(&mut Cursor::new(bytes));
}

fn three_mf(bytes: &[u8]) {
    let mut archive = Cursor::new(bytes);
    let _metadata = metadata::read(&mut archive);
    let mut plate = Vec::new();
    let _plate = metadata::extract_plate(&mut archive, 1, &mut plate);
}

/// The form of an upload and the names in it; the boundary is `b`.
fn multipart(bytes: &[u8]) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    runtime.block_on(async {
        let request = Request::builder()
            .header(header::CONTENT_TYPE, "multipart/form-data; boundary=b")
            .body(axum::body::Body::from(bytes.to_vec()));
        let Ok(request) = request else { return };
        let Ok(mut form) = Multipart::from_request(request, &()).await else { return };
        while let Ok(Some(mut field)) = form.next_field().await {
            let name = crate::model::text::base_name(field.file_name().unwrap_or_default()).to_owned();
            if let Ok(path) = library::names::clean(&name) {
                assert!(!path.split('/').any(|part| part == ".." || part.starts_with('.')));
                assert!(!path.chars().any(char::is_control));
            }
            while let Ok(Some(_piece)) = field.chunk().await {}
        }
    });
}

fn json_rpc(bytes: &[u8]) {
    front::moonraker::fuzz_doors::frame(bytes);
    if let Some(token) = access::ParsedToken::of(&String::from_utf8_lossy(bytes)) {
        let _claimed = token.username();
    }
}

fn bambu_json(bytes: &[u8]) {
    bambu::fuzz_doors::reports(bytes);
    bambu::fuzz_doors::notify(bytes);
}

fn camera(bytes: &[u8]) {
    bambu::fuzz_doors::picture_head(bytes);
    let mut scanner = JpegScanner::default();
    for piece in bytes.chunks(7) {
        scanner.push(piece);
        while scanner.frame().is_some() {}
    }
}

fn ftps(bytes: &[u8]) {
    let _entries = net::ftps::parse_listing(bytes, 1_795_220_000);
    let response = suppaftp::types::Response::new(suppaftp::Status::Unknown, bytes.to_vec());
    let _code = net::ftps::reply_code(&response);
}

fn config(bytes: &[u8]) {
    // Files that a configuration names are read: not where the fuzzer chooses.
    let text = String::from_utf8_lossy(bytes).replace('/', "_");
    let _config = Config::parse(&text, &Environment::of(&[]));
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Changed copies of each seed that are tried: a second or so for all doors together.
    const COPIES: usize = 40;
    const LARGEST: usize = 64 << 10;

    /// The seeds of a door, the same folders as in `fuzz/run`: written for it, and recorded.
    fn seeds(name: &str) -> Vec<Vec<u8>> {
        let recorded: &[&str] = match name {
            "gcode_line" | "gcode_metadata" => &["fixtures/gcode"],
            "bambu_json" => &["fixtures/bambu"],
            "sdcp" | "cc2_json" => &["fixtures/elegoo"],
            "json_rpc" => &["fixtures/moonraker/klippy_ready"],
            _ => &[],
        };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        for folder in [format!("fuzz/seeds/{name}").as_str()].iter().chain(recorded) {
            if root.join(folder).is_dir() {
                collect(&root.join(folder), &mut files);
            }
        }
        files.sort();
        assert!(!files.is_empty(), "{name} has seeds");
        let mut seeds: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        match name {
            "three_mf" => seeds.push(crate::sim::sample::cube_3mf("C12").unwrap()),
            "config" => seeds.push(std::fs::read(root.join("docs/config.example.toml")).unwrap()),
            _ => {}
        }
        seeds.retain(|seed| seed.len() <= LARGEST);
        seeds
    }

    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { collect(&path, files) } else { files.push(path) }
        }
    }

    /// Bits flipped, pieces cut out, doubled and moved, numbers and marks put in.
    fn changed(seed: &[u8], random: &mut StdRng) -> Vec<u8> {
        const MARKS: [&[u8]; 12] = [
            b"null",
            b"-1",
            b"1e999",
            b"18446744073709551616",
            b"\"",
            b"{",
            b"]",
            b"\x1e",
            b"\0",
            b"\xff\xfe",
            b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
            b"\xf0\x9f\x98\x80",
        ];
        let mut bytes = seed.to_vec();
        for _ in 0..random.random_range(1..8) {
            let at = random.random_range(0..=bytes.len());
            let end = random.random_range(at..=bytes.len().min(at + 64));
            match random.random_range(0..4) {
                0 => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << random.random_range(0..8)),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let piece = bytes[at..end].to_vec();
                    let to = random.random_range(0..=bytes.len());
                    drop(bytes.splice(to..to, piece));
                }
                _ => drop(bytes.splice(at..end, MARKS[random.random_range(0..MARKS.len())].iter().copied())),
            }
        }
        bytes
    }

    #[test]
    fn every_door_comes_back_from_changed_seeds() {
        for (name, door) in DOORS {
            let mut random = StdRng::seed_from_u64(7);
            let seeds = seeds(name);
            for seed in &seeds {
                door(seed);
                for _ in 0..COPIES.min(20_000 / seeds.len()).max(4) {
                    door(&changed(seed, &mut random));
                }
            }
        }
    }

    #[test]
    fn every_door_has_a_fuzz_target() {
        for (name, _) in DOORS {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let target = root.join(format!("fuzz/targets/{name}.rs"));
            assert!(target.is_file(), "{} is missing", target.display());
            let listed = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
            assert!(listed.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml builds {name}");
        }
    }
}
