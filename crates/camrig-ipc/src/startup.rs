//! Memory that only the start of a process needed.
#![allow(unsafe_code)] // Three calls of the system: it names the program's pages, and takes memory back.

use std::ops::Range;
use std::time::Duration;

use rustix::mm::{Advice, madvise};

use crate::region::page_bytes;
use crate::threads::spawn_thread;

/// The time in which the first framesets flow, and links are mapped. A page that is needed later comes back by itself.
const START: Duration = Duration::from_millis(300);

/// Gives memory back that only the start of this process needed, on a thread of its own and some time after this call, which
/// is made when framesets begin to flow: freed parts of the heap, and the pages of the program, unless a debugger traces it.
/// Those that the process goes on to use come back from the file, without a read of the disk as long as they are cached.
pub fn release_startup_memory() {
    // Without a thread the memory stays.
    let _ = spawn_thread("startup", || {
        std::thread::sleep(START);
        release();
    });
}

fn release() {
    // SAFETY: the call has no preconditions.
    #[cfg(target_env = "gnu")]
    let _ = unsafe { libc::malloc_trim(0) };
    if is_traced() {
        return;
    }
    for pages in read_only_pages() {
        // SAFETY: the pages are a private mapping of the program's file that is never written: they come back with the same
        // content. The dynamic linker writes only to segments that are writable in the file.
        let _ = unsafe {
            madvise(std::ptr::with_exposed_provenance_mut(pages.start), pages.len(), Advice::LinuxDontNeed)
        };
        // An error means that the pages are locked in memory, and stay.
    }
}

/// Returns whether a debugger traces this process: it writes its breakpoints into copies of the program's pages, which would be
/// lost with these. If that is not known, it may be so.
fn is_traced() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    status.lines().find_map(|line| line.strip_prefix("TracerPid:")).is_none_or(|pid| pid.trim() != "0")
}

/// Returns the addresses of the pages of this program's code and constants.
fn read_only_pages() -> Vec<Range<usize>> {
    unsafe extern "C" fn note(
        info: *mut libc::dl_phdr_info,
        _: usize,
        found: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the caller passes a valid description, and the vector below, which nothing else uses meanwhile.
        let (info, found) = unsafe { (&*info, &mut *found.cast::<Vec<Range<usize>>>()) };
        // SAFETY: the description has the address and the number of the headers, which stay.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        for header in loaded.filter(|header| header.p_flags & libc::PF_W == 0) {
            let start = info.dlpi_addr as usize + header.p_vaddr as usize;
            let end = start + header.p_memsz as usize;
            // Complete pages: nothing of another segment, which may be writable, is in them.
            found.push(start.next_multiple_of(page_bytes())..end - end % page_bytes());
        }
        // The first description is that of the program, the others are libraries.
        1
    }
    let mut found: Vec<Range<usize>> = Vec::new();
    // SAFETY: the function is of the expected type, and the vector outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut found).cast()) };
    found
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    #![allow(clippy::unwrap_used)] // A test that cannot go on fails.

    use std::process::Command;

    use super::*;

    /// Returns the resident bytes of the mappings of this program that cannot be written.
    fn resident_bytes() -> usize {
        let program = std::env::current_exe().unwrap();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut counts = false;
        let mut bytes = 0;
        for line in maps.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            if words.len() > 4 && words[0].contains('-') {
                counts = words[1].starts_with("r-") && words.last() == program.to_str().as_ref();
            } else if counts && words[0] == "Rss:" {
                bytes += words[1].parse::<usize>().unwrap() << 10;
            }
        }
        bytes
    }

    /// In a process of its own: other tests would bring pages back.
    #[test]
    fn pages_of_the_program_are_given_back_and_come_again() {
        let mut test = Command::new(std::env::current_exe().unwrap());
        let test = test.args(["--ignored", "--exact", "startup::tests::pages_are_given_back", "--nocapture"]);
        let output = test.output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.contains("1 passed"), "{output:?}");
    }

    #[test]
    #[ignore = "another test starts it"]
    fn pages_are_given_back() {
        let ranges = read_only_pages();
        assert!(ranges.iter().any(|pages| pages.contains(&(resident_bytes as *const () as usize))));
        for pages in &ranges {
            // SAFETY: the call reads the pages, which stay as they are.
            let present = unsafe {
                madvise(
                    std::ptr::with_exposed_provenance_mut(pages.start),
                    pages.len(),
                    Advice::LinuxPopulateRead,
                )
            };
            if present.is_err() {
                eprintln!("LEFT OUT: this kernel has no MADV_POPULATE_READ (Linux 5.14)");
                return;
            }
        }
        let before = resident_bytes();
        release();
        let after = resident_bytes();
        assert!(after < before / 2, "{after} bytes of {before}");
    }
}
