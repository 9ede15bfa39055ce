//! Memory that only the start of a process needed.
#![allow(unsafe_code)] // Two calls of the system, which takes memory back.

use std::ops::Range;
use std::sync::Once;
use std::time::Duration;

use rustix::mm::{Advice, madvise};

use crate::threads::spawn_thread;

/// The time in which the first framesets flow, and links are mapped. A page that is needed later comes back by itself.
const START: Duration = Duration::from_millis(300);

/// Gives memory back that only the start of this process needed, on a thread of its own and some time after the first call,
/// which is made when framesets begin to flow: freed parts of the heap, and the pages of the program. Those that the process
/// goes on to use come back from the file, without a read of the disk as long as they are cached.
pub fn release_startup_memory() {
    static FIRST: Once = Once::new();
    FIRST.call_once(|| {
        // Without a thread the memory stays.
        let _ = spawn_thread("startup", || {
            std::thread::sleep(START);
            release();
        });
    });
}

fn release() {
    // SAFETY: the call has no preconditions.
    #[cfg(target_env = "gnu")]
    let _ = unsafe { libc::malloc_trim(0) };
    for pages in read_only_pages() {
        // SAFETY: the pages are a private mapping of the program's file, which is not writable and has no page that differs from
        // the file: they come back with the same content.
        let _ = unsafe {
            madvise(std::ptr::with_exposed_provenance_mut(pages.start), pages.len(), Advice::LinuxDontNeed)
        };
        // An error means that the pages are locked in memory, and stay.
    }
}

/// Returns the addresses of this program's code and constants, as they are mapped from its file. Mappings with pages that were
/// written since are not among them: the breakpoints of a debugger would be lost, and code that was moved into other memory.
fn read_only_pages() -> Vec<Range<usize>> {
    let (Ok(program), Ok(maps)) =
        (std::fs::read_link("/proc/self/exe"), std::fs::read_to_string("/proc/self/smaps"))
    else {
        return Vec::new();
    };
    program.to_str().map(|program| unwritten(program, &maps)).unwrap_or_default()
}

/// Returns the mappings of this program in the text of `smaps` that are private, not writable, and unwritten.
fn unwritten(program: &str, maps: &str) -> Vec<Range<usize>> {
    let (mut found, mut mapping) = (Vec::new(), None);
    for line in maps.lines() {
        // A mapping begins with its addresses, permissions, offset, device and inode, before its file.
        if let Some((range, permissions)) =
            line.split_once(' ').and_then(|(start, rest)| Some((range(start)?, rest)))
        {
            let is_ours = permissions.starts_with("r-")
                && permissions[3..].starts_with('p')
                && line.ends_with(&format!(" {program}"));
            mapping = is_ours.then_some(range);
        } else if let Some(bytes) = line.strip_prefix("Anonymous:") {
            found.extend(mapping.take().filter(|_| bytes.trim() == "0 kB"));
        }
    }
    found
}

/// Parses two addresses.
fn range(addresses: &str) -> Option<Range<usize>> {
    let (start, end) = addresses.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    #![allow(clippy::unwrap_used)] // A test that cannot go on fails.

    use std::os::unix::fs::FileExt;
    use std::process::Command;

    use super::*;

    static CONSTANT: [u8; 16] = *b"0123456789abcdef";

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
        // As a debugger writes a breakpoint.
        let (written, at) = (b'!', CONSTANT.as_ptr() as u64);
        let memory = std::fs::OpenOptions::new().read(true).write(true).open("/proc/self/mem").unwrap();
        memory.write_all_at(&[written], at).unwrap();
        assert!(!read_only_pages().iter().any(|pages| pages.contains(&(at as usize))));
        release();
        let mut byte = [0];
        memory.read_exact_at(&mut byte, at).unwrap();
        assert_eq!(byte, [written], "a page that was written was given back");
    }
}
