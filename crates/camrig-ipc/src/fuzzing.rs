//! Functions under fuzzing, which accept arbitrary bytes: for `fuzz/`, and for the tests that replay its corpus.

use std::io::Write;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use camrig_frame::Layout;

use crate::handshake::{Handshake, send_attached};
use crate::header::{HEADER_BYTES, encode, header_from_bytes};
use crate::protocol;

/// Checks that a slot's header is rejected, or survives a round trip; its layout is rejected, or is within its size.
///
/// # Panics
/// If this is violated.
pub fn header(bytes: &[u8]) {
    let mut buffer = [0; HEADER_BYTES];
    let len = bytes.len().min(buffer.len());
    buffer[..len].copy_from_slice(&bytes[..len]);
    let Some(header) = header_from_bytes(&buffer) else { return };
    encode(&header, 7, &mut buffer);
    assert_eq!(header_from_bytes(&buffer).as_ref(), Some(&header));
    let Ok(layout) = Layout::of(&header.frames) else { return };
    let mut end = 0;
    for (index, frame) in header.frames.iter().enumerate() {
        let range = layout.range(index);
        assert!(range.start >= end && range.len() as u64 == frame.size_bytes());
        end = range.end;
    }
    assert_eq!(end, layout.size_bytes());
}

/// Passes the first bytes of a started process on its socket to the handshake, which must terminate.
///
/// # Panics
/// If the process is accepted although it has no socket.
pub fn handshake(bytes: &[u8]) {
    // More than the capacity of the socket pair would block, and is more than the parent reads.
    let Some(said) = bytes.get(..bytes.len().min(1 << 14)) else { return };
    let Ok((ours, mut theirs)) = UnixStream::pair() else { return };
    if theirs.write_all(&protocol::hello()).is_err() {
        return;
    }
    let (first, rest) = said.split_at(said.len().min(1));
    // A descriptor, which the parent expects, comes with the first byte.
    let begun = if first.is_empty() { Ok(()) } else { send_attached(&theirs, first, theirs.as_fd()) };
    if begun.and_then(|()| theirs.write_all(rest)).and_then(|()| theirs.shutdown(Shutdown::Write)).is_ok() {
        assert!(Handshake::with(ours).connect(()).is_err());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use camrig_frame::{FrameHeader, FrameSetHeader, PixelFormat, Stream};

    use super::*;
    use crate::header::tests::largest;

    /// Returns the headers from which fuzzing starts, by file name, as they are in a slot.
    fn seeds() -> [(&'static str, Vec<u8>); 3] {
        let image = FrameHeader::image(Stream::DEPTH, PixelFormat::Z16, 848, 480);
        let header = |frames: &[FrameHeader]| FrameSetHeader::new(7, frames.iter().copied().collect());
        [("none", header(&[])), ("one", header(&[image])), ("long", largest())].map(|(name, header)| {
            let mut buffer = vec![0; HEADER_BYTES];
            encode(&header, 7, &mut buffer);
            let end = buffer.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            buffer.truncate(end);
            (name, buffer)
        })
    }

    /// Headers of an earlier layout are refused at their first bytes: fuzzing would begin with nothing. After a change of
    /// the layout, `CAMRIG_WRITE_CORPUS=1` writes the files.
    #[test]
    fn the_corpus_has_headers_of_this_layout() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/header");
        for (name, bytes) in seeds() {
            let file = folder.join(name);
            if std::env::var_os("CAMRIG_WRITE_CORPUS").is_some() {
                std::fs::write(&file, &bytes).unwrap();
            }
            assert!(std::fs::read(&file).unwrap() == bytes, "{name} is not a header of this layout");
        }
    }

    fn repeat(target: &str, run: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let mut files = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            run(&std::fs::read(file.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0);
    }

    #[test]
    fn the_corpus_of_headers() {
        repeat("header", header);
    }

    #[test]
    fn the_corpus_of_handshakes() {
        repeat("handshake", handshake);
    }
}
