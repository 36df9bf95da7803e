//! Which names and paths the library takes, and what a name says about a file (pure).

use super::LibraryError;

/// Bytes of one name, the limit of every file system in use.
pub const MAX_NAME_BYTES: usize = 255;
/// Bytes of a whole path; leaves room for the root below the system's 4096.
const MAX_PATH_BYTES: usize = 2048;
/// Folder of the pictures, beside the files that they show.
pub const THUMBNAILS: &str = ".thumbs";
/// Files on their way in; on the same file system, so that moving them into place is one step.
pub const INCOMING: &str = ".incoming";
/// Unpacked plates, packages and fetched files; can be deleted at any time.
pub const CACHE: &str = ".cache";
/// Where OctoPrint 2 puts the files of its own storage before it prints them (octoprint.md section 9); the one hidden
/// folder that clients may use.
const OCTOPRINT: &str = ".octoprint";
/// The folder below which the printer's own storage is shown.
pub const PRINTER: &str = "printer";

/// What a name says about the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    Gcode,
    Archive,
    Other,
}

/// Checks a path of a file or directory as a client names it.
///
/// # Errors
/// [`LibraryError::BadName`] for everything that is empty, absolute, hidden, too long, holds control characters or
/// backslashes, or leads elsewhere.
pub fn clean(path: &str) -> Result<String, LibraryError> {
    let bad = |why: &str| {
        Err(LibraryError::BadName(format!(
            "\"{}\" is no usable path: {why}.",
            crate::model::text::one_line(path, 100)
        )))
    };
    if path.starts_with('/') {
        return bad("it must be relative to the library, without a leading slash");
    }
    let path_end = path.trim_end_matches('/');
    if path_end.is_empty() {
        return bad("it is empty");
    }
    if path_end.len() > MAX_PATH_BYTES {
        return bad("it is too long");
    }
    for name in path_end.split('/') {
        if name.is_empty() {
            return bad("a folder has no name");
        }
        if name == "." || name == ".." {
            return bad("it may not lead to another folder");
        }
        if name.starts_with('.') && name != OCTOPRINT {
            return bad("names that begin with a dot are hidden");
        }
        if name.len() > MAX_NAME_BYTES {
            return bad("a name may have 255 bytes at most");
        }
        if name.contains('\\') {
            return bad("folders are separated by /, not by a backslash");
        }
        if name.chars().any(char::is_control) {
            return bad("it contains a control character");
        }
    }
    Ok(path_end.to_owned())
}

/// As [`clean`], where the empty path is the library itself.
pub fn clean_directory(path: &str) -> Result<String, LibraryError> {
    if path.is_empty() { Ok(String::new()) } else { clean(path) }
}

/// As [`clean`], refusing what belongs to the printer's own storage.
pub fn clean_local(path: &str) -> Result<String, LibraryError> {
    let path = clean(path)?;
    if remote_path(&path).is_some() {
        return Err(LibraryError::BadName(
            "The folder \"printer\" shows the printer's own storage: files there can be printed, downloaded and \
             deleted, and moved among themselves."
                .to_owned(),
        ));
    }
    Ok(path)
}

/// The cleaned path, where it lies below `printer/`; the folder itself is nobody's to change.
pub fn on_printer(path: &str) -> Option<String> {
    clean(path).ok().filter(|path| remote_path(path).is_some_and(|rest| !rest.is_empty()))
}

