//! USB and UVC 1.1 descriptors of a model.
//!
//! The layouts are those of the USB 3.2 specification, chapter 9, and of the "Universal Serial Bus Device Class
//! Definition for Video Devices", revision 1.1, chapter 3. librealsense and `uvcvideo` read them at every attach.

use crate::models::{Format, Function, Model, VideoStream};
use crate::motion;

/// Intel's USB vendor id.
pub const VENDOR_ID: u16 = 0x8086;

/// UVC entity ids, the same in every function.
pub const CAMERA_TERMINAL: u8 = 1;
/// The processing unit: brightness, gain and the like.
pub const PROCESSING_UNIT: u8 = 2;
/// librealsense's extension unit: the hardware monitor and the depth options.
pub const EXTENSION_UNIT: u8 = 3;

/// Unit of UVC frame intervals: 100 ns.
pub const INTERVALS_PER_SECOND: u32 = 10_000_000;

const DEVICE: u8 = 1;
const CONFIGURATION: u8 = 2;
const STRING: u8 = 3;
const INTERFACE: u8 = 4;
const ENDPOINT: u8 = 5;
const INTERFACE_ASSOCIATION: u8 = 11;
const BOS: u8 = 15;
const CS_INTERFACE: u8 = 0x24;
const SS_ENDPOINT_COMPANION: u8 = 0x30;
const VIDEO: u8 = 0x0E;

/// Interval of an interrupt endpoint: an exponent of 2, in 125 microseconds.
const MILLISECOND: u8 = 4;

/// GUID of librealsense's extension unit, in the byte order of the descriptor.
const EXTENSION_UNIT_GUID: [u8; 16] =
    [0xCB, 0x6C, 0x60, 0xC9, 0x4C, 0x59, 0x25, 0x4D, 0xAF, 0x47, 0xCC, 0xC4, 0x96, 0x43, 0x59, 0x95];

/// Controls of the extension unit.
const EXTENSION_CONTROLS: u8 = 17;

/// Camera terminal: auto-exposure mode, its priority, absolute exposure time.
const CAMERA_TERMINAL_CONTROLS: [u8; 3] = [0x0E, 0, 0];

/// Processing unit: every control that librealsense's options need. A missing gamma breaks presets.
const PROCESSING_CONTROLS: [u8; 2] = [0x7F, 0x17];

/// Speed of the link on which a camera is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// USB 2, 480 Mb/s.
    High,
    /// USB 3, 5 Gb/s.
    Super,
}

/// Returns the endpoint number, without its direction, of a streaming interface.
pub const fn endpoint_of(stream: VideoStream) -> u8 {
    endpoint_on(stream.interface)
}

/// Returns the endpoint number, without its direction, of the interface with this number.
pub const fn endpoint_on(interface: u8) -> u8 {
    interface + 1
}

/// Returns the device descriptor of a camera with this firmware, most significant part first: the device's own version
/// has its first three parts.
pub fn device(model: &Model, speed: Speed, [major, minor, patch, _]: [u8; 4]) -> Vec<u8> {
    let release = u16::from(major) << 12 | u16::from(minor) << 4 | u16::from(patch & 0x0F);
    let (usb, packet) = match speed {
        Speed::Super => (0x0320_u16, 9),
        Speed::High => (0x0210, 64),
    };
    let mut bytes = vec![18, DEVICE];
    bytes.extend(usb.to_le_bytes());
    // Class EF, subclass 2, protocol 1: functions are grouped by interface association.
    bytes.extend([0xEF, 2, 1, packet]);
    bytes.extend([VENDOR_ID, model.product_id, release].map(u16::to_le_bytes).as_flattened());
    bytes.extend([1, 2, 3, 1]);
    bytes
}

/// Returns the binary object store: USB 2 extension and SuperSpeed capabilities.
pub fn bos() -> Vec<u8> {
    let mut bytes = vec![5, BOS, 22, 0, 2];
    bytes.extend([7, 0x10, 2, 2, 0, 0, 0]);
    bytes.extend([10, 0x10, 3, 0, 0x0E, 0, 3, 10, 0xFF, 7]);
    bytes
}

/// Returns the string with this index: 0 is the list of languages. `None` for an unknown index.
pub fn string(model: &Model, board_serial: &str, index: u8) -> Option<Vec<u8>> {
    let text = match index {
        0 => return Some(vec![4, STRING, 9, 4]),
        1 => "Intel(R) RealSense(TM) Depth Camera",
        2 => model.product,
        3 => board_serial,
        _ => return None,
    };
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut bytes = vec![units.len() as u8 + 2, STRING];
    bytes.extend(units);
    Some(bytes)
}

/// Returns the configuration descriptor with every interface.
pub fn configuration(model: &Model, speed: Speed) -> Vec<u8> {
    let mut interfaces: Vec<u8> =
        model.functions.iter().flat_map(|function| video_function(model, function, speed)).collect();
    let mut count = model.functions.iter().map(|function| 1 + function.streams.len()).sum::<usize>();
    if let Some(number) = model.motion_interface {
        interfaces.extend(motion_function(number, speed));
        count += 1;
    }
    let mut bytes = vec![9, CONFIGURATION];
    bytes.extend((9 + interfaces.len() as u16).to_le_bytes());
    bytes.extend([count as u8, 1, 0, 0x80, 100]);
    bytes.extend(interfaces);
    bytes
}

