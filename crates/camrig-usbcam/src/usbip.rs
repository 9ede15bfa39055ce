//! The USB/IP protocol as the kernel's `vhci_hcd` speaks it after a device was attached: URBs in, results out.
//!
//! The source is the kernel's `Documentation/usb/usbip_protocol.rst`: every message begins with a header of
//! [`HEADER_BYTES`] bytes in big endian, whose first five words are command, sequence number, device, direction and
//! endpoint. This module implements the part for cameras with bulk endpoints: isochronous transfers are refused.

use std::io::{self, Read};

/// Size of the header of every message.
pub const HEADER_BYTES: usize = 48;

/// Maximum size of the data stage of one URB. `uvcvideo` requests 32 KiB, control transfers at most 64 KiB.
pub const TRANSFER_BYTES_MAX: u32 = 1 << 20;

/// The endpoint halted, or refused a request: `-EPIPE`.
pub const STALL: i32 = -32;

/// The URB was removed from its queue before it completed: `-ECONNRESET`.
pub const UNLINKED: i32 = -104;

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;

/// A message from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// One URB.
    Submit(Submit),
    /// Removes the URB with sequence number `victim` if it has not completed.
    Unlink {
        /// Sequence number of this message.
        sequence: u32,
        /// Sequence number of the URB.
        victim: u32,
    },
}

/// One URB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submit {
    /// Sequence number, repeated in the result.
    pub sequence: u32,
    /// Endpoint number without its direction; 0 is the control endpoint.
    pub endpoint: u32,
    /// Size of the buffer that the host provides for an IN transfer, in bytes.
    pub length: u32,
    /// The setup packet of a control transfer; zeros otherwise.
    pub setup: [u8; 8],
    /// The data stage of an OUT transfer.
    pub data: Vec<u8>,
}

/// Reads the next message.
///
/// # Errors
/// When the connection ends or fails, and when the message is invalid for a camera.
pub fn read_request(from: &mut impl Read) -> io::Result<Request> {
    let mut header = [0; HEADER_BYTES];
    from.read_exact(&mut header)?;
    let word = |index: usize| {
        let start = index * 4;
        u32::from_be_bytes([header[start], header[start + 1], header[start + 2], header[start + 3]])
    };
    let (command, sequence, is_in, endpoint) = (word(0), word(1), word(3) != 0, word(4));
    match command {
        CMD_SUBMIT => {
            let (length, packets) = (word(6), word(8));
            if length > TRANSFER_BYTES_MAX {
                return Err(invalid(format!("a transfer of {length} bytes; at most {TRANSFER_BYTES_MAX}")));
            }
            if !matches!(packets, 0 | u32::MAX) {
                return Err(invalid("an isochronous transfer; only bulk and control are emulated".into()));
            }
            let mut data = vec![0; if is_in { 0 } else { length as usize }];
            from.read_exact(&mut data)?;
            let mut setup = [0; 8];
            setup.copy_from_slice(&header[40..]);
            Ok(Request::Submit(Submit { sequence, endpoint, length, setup, data }))
        }
        CMD_UNLINK => Ok(Request::Unlink { sequence, victim: word(5) }),
        _ => Err(invalid(format!("unknown command {command}"))),
    }
}

/// Returns the result of URB `sequence`: `status` is 0 or a negative error number, `length` the bytes transferred, `data` the
/// bytes that an IN transfer returns.
pub fn submit_result(sequence: u32, status: i32, length: u32, data: &[u8]) -> Vec<u8> {
    let mut message = result_header(RET_SUBMIT, sequence, status);
    message[24..28].copy_from_slice(&length.to_be_bytes());
    message.extend_from_slice(data);
    message
}

/// Returns the result of an unlink message: [`UNLINKED`] when the URB was removed, 0 when it had completed.
pub fn unlink_result(sequence: u32, status: i32) -> Vec<u8> {
    result_header(RET_UNLINK, sequence, status)
}

