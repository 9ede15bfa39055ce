//! The bytes of a file, read in parts of bounded size.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Size of the bytes that are kept for the next small read.
pub(super) const WINDOW_BYTES: u64 = 1 << 20;

/// Maximum size of a read of single bytes.
pub(super) const PEEK_BYTES: usize = 256;

/// A file, with the number of the bytes that were read of it. Several threads may read it at the same time.
pub(super) struct RecordedFile {
    /// `None` after [`Self::close`].
    file: Option<File>,
    path: PathBuf,
    /// The device and the number of the file.
    identity: (u64, u64),
    size_bytes: u64,
    read_bytes: AtomicU64,
    /// Locked during small reads only.
    window: Mutex<CachedBytes>,
}

/// The last bytes that were read for small reads.
#[derive(Default)]
struct CachedBytes {
    at: u64,
    bytes: Vec<u8>,
}

impl RecordedFile {
    /// Returns an open file with its metadata.
    pub(super) fn new(file: File, path: &Path, metadata: &Metadata) -> Self {
        Self {
            file: Some(file),
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
            size_bytes: metadata.len(),
            read_bytes: AtomicU64::new(0),
            window: Mutex::default(),
        }
    }

    /// Frees the descriptor: from now on the file is opened for each read.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns how many bytes were read since the file was opened.
    #[cfg(test)]
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    fn window(&self) -> MutexGuard<'_, CachedBytes> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a part of the file.
    ///
    /// # Errors
    /// If the file does not have these bytes.
    pub(super) fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        // A part that the file does not have must not be allocated.
        if range.end > self.size_bytes || range.start > range.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.read_into(range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Calls `look` with at least `least` bytes from `at` on, or with fewer at the end of the file. Reads that move
    /// forward read each byte of the file about once. `least` is at most [`WINDOW_BYTES`].
    pub(super) fn look<T>(&self, at: u64, least: usize, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        let least = (least as u64).min(self.size_bytes.saturating_sub(at));
        let mut window = self.window();
        let end = window.at + window.bytes.len() as u64;
        if at < window.at || at + least > end {
            let until = self.size_bytes.min(at.saturating_add(WINDOW_BYTES));
            window.bytes = self.read(at.min(until)..until)?;
            window.at = at;
        }
        let from = (at - window.at) as usize;
        Ok(look(&window.bytes[from..]))
    }

    /// Calls `look` with at least `least` bytes from `at` on, or with fewer at the end of the file, and reads no others: for
    /// small reads that are far from each other. `least` is at most [`PEEK_BYTES`].
    pub(super) fn peek<T>(&self, at: u64, least: usize, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        let least = (least.min(PEEK_BYTES) as u64).min(self.size_bytes.saturating_sub(at)) as usize;
        let window = self.window();
        if at >= window.at && at + least as u64 <= window.at + window.bytes.len() as u64 {
            return Ok(look(&window.bytes[(at - window.at) as usize..]));
        }
        drop(window);
        let mut bytes = [0; PEEK_BYTES];
        self.read_into(at, &mut bytes[..least])?;
        Ok(look(&bytes[..least]))
    }

    /// Frees the memory of small reads.
    pub(super) fn release(&self) {
        std::mem::take(&mut *self.window());
    }

    /// Returns a reader of a part of the file.
    pub(super) fn range(&self, range: Range<u64>) -> RangeReader<'_> {
        RangeReader { file: self, range }
    }

    /// Fills `bytes` with those of the file from `at` on.
    ///
    /// # Errors
    /// If the file does not have these bytes.
    pub(super) fn read_into(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.read_exact_at(bytes, at)?;
        } else {
            let file = File::open(&self.path)?;
            let metadata = file.metadata()?;
            if (metadata.dev(), metadata.ino()) != self.identity {
                return Err(io::Error::other("another file has its name"));
            }
            file.read_exact_at(bytes, at)?;
        }
        self.read_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// Reads a part of a file from its start to its end.
pub(super) struct RangeReader<'a> {
    file: &'a RecordedFile,
    range: Range<u64>,
}

impl Read for RangeReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.range.end.saturating_sub(self.range.start);
        let count = left.min(bytes.len() as u64) as usize;
        self.file.read_into(self.range.start, &mut bytes[..count])?;
        self.range.start += count as u64;
        Ok(count)
    }
}
