//! The `LIST` format of printers (bambu.md 5.3): `ls -l` lines, read tolerantly.
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

/// Slack for a printer clock ahead of ours (time zone, no NTP) before a date without a year
/// counts as last year's.
const FUTURE_SLACK: i64 = 24 * 3600;

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// One entry of a folder on the printer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteEntry {
    /// Name without its folder. A name that is not UTF-8 is shown as Latin-1 and cannot be
    /// addressed by that text.
    pub name: String,
    /// Length in bytes; meaningless for folders.
    pub size: u64,
    /// A folder.
    pub dir: bool,
    /// Unix seconds of the printer's local time read as UTC; without NTP it may be far off
    /// (bambu.md T32). `None` if the date is unreadable.
    pub modified: Option<i64>,
}

/// Reads all entries of a listing; `now` (Unix seconds) dates entries that show no year.
///
/// Lines that are not entries (`total 4`, `.`, `..`, garbage) are left out.
pub fn parse(listing: &[u8], now: i64) -> Vec<RemoteEntry> {
    listing.split(|byte| *byte == b'\n').filter_map(|line| parse_line(&decode(line), now)).collect()
}

fn decode(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

fn parse_line(line: &str, now: i64) -> Option<RemoteEntry> {
    let mut rest = line.trim_end_matches('\r');
    let mut field = || {
        let (word, after) = rest.trim_start().split_once(char::is_whitespace)?;
        rest = after;
        Some(word)
    };
    let mode = field()?;
    let (_links, _owner, _group) = (field()?, field()?, field()?);
    let size = field()?.parse().ok()?;
    let (month, day, clock) = (field()?, field()?, field()?);
    // Exactly one separator is gone by now: a name may begin with a space.
    let kind = mode.chars().next()?;
    let name = if kind == 'l' { rest.split(" -> ").next()? } else { rest };
    let usable = !matches!(name, "" | "." | "..") && !name.contains(['/', '\0']);
    let known_kind = matches!(kind, '-' | 'd' | 'l');
    (usable && known_kind).then(|| RemoteEntry {
        name: name.to_owned(),
        size,
        dir: kind == 'd',
        modified: modified(month, day, clock, now),
    })
}

fn modified(month: &str, day: &str, clock: &str, now: i64) -> Option<i64> {
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))?;
    let month = i8::try_from(month + 1).ok()?;
    let day = day.parse().ok()?;
    match clock.split_once(':') {
        None => seconds(clock.parse().ok()?, month, day, Time::midnight()),
        Some((hour, minute)) => {
            let time = Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()?;
            let this_year = Timestamp::from_second(now).ok()?.to_zoned(TimeZone::UTC).year();
            // The latest year that does not lie in the future; 29 February may need four steps,
            // and a clock ahead across New Year begins one year later.
            (0..=5)
                .filter_map(|back| seconds(this_year.checked_add(1)?.checked_sub(back)?, month, day, time))
                .find(|seconds| *seconds <= now.saturating_add(FUTURE_SLACK))
        }
    }
}

fn seconds(year: i16, month: i8, day: i8, time: Time) -> Option<i64> {
    let date = Date::new(year, month, day).ok()?;
    Some(date.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    fn only(line: &str, now: &str) -> RemoteEntry {
        let mut entries = parse(line.as_bytes(), at(now));
        assert_eq!(entries.len(), 1, "{line:?}");
        entries.remove(0)
    }

    #[test]
    fn reads_both_forms_of_the_dossier() {
        let recent =
            only("-rwxr-xr-x  1 0 0     12345 Oct 21 12:34 name with spaces\r\n", "2026-11-20T00:00:00Z");
        assert_eq!(recent.name, "name with spaces");
        assert_eq!((recent.size, recent.dir), (12345, false));
        assert_eq!(recent.modified, Some(at("2026-10-21T12:34:00Z")));

        let old = only("drwxr-xr-x    3 root  user  4096 Oct 21  2020 cache", "2026-11-20T00:00:00Z");
        assert!(old.dir);
        assert_eq!((old.name.as_str(), old.modified), ("cache", Some(at("2020-10-21T00:00:00Z"))));
    }

    #[test]
    fn a_date_without_year_never_lies_in_the_future() {
        let line = |date: &str| format!("-rw-r--r-- 1 0 0 1 {date} a");
        let modified = |date: &str, now: &str| only(&line(date), now).modified.unwrap();
        assert_eq!(modified("Dec 31 23:00", "2026-01-02T00:00:00Z"), at("2025-12-31T23:00:00Z"));
        // A clock some hours ahead is not last year.
        assert_eq!(modified("Jan  2 09:00", "2026-01-02T00:00:00Z"), at("2026-01-02T09:00:00Z"));
        assert_eq!(modified("Jan  1 03:00", "2025-12-31T23:00:00Z"), at("2026-01-01T03:00:00Z"));
        assert_eq!(modified("Feb 29 10:00", "2027-01-01T00:00:00Z"), at("2024-02-29T10:00:00Z"));
    }

    #[test]
    fn leaves_out_what_is_not_an_entry_and_keeps_odd_names() {
        let listing = b"total 12\ndrwxr-xr-x 2 0 0 4096 Jan  1 00:00 .\ndrwxr-xr-x 2 0 0 4096 Jan  1 00:00 ..\n\
            \x00\xff garbage\n-rw-r--r-- 1 0 0 x Jan  1 00:00 nosize\n\n-rw-r--r-- 1 0 0 5 Jan  1 00:00 ../../etc/passwd\n\
            -rw-r--r-- 1 0 0 5 Jan  1 00:00  leading.3mf\n-rw-r--r-- 1 0 0 5 Xxx  1 00:00 undated\n\
            lrwxrwxrwx 1 0 0 5 Jan  1 00:00 link -> target\n-rw-r--r-- 1 0 0 5 Jan  1 00:00 M\xfcnze.3mf\n\
            -rw-r--r-- 1 0 0 5 Jan  1 00:00 \xe6\xb5\x8b.gcode.3mf";
        let entries = parse(listing, at("2026-11-20T00:00:00Z"));
        let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, [" leading.3mf", "undated", "link", "Münze.3mf", "测.gcode.3mf"]);
        assert_eq!(entries[1].modified, None);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(listing: Vec<u8>, now: i64) {
            for entry in parse(&listing, now) {
                proptest::prop_assert!(!entry.name.contains('/'));
            }
        }
    }
}
