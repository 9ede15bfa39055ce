//! The hardware monitor: firmware commands that librealsense sends through the extension unit.
//!
//! A command is 16-bit size, 16-bit magic number, 32-bit operation, four 32-bit parameters and data. The reply is a buffer of
//! 1024 bytes: operation, data, and the length of the data in the last word; in an error, a negative number replaces the
//! operation.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::calibration;
use crate::models::Model;

/// Size of the reply buffer.
pub const REPLY_BYTES: usize = 1024;

/// Size of a command without its data.
const COMMAND_BYTES: usize = 24;

/// Number of tables of the advanced mode, and the size in which they are read.
const ADVANCED_TABLES: u32 = 13;
const ADVANCED_TABLE_BYTES: usize = 128;

/// The region of auto exposure after power-on: top, bottom, left and right, in pixels.
const WHOLE: [u16; 4] = [0, 0, 240, 424];

/// The second word of every command.
const MAGIC: u16 = 0xCDAB;

/// GVD: general version data.
pub const VERSION: u32 = 0x10;

/// Time after the start of a stream during which regions of auto exposure are refused, as real cameras do for some 30
/// frames.
const REGION_DELAY: Duration = Duration::from_millis(500);

/// Sets the region of auto exposure of depth.
pub const SET_REGION: u32 = 0x44;

/// Firmware errors.
const NO_DATA: i32 = -21;
/// The error for a command that cannot be carried out yet.
pub const NOT_READY: i32 = -7;
const UNKNOWN_OPERATION: i32 = -1;
/// The error for a command that cannot be parsed.
pub const INVALID_PARAMETER: i32 = -6;

/// Side effect of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandEffect {
    /// The device disconnects and starts again.
    Reset,
}

/// A parsed command.
#[derive(Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// Operation code.
    pub operation: u32,
    /// Parameters 1 to 4.
    pub parameters: [u32; 4],
    data: &'a [u8],
}

impl<'a> Command<'a> {
    /// Parses a command. `None` where it is cut off or has another magic number.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..COMMAND_BYTES)?;
        let word = |index: usize| {
            u32::from_le_bytes([header[index], header[index + 1], header[index + 2], header[index + 3]])
        };
        let size = usize::from(u16::from_le_bytes([header[0], header[1]]));
        if u16::from_le_bytes([header[2], header[3]]) != MAGIC {
            return None;
        }
        // The size includes everything after size and magic number.
        let data = bytes.get(COMMAND_BYTES..(size + 4).max(COMMAND_BYTES))?;
        Some(Self { operation: word(4), parameters: [word(8), word(12), word(16), word(20)], data })
    }
}

/// State of one camera's hardware monitor.
#[derive(Clone, Debug)]
pub struct HardwareMonitor {
    model: &'static Model,
    /// Serial number of the optical module, 12 decimal digits.
    serial: String,
    /// Serial number of the board, 12 decimal digits.
    board_serial: String,
    /// Firmware version, most significant part first.
    pub firmware: [u8; 4],
    /// If true, the calibration tables have a wrong checksum.
    pub damaged_calibration: bool,
    /// Time since power-on, for the next command.
    pub now: Duration,
    advanced_mode: bool,
    depth_table: [i32; 5],
    /// The other tables of the advanced mode that were set, by their number.
    advanced_tables: BTreeMap<u32, Vec<u8>>,
    /// Limits of automatic exposure: least exposure, least gain, greatest exposure, greatest gain; 0: no limit.
    auto_exposure_limits: [u32; 4],
    sync_mode: u8,
    /// Whether the laser is on between exposures too.
    laser_always_on: bool,
    /// The sequence of settings for successive frames, such as that of HDR; empty if there is none.
    sub_preset: Vec<u8>,
    /// Regions of auto exposure of depth and color: top, bottom, left and right, in pixels.
    exposure_regions: [[u16; 4]; 2],
    /// When the last stream was started.
    streams_since: Option<Duration>,
}