fn video_function(model: &Model, function: &Function, speed: Speed) -> Vec<u8> {
    let control = function.control_interface;
    let streams = function.streams.len() as u8;
    let mut bytes = vec![8, INTERFACE_ASSOCIATION, control, streams + 1, VIDEO, 3, 0, 0];
    bytes.extend([9, INTERFACE, control, 0, 0, VIDEO, 1, 0, 0]);
    bytes.extend(video_control(function));
    for (index, &stream) in function.streams.iter().enumerate() {
        bytes.extend(video_streaming(model, stream, output_terminal(index), speed));
    }
    bytes
}

/// Returns the HID interface of the motion sensors, and its interrupt endpoint.
fn motion_function(number: u8, speed: Speed) -> Vec<u8> {
    let mut bytes = motion::interface(number);
    bytes.extend([7, ENDPOINT, 0x80 | endpoint_on(number), 3]);
    bytes.extend(motion::PACKET_BYTES.to_le_bytes());
    bytes.push(MILLISECOND);
    if speed == Speed::Super {
        bytes.extend([6, SS_ENDPOINT_COMPANION, 0, 0]);
        bytes.extend(motion::PACKET_BYTES.to_le_bytes());
    }
    bytes
}

/// Returns the entity id of the output terminal of the stream at `index` of its function.
const fn output_terminal(index: usize) -> u8 {
    4 + index as u8
}

/// Returns the class-specific part of a VideoControl interface: header, terminals and units.
fn video_control(function: &Function) -> Vec<u8> {
    let mut units = vec![18, CS_INTERFACE, 2, CAMERA_TERMINAL, 0x01, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 3];
    units.extend(CAMERA_TERMINAL_CONTROLS);
    units.extend([11, CS_INTERFACE, 5, PROCESSING_UNIT, CAMERA_TERMINAL, 0, 0, 2]);
    units.extend(PROCESSING_CONTROLS);
    units.push(0);
    let mut source = PROCESSING_UNIT;
    if function.extension_unit {
        units.extend([28, CS_INTERFACE, 6, EXTENSION_UNIT]);
        units.extend(EXTENSION_UNIT_GUID);
        units.extend([EXTENSION_CONTROLS, 1, PROCESSING_UNIT, 3, 0xFF, 0xFF, 1, 0]);
        source = EXTENSION_UNIT;
    }
    for index in 0..function.streams.len() {
        units.extend([9, CS_INTERFACE, 3, output_terminal(index), 0x01, 0x01, 0, source, 0]);
    }
    let header_bytes = 12 + function.streams.len() as u8;
    let mut bytes = vec![header_bytes, CS_INTERFACE, 1];
    bytes.extend(0x0110_u16.to_le_bytes());
    bytes.extend((u16::from(header_bytes) + units.len() as u16).to_le_bytes());
    // Clock frequency of the device, in Hz.
    bytes.extend(1_000_000_u32.to_le_bytes());
    bytes.push(function.streams.len() as u8);
    bytes.extend(function.streams.iter().map(|stream| stream.interface));
    bytes.extend(units);
    bytes
}

/// Returns a VideoStreaming interface with its format, frames and bulk endpoint.
fn video_streaming(model: &Model, stream: VideoStream, terminal: u8, speed: Speed) -> Vec<u8> {
    let VideoStream { interface, format } = stream;
    let address = 0x80 | endpoint_of(stream);
    let mut formats = vec![27, CS_INTERFACE, 4, 1, model.sizes.len() as u8];
    formats.extend(format_guid(format));
    formats.extend([format.bits_per_pixel(), 1, 0, 0, 0, 0]);
    for (index, &size) in model.sizes.iter().enumerate() {
        formats.extend(frame(model, format, size, index as u8 + 1));
    }
    formats.extend([6, CS_INTERFACE, 0x0D, 1, 1, 4]);
    let mut bytes = vec![9, INTERFACE, interface, 0, 1, VIDEO, 2, 0, 0];
    bytes.extend([14, CS_INTERFACE, 1, 1]);
    bytes.extend((14 + formats.len() as u16).to_le_bytes());
    bytes.extend([address, 0, terminal, 0, 0, 0, 1, 0]);
    bytes.extend(formats);
    let packet: u16 = if speed == Speed::Super { 1024 } else { 512 };
    bytes.extend([7, ENDPOINT, address, 2]);
    bytes.extend(packet.to_le_bytes());
    bytes.push(0);
    if speed == Speed::Super {
        bytes.extend([6, SS_ENDPOINT_COMPANION, 15, 0, 0, 0]);
    }
    bytes
}

