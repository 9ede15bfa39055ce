//! The Ethernet interfaces of a machine, and the capacity of their links for frames of cameras.

use std::fs;
use std::path::Path;

use crate::attribute::read_attribute;

/// Maximum number of interfaces that are read.
const INTERFACES_MAX: usize = 256;

/// Data rate of the Ethernet port of a camera, and of an interface that is assumed.
pub(crate) const CAMERA_MEGABITS: u32 = 1000;

/// The MTU that cameras on Ethernet have without a setting of theirs.
pub(crate) const CAMERA_MTU: u32 = 9000;

/// The MTU of an interface that is assumed: the default of Linux and of most switches.
const DEFAULT_MTU: u32 = 1500;

/// Bytes around the payload of a packet: preamble, Ethernet header, checksum and gap.
const AROUND_PACKET_BYTES: u64 = 38;

/// Bytes of a packet that are no payload: headers of IP, UDP and RTPS, which librealsense's DDS sends.
const IN_PACKET_BYTES: u64 = 28 + 64;

/// An Ethernet interface with a cable in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, such as `eth0`; `assumed link` if it is assumed.
    pub name: String,
    /// Speed of its link.
    pub megabits: u32,
    /// Size of its largest packet in bytes.
    pub mtu: u32,
}

impl Interface {
    /// Returns the interface that is planned with where none is known.
    pub(crate) fn assumed() -> Self {
        Self { name: "assumed link".to_owned(), megabits: CAMERA_MEGABITS, mtu: DEFAULT_MTU }
    }

    /// Reads a folder with the layout of `/sys/class/net`: the wired interfaces whose link is up, the fastest first.
    pub(crate) fn read_all(folder: &Path) -> Vec<Self> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(INTERFACES_MAX);
        let mut interfaces: Vec<_> = entries.filter_map(|entry| Self::read(&entry.path())).collect();
        interfaces
            .sort_by(|one, other| other.megabits.cmp(&one.megabits).then_with(|| one.name.cmp(&other.name)));
        interfaces
    }

    /// Returns the interface in this folder; `None` if it is virtual, wireless, or has no link.
    fn read(folder: &Path) -> Option<Self> {
        let number = |name: &str| read_attribute(&folder.join(name))?.parse().ok();
        if !folder.join("device").exists() || folder.join("wireless").exists() {
            return None;
        }
        // Without a link the speed is -1, or cannot be read.
        let megabits = number("speed").filter(|&speed| speed > 0)?;
        let name = folder.file_name()?.to_string_lossy().into_owned();
        Some(Self { name, megabits, mtu: number("mtu").unwrap_or(DEFAULT_MTU) })
    }
}

/// Returns the frame data that a link carries in bits per second, if `percent` of its time are used.
pub(crate) fn payload_bits(megabits: u32, mtu: u32, percent: u64) -> u64 {
    let packet = u64::from(mtu).max(IN_PACKET_BYTES + 1);
    let link = u64::from(megabits) * 1_000_000 / 100 * percent;
    link / (packet + AROUND_PACKET_BYTES) * (packet - IN_PACKET_BYTES)
}
