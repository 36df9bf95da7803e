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

/// The names of an `NLST` answer: some printers give whole paths (bambu.md 5.3).
pub fn names(listing: &[u8]) -> Vec<String> {
    let lines = listing.split(|byte| *byte == b'\n').map(decode);
    let names = lines.filter_map(|line| line.trim_end_matches('\r').rsplit('/').next().map(str::to_owned));
    names.filter(|name| usable(name)).collect()
}

fn usable(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

fn parse_line(line: &str, now: i64) -> Option<RemoteEntry> {
    let line = line.trim_end_matches('\r');
    let entry = if line.starts_with(|first: char| first.is_ascii_digit()) {
        dos_line(line)
    } else {
        unix_line(line, now)
    };
    entry.filter(|entry| usable(&entry.name))
}

/// The next word; exactly one separator behind it is gone too, as a name may begin with a space.
fn word<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let (word, after) = rest.trim_start().split_once(char::is_whitespace)?;
    *rest = after;
    Some(word)
}

fn unix_line(line: &str, now: i64) -> Option<RemoteEntry> {
    let mut rest = line;
    let mode = word(&mut rest)?;
    let (_links, _owner, group) = (word(&mut rest)?, word(&mut rest)?, word(&mut rest)?);
    let fifth = word(&mut rest)?;
    // Some servers leave out the group: then the month comes in its turn.
    let (size, date) = match fifth.parse() {
        Ok(size) => (size, word(&mut rest)?),
        Err(_) => (group.parse().ok().filter(|_| month(fifth).is_some())?, fifth),
    };
    let modified = match date.parse::<Date>() {
        // `ls --time-style=long-iso`
        Ok(date) => clock_of(word(&mut rest)?).and_then(|time| unix(date, time)),
        Err(_) => {
            let (day, clock) = (word(&mut rest)?, word(&mut rest)?);
            modified(date, day, clock, now)
        }
    };
    let kind = mode.chars().next()?;
    let name = if kind == 'l' { rest.split(" -> ").next()? } else { rest };
    let known_kind = matches!(kind, '-' | 'd' | 'l');
    known_kind.then(|| RemoteEntry { name: name.to_owned(), size, dir: kind == 'd', modified })
}

/// `10-21-25  12:34PM       <DIR>          cache`, as servers write it that take after Windows.
fn dos_line(line: &str) -> Option<RemoteEntry> {
    let mut rest = line;
    let (date, clock, size) = (word(&mut rest)?, word(&mut rest)?, word(&mut rest)?);
    let mut numbers = date.split('-').map(|number| number.parse::<i16>().ok());
    let (month, day, year) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let year = if year < 100 { 2000 + year } else { year };
    let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
    let dir = size == "<DIR>";
    Some(RemoteEntry {
        name: if dir { rest.trim_start() } else { rest }.to_owned(),
        size: if dir { 0 } else { size.parse().ok()? },
        dir,
        modified: clock_of(clock).and_then(|time| unix(date, time)),
    })
}

/// `12:34`, `12:34PM`.
fn clock_of(text: &str) -> Option<Time> {
    let clock = text.trim_end_matches(['A', 'P', 'M']);
    let (hour, minute) = clock.split_once(':')?;
    let hour: i8 = hour.parse().ok()?;
    let hour = match text.get(clock.len()..)? {
        "AM" => hour % 12,
        "PM" => hour % 12 + 12,
        _ => hour,
    };
    Time::new(hour, minute.parse().ok()?, 0, 0).ok()
}

fn month(name: &str) -> Option<i8> {
    let month = MONTHS.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    i8::try_from(month + 1).ok()
}

fn unix(date: Date, time: Time) -> Option<i64> {
    Some(date.to_datetime(time).to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

fn modified(name: &str, day: &str, clock: &str, now: i64) -> Option<i64> {
    let month = month(name)?;
    let day = day.parse().ok()?;
    if !clock.contains(':') {
        return seconds(clock.parse().ok()?, month, day, Time::midnight());
    }
    let time = clock_of(clock)?;
    let this_year = Timestamp::from_second(now).ok()?.to_zoned(TimeZone::UTC).year();
    // The latest year that does not lie in the future; 29 February may need four steps, and a clock ahead across New Year
    // begins one year later.
    (0..=5)
        .filter_map(|back| seconds(this_year.checked_add(1)?.checked_sub(back)?, month, day, time))
        .find(|seconds| *seconds <= now.saturating_add(FUTURE_SLACK))
}

fn seconds(year: i16, month: i8, day: i8, time: Time) -> Option<i64> {
    unix(Date::new(year, month, day).ok()?, time)
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
    fn reads_what_other_servers_write() {
        let read = |line: &str| {
            let entry = only(line, "2026-11-20T00:00:00Z");
            (entry.name, entry.size, entry.dir, entry.modified)
        };
        let afternoon = Some(at("2025-10-21T12:34:00Z"));
        let file = |name: &str| (name.to_owned(), 123, false, afternoon);
        assert_eq!(read("10-21-25  12:34PM                  123 a b.3mf\r"), file("a b.3mf"));
        assert_eq!(read("10-21-2025  12:34 123  b.3mf"), file(" b.3mf"));
        let night = Some(at("2025-10-21T00:34:00Z"));
        assert_eq!(read("10-21-25  12:34AM       <DIR>          cache"), ("cache".into(), 0, true, night));
        assert_eq!(read("-rw-r--r-- 1 0 0 123 2025-10-21 12:34 a b.3mf"), file("a b.3mf"));
        assert_eq!(read("-rw-r--r-- 1 root 123 Oct 21  2025 c.3mf").0, "c.3mf");
        // A month in another language: no date, but a file.
        assert_eq!(read("-rw-r--r-- 1 0 0 123 Okt 21 12:34 d.3mf"), ("d.3mf".into(), 123, false, None));
        assert_eq!(read("drwxr-xr-x 2 0 0 4096 10月 21 12:34 文件").0, "文件");
        assert!(parse(b"10-21-25 nonsense\n13-45-99 12:34PM 1 x\n10-21-25  12:34PM <DIR> ..", 0).is_empty());
    }

    #[test]
    fn names_alone_are_bare_or_whole_paths() {
        let listing = "/cache/a b.3mf\r\nplain.3mf\r\n.\r\n/cache/..\r\n\r\n/\n测.3mf";
        assert_eq!(names(listing.as_bytes()), ["a b.3mf", "plain.3mf", "测.3mf"]);
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