fn frame(model: &Model, format: Format, size: (u16, u16), index: u8) -> Vec<u8> {
    let bytes_per_frame = format.frame_bytes(size);
    let rates: Vec<u32> = model.rates_of(size).collect();
    let (lowest, highest) = (rates.first().copied().unwrap_or(1), rates.last().copied().unwrap_or(1));
    let bit_rate = |rate: u32| (u64::from(bytes_per_frame) * 8 * u64::from(rate)) as u32;
    let default_rate = if rates.contains(&30) { 30 } else { highest };
    let mut bytes = vec![26 + 4 * rates.len() as u8, CS_INTERFACE, 5, index, 0];
    bytes.extend([size.0, size.1].map(u16::to_le_bytes).as_flattened());
    let words = [bit_rate(lowest), bit_rate(highest), bytes_per_frame, INTERVALS_PER_SECOND / default_rate];
    bytes.extend(words.map(u32::to_le_bytes).as_flattened());
    bytes.push(rates.len() as u8);
    // Shortest interval first.
    bytes.extend(rates.iter().rev().flat_map(|rate| (INTERVALS_PER_SECOND / rate).to_le_bytes()));
    bytes
}

/// Returns UVC's GUID of an uncompressed format: its FOURCC and a constant tail.
fn format_guid(format: Format) -> [u8; 16] {
    let mut guid = [0, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];
    guid[..4].copy_from_slice(&format.fourcc());
    guid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::MODELS;

    /// Splits a configuration into its descriptors by their length bytes.
    fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut all = Vec::new();
        while let Some(&length) = bytes.first() {
            assert!(length >= 2 && usize::from(length) <= bytes.len(), "a descriptor of {length} bytes");
            let (one, rest) = bytes.split_at(length.into());
            all.push(one);
            bytes = rest;
        }
        all
    }

    fn u16_at(bytes: &[u8], index: usize) -> usize {
        usize::from(u16::from_le_bytes([bytes[index], bytes[index + 1]]))
    }

    #[test]
    fn lengths_and_counts_agree_for_every_model_and_speed() {
        for model in MODELS {
            for speed in [Speed::High, Speed::Super] {
                let bytes = configuration(model, speed);
                assert_eq!(u16_at(&bytes, 2), bytes.len(), "{}", model.name);
                let all = split(&bytes);
                let interfaces: Vec<_> = all.iter().filter(|one| one[1] == INTERFACE).collect();
                assert_eq!(interfaces.len(), usize::from(bytes[4]));
                let numbers: Vec<u8> = interfaces.iter().map(|one| one[2]).collect();
                assert_eq!(numbers, (0..bytes[4]).collect::<Vec<_>>());
                let endpoints = all.iter().filter(|one| one[1] == ENDPOINT).count();
                assert_eq!(
                    endpoints,
                    model.streams().count() + usize::from(model.motion_interface.is_some())
                );
                let companions = all.iter().filter(|one| one[1] == SS_ENDPOINT_COMPANION).count();
                assert_eq!(companions, if speed == Speed::Super { endpoints } else { 0 });
            }
        }
    }

    #[test]
    fn class_specific_headers_hold_the_length_of_their_content() {
        for model in MODELS {
            let bytes = configuration(model, Speed::Super);
            let all = split(&bytes);
            for (index, one) in all.iter().enumerate() {
                let follows_video = index > 0 && all[index - 1][1] == INTERFACE && all[index - 1][5] == VIDEO;
                if !follows_video {
                    continue;
                }
                let rest = &all[index..];
                let length =
                    rest.iter().take_while(|one| one[1] == CS_INTERFACE).map(|one| one.len()).sum::<usize>();
                let at = if all[index - 1][6] == 1 { 5 } else { 4 };
                assert_eq!(u16_at(one, at), length, "{} descriptor {index}", model.name);
            }
        }
    }

    #[test]
    fn a_frame_lists_its_rates_from_the_fastest() {
        let model = Model::by_name("d405").unwrap();
        let bytes = frame(model, Format::Z16, (1280, 720), 5);
        assert_eq!(usize::from(bytes[0]), bytes.len());
        assert_eq!((u16_at(&bytes, 5), u16_at(&bytes, 7)), (1280, 720));
        let intervals: Vec<u32> = bytes[26..]
            .chunks(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        assert_eq!(intervals, [333_333, 666_666, 2_000_000]);
    }

    #[test]
    fn the_version_of_the_device_has_its_firmware() {
        let model = Model::by_name("d405").unwrap();
        let release = |firmware| u16_at(&device(model, Speed::Super, firmware), 12);
        assert_eq!((release([5, 16, 0, 1]), release([5, 10, 3, 0])), (0x5100, 0x50A3));
    }

    #[test]
    fn strings_are_utf_16_and_end_with_the_serial_number_of_the_board() {
        let model = Model::by_name("d435").unwrap();
        let serial = string(model, "2400", 3).unwrap();
        assert_eq!(serial, [10, 3, b'2', 0, b'4', 0, b'0', 0, b'0', 0]);
        assert_eq!(string(model, "", 4), None);
    }
}