impl HardwareMonitor {
    /// Creates a device with these serial numbers after power-on.
    pub fn new(model: &'static Model, serial: &str, board_serial: &str, firmware: [u8; 4]) -> Self {
        Self {
            model,
            serial: serial.to_owned(),
            board_serial: board_serial.to_owned(),
            firmware,
            damaged_calibration: false,
            now: Duration::ZERO,
            advanced_mode: true,
            depth_table: [model.depth_unit_um as i32, 0, 65_535, 0, 0],
            advanced_tables: BTreeMap::new(),
            auto_exposure_limits: [1, 16, 165_000, 248],
            sync_mode: 0,
            laser_always_on: false,
            sub_preset: Vec::new(),
            exposure_regions: [WHOLE; 2],
            streams_since: None,
        }
    }

    /// Notes that a stream starts.
    pub fn note_stream(&mut self) {
        self.streams_since = Some(self.now);
    }

    /// Gives the device other serial numbers.
    pub fn set_serials(&mut self, serial: &str, board_serial: &str) {
        serial.clone_into(&mut self.serial);
        board_serial.clone_into(&mut self.board_serial);
    }

    /// Resets the state that a power cycle resets. Advanced mode is stored by the device.
    pub fn power_cycle(&mut self) {
        let fresh = Self::new(self.model, &self.serial, &self.board_serial, self.firmware);
        let kept = (self.advanced_mode, self.damaged_calibration);
        *self = fresh;
        (self.advanced_mode, self.damaged_calibration) = kept;
    }

    /// Returns the tables that commands can set; those of the advanced mode as `NUMBER:BYTES`, in hexadecimal digits without
    /// the zeros at the end.
    pub fn describe(&self) -> String {
        let words = |words: &[i64]| words.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        format!(
            "depth-table={} auto-exposure-limits={} sync={} advanced-tables={} exposure-regions={},{}",
            words(&self.depth_table.map(i64::from)),
            words(&self.auto_exposure_limits.map(i64::from)),
            self.sync_mode,
            self.advanced_tables.iter().map(described).collect::<Vec<_>>().join(","),
            words(&self.exposure_regions[0].map(i64::from)),
            words(&self.exposure_regions[1].map(i64::from)),
        )
    }

    /// Carries out a command: data of the reply, or the firmware's error.
    ///
    /// # Errors
    /// A negative error number of the firmware.
    pub fn run(&mut self, command: &Command<'_>) -> (Result<Vec<u8>, i32>, Option<CommandEffect>) {
        let [first, second, ..] = command.parameters;
        let reply = match command.operation {
            // MRD reads registers; librealsense reads the device's clock, in microseconds.
            0x01 => Ok((self.now.as_micros() as u32).to_le_bytes().to_vec()),
            0x09 => Ok(vec![second as u8; if second == 0 { 4 } else { second.min(1000) as usize }]),
            VERSION => Ok(self.version_data()),
            0x15 => self.calibration(first),
            0x20 => return (Ok(Vec::new()), Some(CommandEffect::Reset)),
            0x2A => Ok(vec![30]),
            0x2B if first == 9 => self.set_depth_table(command.data),
            0x2B => self.set_advanced_table(first, command.data),
            0x7B => {
                command.data.clone_into(&mut self.sub_preset);
                Ok(Vec::new())
            }
            0x7C if !self.sub_preset.is_empty() => Ok(self.sub_preset.clone()),
            // Its identifier follows the size of its header.
            0x7D => self.sub_preset.get(1).map(|&identifier| vec![identifier]).ok_or(NO_DATA),
            SET_REGION => self.set_exposure_region(0, command.parameters),
            0x75 => self.set_exposure_region(1, command.parameters),
            0x2C if first == 9 => Ok(self.depth_table_of(second)),
            0x2C => Ok(self.advanced_table(first, second)),
            0x2D => {
                self.advanced_mode = first != 0;
                Ok(Vec::new())
            }
            0x30 => Ok(vec![u8::from(self.advanced_mode), 0, 0, 0]),
            0x45 => Ok(self.exposure_regions[0].map(u16::to_le_bytes).as_flattened().to_vec()),
            0x76 => Ok(self.exposure_regions[1].map(u16::to_le_bytes).as_flattened().to_vec()),
            0x69 => {
                self.sync_mode = first as u8;
                Ok(Vec::new())
            }
            0x6A => Ok(vec![self.sync_mode, 0, 0, 0]),
            0x78 => Ok(vec![0]),
            // 0 and 1 set it.
            0x7F if first > 1 => Ok(vec![self.laser_always_on.into()]),
            0x7F => {
                self.laser_always_on = first != 0;
                Ok(Vec::new())
            }
            0x7E => Ok(calibration::rectified_parameters()),
            0x89 => Ok(self.auto_exposure_limits.map(u32::to_le_bytes).as_flattened().to_vec()),
            0x8A => {
                // They are set in another order than they are read.
                let [exposure_min, exposure_max, gain_min, gain_max] = command.parameters;
                self.auto_exposure_limits = [exposure_min, gain_min, exposure_max, gain_max];
                Ok(Vec::new())
            }
            0x0F | 0x7C => Err(NO_DATA),
            _ => Err(UNKNOWN_OPERATION),
        };
        (reply, None)
    }

