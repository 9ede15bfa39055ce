//! The first bytes sent by both sides of a handshake: they identify the protocol and its version.

use std::io::{Error, ErrorKind};

use super::VERSION;

/// The first bytes sent by both sides of a handshake.
pub const MAGIC: [u8; 8] = *b"camrig\r\n";

/// The magic number, and the version as a 32-bit little-endian number.
pub(crate) const HELLO_BYTES: usize = 12;

/// Returns the hello of this program.
pub(crate) fn hello() -> [u8; HELLO_BYTES] {
    let mut hello = [0; HELLO_BYTES];
    hello[..MAGIC.len()].copy_from_slice(&MAGIC);
    hello[MAGIC.len()..].copy_from_slice(&VERSION.to_le_bytes());
    hello
}

/// Checks the hello of `peer`.
///
/// # Errors
/// If it is not a hello, or of another version.
pub(crate) fn check(hello: &[u8; HELLO_BYTES], peer: &str) -> Result<(), Error> {
    let (magic, version) = hello.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(Error::new(ErrorKind::InvalidData, format!("{peer} does not speak camrig's protocol")));
    }
    let version = version.try_into().map_or(0, u32::from_le_bytes);
    if version == VERSION {
        return Ok(());
    }
    let fact = format!(
        "{peer} speaks version {version} of camrig's protocol, this program speaks version {VERSION}"
    );
    Err(Error::new(ErrorKind::InvalidData, fact))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(hello: [u8; HELLO_BYTES]) -> Result<(), String> {
        check(&hello, "the worker").map_err(|error| error.to_string())
    }

    #[test]
    fn a_hello_of_this_version_is_accepted_and_no_other() {
        assert_eq!(hello(), *b"camrig\r\n\x0d\0\0\0");
        assert_eq!(checked(hello()), Ok(()));
        let other = "the worker speaks version 513 of camrig's protocol, this program speaks version 13";
        assert_eq!(checked(*b"camrig\r\n\x01\x02\0\0"), Err(other.to_owned()));
        let garbage = "the worker does not speak camrig's protocol";
        assert_eq!(checked(*b"camrig\n\n\x01\0\0\0"), Err(garbage.to_owned()));
        assert_eq!(checked([0; HELLO_BYTES]), Err(garbage.to_owned()));
    }
}
