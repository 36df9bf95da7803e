//! Header comments that a Centauri Carbon reads and some slicers leave out (dossier elegoo 2.12).
//!
//! Without them the printer shows no layers and no remaining time. Only comments are added, behind the
//! first comment line, by which the printer recognises the slicer; commands are never touched. The MD5 has
//! to be computed on the result.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};

use super::types::{FileMetadata, MetadataError};

/// A first line longer than this is no slicer's greeting.
const MAX_FIRST_LINE_BYTES: u64 = 1024;
const SEARCH_BYTES: u64 = 128 * 1024;

/// Copies a G-code file, with the missing header comments added as far as the metadata knows them; returns
/// the number of bytes added.
///
/// # Errors
/// Reading and writing errors only.
pub fn copy<R: Read + Seek, W: Write>(
    gcode: &mut R,
    metadata: &FileMetadata,
    writer: &mut W,
) -> Result<u64, MetadataError> {
    let added = missing(gcode, metadata)?;
    gcode.rewind()?;
    let mut reader = BufReader::new(gcode);
    let mut first = Vec::new();
    reader.by_ref().take(MAX_FIRST_LINE_BYTES).read_until(b'\n', &mut first)?;
    if first.starts_with(b";") && first.ends_with(b"\n") {
        writer.write_all(&first)?;
        writer.write_all(added.as_bytes())?;
    } else {
        writer.write_all(added.as_bytes())?;
        writer.write_all(&first)?;
    }
    io::copy(&mut reader, writer)?;
    Ok(added.len() as u64)
}

/// The comment lines to add; empty when the file has them, or when the slicer is Cura, whose own header the
/// printer reads.
///
/// # Errors
/// Reading errors only.
pub fn missing<R: Read + Seek>(gcode: &mut R, metadata: &FileMetadata) -> Result<String, MetadataError> {
    let mut lines = String::new();
    if metadata.slicer.as_deref() == Some("Cura") {
        return Ok(lines);
    }
    let visible = visible_comments(gcode)?;
    let has = |keys: &[&str]| visible.iter().any(|comment| keys.iter().any(|key| comment.starts_with(key)));
    if let Some(layers) = metadata.layer_count.filter(|_| !has(&["total layers count =", "total_layers ="])) {
        lines.push_str(&format!("; total layers count = {layers}\n"));
    }
    let time = metadata.estimated_time_s.filter(|_| !has(&["estimated printing time (normal mode) ="]));
    if let Some(time) = time {
        lines.push_str(&format!("; estimated printing time (normal mode) = {}\n", duration_text(time)));
    }
    Ok(lines)
}

/// The comments the printer looks at: before the first and behind the last line that begins with G or M.
fn visible_comments<R: Read + Seek>(gcode: &mut R) -> Result<Vec<String>, MetadataError> {
    let size = gcode.seek(SeekFrom::End(0))?;
    let mut part = |start: u64| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        gcode.seek(SeekFrom::Start(start))?;
        gcode.by_ref().take(SEARCH_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let (head, tail) = (part(0)?, part(size.saturating_sub(SEARCH_BYTES))?);
    let is_command = |line: &&[u8]| matches!(line.first(), Some(b'G' | b'M'));
    let lines = |bytes: &'_ [u8]| -> Vec<Vec<u8>> {
        bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    };
    let (head, tail) = (lines(&head), lines(&tail));
    let first = head.iter().map(Vec::as_slice).take_while(|line| !is_command(line));
    let last = tail.iter().map(Vec::as_slice).rev().take_while(|line| !is_command(line));
    let comments = first.chain(last).filter_map(|line| line.strip_prefix(b";"));
    Ok(comments.map(|comment| String::from_utf8_lossy(comment).trim().to_owned()).collect())
}

/// `1d 2h 3m 4s`, without leading zeros.
pub(super) fn duration_text(seconds: u64) -> String {
    let parts = [(seconds / 86_400, 'd'), (seconds / 3600 % 24, 'h'), (seconds / 60 % 60, 'm')];
    let mut text = String::new();
    for (amount, unit) in parts {
        if amount > 0 || !text.is_empty() {
            text.push_str(&format!("{amount}{unit} "));
        }
    }
    format!("{text}{}s", seconds % 60)
}