    fn version_data(&self) -> Vec<u8> {
        let mut data = vec![0; 256];
        data[0] = 0xE8;
        data[2] = 3;
        for (byte, part) in data[12..16].iter_mut().zip(self.firmware.iter().rev()) {
            *byte = *part;
        }
        data[48..54].copy_from_slice(&decimal(&self.serial));
        data[64..70].copy_from_slice(&decimal(&self.board_serial));
        data[112..114].fill(0xFF);
        // 1 rolling, 2 global.
        data[166] = if self.model.global_shutter { 2 } else { 1 };
        data[170] = self.model.projector.into();
        // A color imager, and motion sensors.
        data[174] = 1;
        data[178] = self.model.motion_interface.is_some().into();
        data
    }

    fn calibration(&self, number: u32) -> Result<Vec<u8>, i32> {
        let mut table = calibration::table(self.model, number).ok_or(NO_DATA)?;
        if self.damaged_calibration {
            calibration::damage(&mut table);
        }
        Ok(table)
    }

    /// Returns the depth table: present values, smallest or largest.
    fn depth_table_of(&self, which: u32) -> Vec<u8> {
        let words = match which {
            0 => self.depth_table,
            1 => [1, 0, 0, 0, 0],
            _ => [1_000_000, 65_535, 65_535, 1_000, 1_000],
        };
        words.map(i32::to_le_bytes).as_flattened().to_vec()
    }