fn result_header(command: u32, sequence: u32, status: i32) -> Vec<u8> {
    let mut header = vec![0; HEADER_BYTES];
    header[0..4].copy_from_slice(&command.to_be_bytes());
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    header[20..24].copy_from_slice(&status.to_be_bytes());
    header
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// The messages that a host sends, for tests.
#[cfg(test)]
pub(crate) mod host {
    use super::{CMD_SUBMIT, CMD_UNLINK, HEADER_BYTES};

    pub(crate) fn submit(
        sequence: u32,
        endpoint: u32,
        length: u32,
        setup: [u8; 8],
        out: Option<&[u8]>,
    ) -> Vec<u8> {
        let mut message = vec![0; HEADER_BYTES];
        let words = [CMD_SUBMIT, sequence, 2, u32::from(out.is_none()), endpoint, 0, length];
        for (index, word) in words.into_iter().enumerate() {
            message[index * 4..index * 4 + 4].copy_from_slice(&word.to_be_bytes());
        }
        message[32..36].copy_from_slice(&u32::MAX.to_be_bytes());
        message[40..].copy_from_slice(&setup);
        message.extend_from_slice(out.unwrap_or_default());
        message
    }

    pub(crate) fn unlink(sequence: u32, victim: u32) -> Vec<u8> {
        let mut message = vec![0; HEADER_BYTES];
        for (index, word) in [CMD_UNLINK, sequence, 2, 0, 0, victim].into_iter().enumerate() {
            message[index * 4..index * 4 + 4].copy_from_slice(&word.to_be_bytes());
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_the_kernel_writes_them() {
        let setup = [0x80, 6, 0, 1, 0, 0, 18, 0];
        let read = |bytes: Vec<u8>| read_request(&mut bytes.as_slice());
        let expected = Submit { sequence: 7, endpoint: 0, length: 18, setup, data: Vec::new() };
        assert_eq!(read(host::submit(7, 0, 18, setup, None)).unwrap(), Request::Submit(expected.clone()));
        let out = Submit { length: 3, data: vec![1, 2, 3], ..expected };
        assert_eq!(read(host::submit(7, 0, 3, setup, Some(&[1, 2, 3]))).unwrap(), Request::Submit(out));
        assert_eq!(read(host::unlink(9, 7)).unwrap(), Request::Unlink { sequence: 9, victim: 7 });
    }

    #[test]
    fn unsupported_requests_are_refused() {
        let refused = |bytes: Vec<u8>| read_request(&mut bytes.as_slice()).unwrap_err().to_string();
        let setup = [0; 8];
        assert_eq!(
            refused(host::submit(1, 2, TRANSFER_BYTES_MAX + 1, setup, None)),
            "a transfer of 1048577 bytes; at most 1048576"
        );
        let mut isochronous = host::submit(1, 2, 64, setup, None);
        isochronous[32..36].copy_from_slice(&8u32.to_be_bytes());
        assert_eq!(refused(isochronous), "an isochronous transfer; only bulk and control are emulated");
        let mut unknown = host::unlink(1, 2);
        unknown[3] = 9;
        assert_eq!(refused(unknown), "unknown command 9");
        assert_eq!(refused(host::unlink(1, 2)[..20].to_vec()), "failed to fill whole buffer");
    }

    #[test]
    fn results_repeat_the_sequence_number() {
        let result = submit_result(0x0102_0304, STALL, 2, &[8, 9]);
        assert_eq!(result.len(), HEADER_BYTES + 2);
        assert_eq!(result[..8], [0, 0, 0, 3, 1, 2, 3, 4]);
        assert_eq!(result[20..28], [255, 255, 255, 224, 0, 0, 0, 2]);
        assert_eq!(result[48..], [8, 9]);
        assert_eq!(unlink_result(5, UNLINKED)[..8], [0, 0, 0, 4, 0, 0, 0, 5]);
    }
}
