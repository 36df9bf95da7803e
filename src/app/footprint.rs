//! What the program itself takes of the memory.

use std::ffi::c_void;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

/// Takes the program's code out of the process's memory; what is executed from now on comes back by itself, without a
/// disk being read as long as the system keeps the file. The start runs through nearly all of the program, much of which
/// nothing uses afterwards (docs/performance.md). Pages come back with their neighbours: how many is the system's affair.
pub fn forget_the_start() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for (start, length) in code(&maps) {
        let Some(start) = NonNull::new(std::ptr::with_exposed_provenance_mut::<c_void>(start)) else {
            continue;
        };
        // SAFETY: the range is one whole private mapping of a file that may be read and executed but never written, so
        // that each page that is touched again is read from the same file with the same content.
        #[allow(unsafe_code)]
        let _only_an_advice = unsafe { madvise(start, length, MmapAdvise::MADV_DONTNEED) };
    }
}

/// Start and length of each mapping that holds code of a file and cannot be written (proc_pid_maps(5)).
fn code(maps: &str) -> impl Iterator<Item = (usize, usize)> {
    maps.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (range, rights, file) = (fields.next()?, fields.next()?, fields.nth(3)?);
        let (start, end) = range.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        (rights == "r-xp" && file.starts_with('/')).then_some((start, end.checked_sub(start)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relocated data is read-only as well, but its content is not the file's.
    #[test]
    fn only_code_of_files_is_forgotten() {
        let maps = "\
55d0c0000000-55d0c03e6000 r--p 00000000 fe:00 123 /usr/bin/moongate\n\
55d0c03e6000-55d0c0ecd000 r-xp 003e5000 fe:00 123 /usr/bin/moongate\n\
55d0c0ecd000-55d0c0f3c000 r--p 00ecc000 fe:00 123 /usr/bin/moongate\n\
55d0c0f3c000-55d0c0f3f000 rw-p 00f3a000 fe:00 123 /usr/bin/moongate\n\
55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0 [heap]\n\
7f0000000000-7f0000100000 rwxp 00000000 fe:00 124 /usr/lib/odd.so\n\
7f0000200000-7f0000300000 r-xp 00000000 00:00 0\n\
7ffd3f7d5000-7ffd3f7d7000 r-xp 00000000 00:00 0 [vdso]\n";
        assert_eq!(code(maps).collect::<Vec<_>>(), [(0x55d0_c03e_6000, 0xae_7000)]);
        assert!(code("nonsense\n1-0 r-xp 0 0 0 /x\nzz-11 r-xp 0 0 0 /x").next().is_none());
    }

    #[test]
    fn the_program_goes_on() {
        forget_the_start();
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        assert!(code(&maps).count() >= 1, "{maps}");
    }
}