/// The path on the printer's storage behind a path below `printer/`.
pub fn remote_path(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(PRINTER)?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

pub fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// Directory and name; the directory of a top-level name is empty.
pub fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// True for `path` itself and everything below it.
pub fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub fn content(name: &str) -> Content {
    let name = name.to_lowercase();
    let ends = |extensions: &[&str]| extensions.iter().any(|extension| name.ends_with(extension));
    if ends(&[".3mf"]) {
        Content::Archive
    } else if ends(&[".gcode", ".g", ".gco", ".gc", ".nc"]) {
        Content::Gcode
    } else {
        Content::Other
    }
}

/// The name of the G-code that a package of Cura (`.ufp`) is kept as; `None` for anything else.
pub fn packed_gcode(name: &str) -> Option<String> {
    let at = name.len().checked_sub(4)?;
    let (stem, ending) = name.split_at_checked(at)?;
    (ending.eq_ignore_ascii_case(".ufp") && !stem.is_empty()).then(|| format!("{stem}.gcode"))
}

/// The name without `.gcode.3mf`, `.3mf` or `.gcode`.
pub fn stem(name: &str) -> &str {
    let lower = name.to_ascii_lowercase();
    for extension in [".gcode.3mf", ".3mf", ".gcode"] {
        if lower.ends_with(extension)
            && let Some(stem) = name.get(..name.len() - extension.len())
            && !stem.is_empty()
        {
            return stem;
        }
    }
    name
}

/// `{stem}{suffix}` with the stem cut so that it stays a name.
pub fn with_suffix(stem: &str, suffix: &str) -> String {
    let mut end = stem.len().min(MAX_NAME_BYTES.saturating_sub(suffix.len()));
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", stem.get(..end).unwrap_or(stem))
}

/// Names under which a plate may be published, best first; endless.
pub fn plate_names(archive_name: &str, plate: u32, first: bool) -> impl Iterator<Item = String> {
    let stem = stem(archive_name).to_owned();
    let plain = first.then(|| with_suffix(&stem, ".gcode"));
    let numbered = with_suffix(&stem, &format!("_plate_{plate}.gcode"));
    let further = (2..=u32::MAX).map(move |n| with_suffix(&stem, &format!("_plate_{plate}_{n}.gcode")));
    plain.into_iter().chain(std::iter::once(numbered)).chain(further)
}

/// Name of a picture in the folder of pictures: `cube-300x300.png`, `cube.3mf-2-300x300.png` for plate 2.
pub fn thumbnail_name(file_name: &str, plate: Option<u32>, width: u32, height: u32) -> String {
    match plate {
        Some(plate) => with_suffix(file_name, &format!("-{plate}-{width}x{height}.png")),
        None => with_suffix(stem(file_name), &format!("-{width}x{height}.png")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn names_of_every_script_pass_and_paths_that_lead_away_do_not() {
        for good in [
            "cube.gcode",
            "a b/Würfel 方块 куб.gcode",
            "x/y/z/..gcode.gcode".trim_start_matches("x/y/z/.."),
            "a.b",
        ] {
            assert_eq!(clean(good).as_deref(), Ok(good));
        }
        let long = "ä".repeat(128);
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "./a",
            ".hidden",
            "a/.thumbs/x",
            "a\0b",
            "a\nb",
            "a\\b",
            &long,
        ] {
            assert!(matches!(clean(bad), Err(LibraryError::BadName(_))), "{bad:?}");
        }
        assert!(clean(&"n".repeat(255)).is_ok());
        assert!(clean(".octoprint/mine.gcode").is_ok(), "OctoPrint 2 prints its own files from there");
        assert!(clean_local("printer/a.gcode").is_err() && clean_local("printers/a.gcode").is_ok());
    }

    #[test]
    fn plates_and_pictures_get_names_within_the_limit() {
        let names: Vec<_> = plate_names("cube.gcode.3mf", 1, true).take(3).collect();
        assert_eq!(names, ["cube.gcode", "cube_plate_1.gcode", "cube_plate_1_2.gcode"]);
        assert_eq!(plate_names("cube.3mf", 2, false).next().as_deref(), Some("cube_plate_2.gcode"));
        let long = format!("{}.3mf", "方".repeat(83));
        assert!(plate_names(&long, 12, false).take(3).all(|name| name.len() <= MAX_NAME_BYTES));
        assert_eq!(thumbnail_name("cube.gcode", None, 300, 300), "cube-300x300.png");
        assert_eq!(thumbnail_name("cube.g", None, 32, 32), "cube.g-32x32.png");
    }

    proptest! {
        #[test]
        fn no_accepted_path_escapes_the_root(path in "(\\PC|[./\\\\\u{0}-\u{1f}]){0,40}") {
            if let Ok(clean) = clean(&path) {
                let joined = Path::new("/root").join(&clean);
                prop_assert!(joined.starts_with("/root"));
                prop_assert!(joined.components().skip(1).all(|part| matches!(part, Component::Normal(_))));
                let allowed = |name: &str| !name.starts_with('.') || name == OCTOPRINT;
                prop_assert!(clean.split('/').all(|name| allowed(name) && name.len() <= MAX_NAME_BYTES));
            }
        }

        #[test]
        fn suffixes_never_cut_a_character(stem in "\\PC{0,300}") {
            let name = with_suffix(&stem, "_plate_36.gcode");
            prop_assert!(name.len() <= MAX_NAME_BYTES && name.ends_with("_plate_36.gcode"));
        }
    }
}
