//! Frames of the control socket: a size and JSON, with a version.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use camrig_frame::one_line;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of requests and answers.
pub const CONTROL_VERSION: u32 = 4;

/// Maximum size of a frame, in bytes: a topology file of the maximum size, each byte of which JSON may escape.
const FRAME_BYTES_MAX: usize = 8 << 20;

/// Maximum time in which a frame has to arrive, once its sender is expected to send it.
pub(super) const FRAME_TIMEOUT: Duration = Duration::from_secs(5);

/// A request with its version.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Versioned<T> {
    camrig_control: u32,
    #[serde(rename = "content")]
    content: T,
}

/// The version of a frame whose content may be of another version.
#[derive(Deserialize)]
struct Version {
    camrig_control: u32,
}

pub(super) fn ended() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "the rig is ending")
}

pub(super) fn send(mut stream: &UnixStream, content: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec(&Versioned { camrig_control: CONTROL_VERSION, content })?;
    if json.len() > FRAME_BYTES_MAX {
        return Err(too_large(json.len()));
    }
    stream.set_write_timeout(Some(FRAME_TIMEOUT))?;
    stream.write_all(&(json.len() as u32).to_le_bytes())?;
    stream.write_all(&json)
}

pub(super) fn receive<T: DeserializeOwned>(stream: &UnixStream, until: Instant) -> Result<T> {
    let mut size = [0; size_of::<u32>()];
    read_exact(stream, &mut size, until)?;
    let size = u32::from_le_bytes(size) as usize;
    if size > FRAME_BYTES_MAX {
        return Err(too_large(size));
    }
    let mut json = vec![0; size];
    read_exact(stream, &mut json, until.min(Instant::now() + FRAME_TIMEOUT))?;
    let invalid = |error: serde_json::Error| {
        Error::new(
            ErrorKind::InvalidData,
            format!("not a message of camrig's control socket: {}", one_line(error)),
        )
    };
    let Version { camrig_control: version } = serde_json::from_slice(&json).map_err(invalid)?;
    if version != CONTROL_VERSION {
        let fact = format!(
            "the message has version {version} of the control socket, this program has version {CONTROL_VERSION}"
        );
        return Err(Error::new(ErrorKind::InvalidData, fact));
    }
    let message: Versioned<T> = serde_json::from_slice(&json).map_err(invalid)?;
    Ok(message.content)
}

fn too_large(bytes: usize) -> Error {
    let fact = format!("the message has {bytes} bytes, at most {FRAME_BYTES_MAX} are accepted");
    Error::new(ErrorKind::InvalidData, fact)
}

/// Fills `buffer` from the stream, until the time is over.
fn read_exact(mut stream: &UnixStream, mut buffer: &mut [u8], until: Instant) -> Result<()> {
    while !buffer.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(ErrorKind::TimedOut, "it does not answer in time"));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Ok(0) => return Err(ended()),
            Ok(size) => buffer = &mut buffer[size..],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