    fn set_depth_table(&mut self, data: &[u8]) -> Result<Vec<u8>, i32> {
        let words = data.get(..20).ok_or(INVALID_PARAMETER)?;
        for (word, bytes) in self.depth_table.iter_mut().zip(words.chunks_exact(4)) {
            *word = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Ok(Vec::new())
    }

    /// Returns another table of the advanced mode: present values, or the smallest and the largest, which are all 0.
    fn advanced_table(&self, number: u32, which: u32) -> Vec<u8> {
        let set = self.advanced_tables.get(&number).filter(|_| which == 0);
        let mut table = set.cloned().unwrap_or_default();
        table.resize(ADVANCED_TABLE_BYTES, 0);
        table
    }

    fn set_advanced_table(&mut self, number: u32, data: &[u8]) -> Result<Vec<u8>, i32> {
        if number >= ADVANCED_TABLES || data.len() > ADVANCED_TABLE_BYTES {
            return Err(INVALID_PARAMETER);
        }
        self.advanced_tables.insert(number, data.to_vec());
        Ok(Vec::new())
    }

    /// Sets the region of auto exposure of depth (0) or color (1), which needs a stream that has been running for a while.
    fn set_exposure_region(&mut self, imager: usize, parameters: [u32; 4]) -> Result<Vec<u8>, i32> {
        if self.streams_since.is_none_or(|since| self.now < since + REGION_DELAY) {
            return Err(NOT_READY);
        }
        self.exposure_regions[imager] = parameters.map(|side| side as u16);
        Ok(Vec::new())
    }
}

/// Returns the reply buffer with the result of [`HardwareMonitor::run`] for `operation`.
pub fn reply(operation: u32, outcome: &Result<Vec<u8>, i32>) -> Vec<u8> {
    let mut bytes = vec![0; REPLY_BYTES];
    match outcome {
        Ok(data) => {
            let length = data.len().min(REPLY_BYTES - 8);
            bytes[..4].copy_from_slice(&operation.to_le_bytes());
            bytes[4..4 + length].copy_from_slice(&data[..length]);
            bytes[REPLY_BYTES - 4..].copy_from_slice(&(length as u32).to_le_bytes());
        }
        Err(error) => bytes[..4].copy_from_slice(&error.to_le_bytes()),
    }
    bytes
}

/// Returns the number of a table and its bytes.
fn described((number, table): (&u32, &Vec<u8>)) -> String {
    let used = table.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let mut text = format!("{number}:");
    for byte in &table[..used] {
        // It does not fail for a `String`.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Returns 12 decimal digits as 6 bytes of two digits each.
fn decimal(serial: &str) -> [u8; 6] {
    let mut bytes = [0; 6];
    for (byte, digits) in bytes.iter_mut().zip(serial.as_bytes().chunks_exact(2)) {
        *byte = (digits[0] & 0xF) << 4 | digits[1] & 0xF;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(operation: u32, parameters: [u32; 4], data: &[u8]) -> Vec<u8> {
        let mut bytes = (20 + data.len() as u16).to_le_bytes().to_vec();
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend(operation.to_le_bytes());
        bytes.extend(parameters.map(u32::to_le_bytes).as_flattened());
        bytes.extend(data);
        bytes
    }

    fn monitor() -> HardwareMonitor {
        HardwareMonitor::new(Model::by_name("d405").unwrap(), "230000001001", "240000005001", [5, 16, 0, 1])
    }

    fn run(
        monitor: &mut HardwareMonitor,
        operation: u32,
        parameters: [u32; 4],
        data: &[u8],
    ) -> Result<Vec<u8>, i32> {
        let bytes = command(operation, parameters, data);
        monitor.run(&Command::parse(&bytes).unwrap()).0
    }

    #[test]
    fn commands_that_are_cut_off_or_have_another_magic_number_are_none() {
        let whole = command(0x2B, [9, 0, 0, 0], &[1; 20]);
        assert_eq!(Command::parse(&whole).map(|command| command.data.len()), Some(20));
        assert_eq!(Command::parse(&whole[..30]), None);
        assert_eq!(Command::parse(&whole[..10]), None);
        let mut other = whole;
        other[2] = 0;
        assert_eq!(Command::parse(&other), None);
    }

    #[test]
    fn version_data_hold_firmware_and_serial_numbers() {
        let data = run(&mut monitor(), 0x10, [0; 4], &[]).unwrap();
        assert_eq!(data[12..16], [1, 0, 16, 5]);
        assert_eq!(data[48..54], [0x23, 0, 0, 0, 0x10, 0x01]);
        assert_eq!(data[64..70], [0x24, 0, 0, 0, 0x50, 0x01]);
        assert_eq!((data[166], data[170]), (1, 0));
    }

    #[test]
    fn the_depth_table_is_kept_until_power_is_cycled() {
        let mut monitor = monitor();
        let words = [1000, 10, 5000, 0, 1].map(i32::to_le_bytes);
        assert_eq!(run(&mut monitor, 0x2B, [9, 0, 0, 0], words.as_flattened()), Ok(Vec::new()));
        assert_eq!(run(&mut monitor, 0x2C, [9, 0, 0, 0], &[]).unwrap(), words.as_flattened());
        assert_eq!(run(&mut monitor, 0x2B, [9, 0, 0, 0], &[1, 2]), Err(INVALID_PARAMETER));
        assert_eq!(run(&mut monitor, 0x2D, [0; 4], &[]), Ok(Vec::new()));
        monitor.power_cycle();
        assert_eq!(run(&mut monitor, 0x2C, [9, 0, 0, 0], &[]).unwrap()[..4], 100_i32.to_le_bytes());
        assert_eq!(run(&mut monitor, 0x30, [0; 4], &[]), Ok(vec![0, 0, 0, 0]));
    }

    #[test]
    fn limits_sequences_and_the_laser_are_kept_until_power_is_cycled() {
        let mut monitor = monitor();
        let limits = |monitor: &mut HardwareMonitor| {
            let bytes = run(monitor, 0x89, [0; 4], &[]).unwrap();
            bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(run(&mut monitor, 0x8A, [0, 9000, 16, 100], &[]), Ok(Vec::new()));
        assert_eq!(limits(&mut monitor), [0, 16, 9000, 100]);
        assert_eq!(run(&mut monitor, 0x7D, [0; 4], &[]), Err(NO_DATA));
        let sequence = [5, 15, 0, 0, 2];
        assert_eq!(run(&mut monitor, 0x7B, [5, 0, 0, 0], &sequence), Ok(Vec::new()));
        assert_eq!(run(&mut monitor, 0x7D, [0; 4], &[]), Ok(vec![15]));
        assert_eq!(run(&mut monitor, 0x7C, [0; 4], &[]), Ok(sequence.to_vec()));
        assert_eq!(run(&mut monitor, 0x7B, [0; 4], &[]), Ok(Vec::new()));
        assert_eq!(run(&mut monitor, 0x7C, [0; 4], &[]), Err(NO_DATA));
        assert_eq!(run(&mut monitor, 0x7F, [1, 0, 0, 0], &[]), Ok(Vec::new()));
        assert_eq!(run(&mut monitor, 0x7F, [2, 0, 0, 0], &[]), Ok(vec![1]));
        monitor.power_cycle();
        assert_eq!(run(&mut monitor, 0x7F, [2, 0, 0, 0], &[]), Ok(vec![0]));
        assert_eq!(limits(&mut monitor), [1, 16, 165_000, 248]);
    }

    #[test]
    fn tables_of_the_advanced_mode_are_kept_until_power_is_cycled() {
        let mut monitor = monitor();
        let first = |monitor: &mut HardwareMonitor, which| {
            run(monitor, 0x2C, [3, which, 0, 0], &[]).unwrap()[..4].to_vec()
        };
        assert_eq!(run(&mut monitor, 0x2B, [3, 0, 0, 0], &[1, 2, 3]), Ok(Vec::new()));
        assert_eq!((first(&mut monitor, 0), first(&mut monitor, 2)), (vec![1, 2, 3, 0], vec![0; 4]));
        assert!(monitor.describe().contains(" advanced-tables=3:010203 "));
        assert_eq!(
            run(&mut monitor, 0x2B, [3, 0, 0, 0], &[0; ADVANCED_TABLE_BYTES + 1]),
            Err(INVALID_PARAMETER)
        );
        assert_eq!(run(&mut monitor, 0x2B, [ADVANCED_TABLES, 0, 0, 0], &[0]), Err(INVALID_PARAMETER));
        monitor.power_cycle();
        assert_eq!(first(&mut monitor, 0), [0; 4]);
    }

    #[test]
    fn replies_end_with_their_length_and_errors_begin_with_their_number() {
        let good = reply(0x10, &Ok(vec![7; 3]));
        assert_eq!(
            (good.len(), &good[..8], &good[1020..]),
            (1024, &[0x10, 0, 0, 0, 7, 7, 7, 0][..], &[3, 0, 0, 0][..])
        );
        assert_eq!(reply(0x10, &Err(-6))[..4], (-6_i32).to_le_bytes());
        assert_eq!(run(&mut monitor(), 0x7D, [0; 4], &[]), Err(NO_DATA));
        assert_eq!(run(&mut monitor(), 0xFE, [0; 4], &[]), Err(UNKNOWN_OPERATION));
    }

    #[test]
    fn a_region_of_auto_exposure_is_refused_until_a_stream_has_run_for_a_while() {
        let mut monitor = monitor();
        assert_eq!(run(&mut monitor, 0x44, [20, 200, 10, 300], &[]), Err(NOT_READY));
        monitor.now = Duration::from_secs(3);
        monitor.note_stream();
        assert_eq!(run(&mut monitor, 0x44, [20, 200, 10, 300], &[]), Err(NOT_READY));
        monitor.now += REGION_DELAY;
        assert_eq!(run(&mut monitor, 0x44, [20, 200, 10, 300], &[]), Ok(Vec::new()));
        assert_eq!(run(&mut monitor, 0x45, [0; 4], &[]).unwrap(), [20, 0, 200, 0, 10, 0, 44, 1]);
        assert_eq!(run(&mut monitor, 0x75, [0, 100, 0, 100], &[]), Ok(Vec::new()));
        assert!(monitor.describe().ends_with(" exposure-regions=20,200,10,300,0,100,0,100"));
        monitor.power_cycle();
        assert!(monitor.describe().ends_with(" exposure-regions=0,0,240,424,0,0,240,424"));
    }

    #[test]
    fn a_reset_is_an_effect() {
        let bytes = command(0x20, [0; 4], &[]);
        let (outcome, effect) = monitor().run(&Command::parse(&bytes).unwrap());
        assert_eq!((outcome, effect), (Ok(Vec::new()), Some(CommandEffect::Reset)));
    }
}
