//! The control endpoint of one camera: control transfers in, answers and effects out.
//!
//! A state machine without sockets, threads or clocks: the server carries out its decisions.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::controls::{self, Controls, GET_CUR, GET_DEF, GET_INFO, GET_LEN, INFO_READ_WRITE, SET_CUR};
use crate::descriptors::{self, EXTENSION_UNIT, INTERVALS_PER_SECOND, Speed};
use crate::hwmon::{self, Command, HardwareMonitor};
use crate::models::{Format, Model, VideoStream};
use crate::motion::{self, GET_REPORT, MotionSensors, SET_REPORT};

/// The extension unit's selector of the hardware monitor.
pub(crate) const HARDWARE_MONITOR: u8 = 1;

/// Selectors of a streaming interface (UVC 1.1, table A-18).
const PROBE: u8 = 1;
const COMMIT: u8 = 2;

/// Size of a probe or commit structure of UVC 1.1, in bytes.
const PROBE_BYTES: usize = 34;

/// Maximum number of bytes of a payload besides the pixels: its header with metadata.
const PAYLOAD_HEADER_MAX: u32 = 1024;

/// Identity of a camera.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Serial number of the optical module, 12 decimal digits: the one that librealsense shows.
    pub serial: String,
    /// Serial number of the board, 12 decimal digits: the one in the USB descriptor.
    pub board_serial: String,
    /// Firmware version, most significant part first.
    pub firmware: [u8; 4],
}

/// Returns the serial number of the board of the camera with this serial number.
pub fn board_serial(serial: &str) -> String {
    format!("24{}", serial.get(2..).unwrap_or_default())
}

/// The committed parameters of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The interface with its format.
    pub stream: VideoStream,
    /// Width and height, in pixels.
    pub size: (u16, u16),
    /// Time between two frames.
    pub interval: Duration,
}

impl Commit {
    /// Frames per second.
    pub fn frames_per_second(&self) -> u32 {
        (1e9 / self.interval.as_nanos() as f64).round() as u32
    }
}

/// Side effect of a control transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The stream starts or restarts.
    Start(Commit),
    /// The stream on this endpoint stops.
    Stop {
        /// Endpoint number without its direction.
        endpoint: u8,
    },
    /// The rates of the motion sensors have changed.
    Motion,
    /// A hardware monitor command was carried out.
    Monitor {
        /// Its operation code.
        operation: u32,
        /// Whether it ended with an injected error.
        failed: bool,
    },
    /// The device disconnects and starts again.
    Reset,
}

/// Values that metadata repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SensorValues {
    /// Exposure time of the depth imagers, in microseconds.
    pub exposure_us: u32,
    /// Gain of the depth imagers.
    pub gain: u32,
    /// Laser power, in milliwatts.
    pub laser_power_mw: u32,
    /// If true, exposure is automatic.
    pub auto_exposure: bool,
    /// Emitter: 0 off, 1 on, 2 automatic.
    pub emitter: u8,
}

/// One camera.
pub struct Device {
    model: &'static Model,
    identity: Identity,
    speed: Speed,
    /// By control interface.
    controls: BTreeMap<u8, Controls>,
    /// The hardware monitor.
    pub monitor: HardwareMonitor,
    monitor_reply: Vec<u8>,
    /// The injected error of every hardware monitor command.
    pub monitor_error: Option<i32>,
    probes: BTreeMap<u8, [u8; PROBE_BYTES]>,
    /// The motion sensors of models that have any.
    pub motion: MotionSensors,
}

/// A setup packet (USB 3.2, table 9-3).
struct Setup {
    request_type: u8,
    request: u8,
    value: u16,
    index: u16,
    length: u16,
}

impl Setup {
    fn parse(bytes: [u8; 8]) -> Self {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self { request_type: bytes[0], request: bytes[1], value: word(2), index: word(4), length: word(6) }
    }

    const fn is_in(&self) -> bool {
        self.request_type & 0x80 != 0
    }

    const fn is_standard(&self) -> bool {
        self.request_type & 0x60 == 0
    }
}

impl Device {
    /// Creates a camera after power-on.
    pub fn new(model: &'static Model, identity: Identity, speed: Speed) -> Self {
        let Identity { serial, board_serial, firmware } = &identity;
        let monitor = HardwareMonitor::new(model, serial, board_serial, *firmware);
        let mut device = Self {
            model,
            identity,
            speed,
            controls: BTreeMap::new(),
            monitor,
            monitor_reply: vec![0; hwmon::REPLY_BYTES],
            monitor_error: None,
            probes: BTreeMap::new(),
            motion: MotionSensors::default(),
        };
        device.power_cycle();
        device
    }

    /// Returns the model.
    pub fn model(&self) -> &'static Model {
        self.model
    }

    /// Returns the serial number that librealsense shows.
    pub fn serial(&self) -> &str {
        &self.identity.serial
    }

    /// Gives the device other serial numbers, as if another device had been plugged in.
    pub fn set_serial(&mut self, serial: &str) {
        serial.clone_into(&mut self.identity.serial);
        self.identity.board_serial = board_serial(serial);
        self.monitor.set_serials(serial, &self.identity.board_serial);
    }

    /// Resets the state that a power cycle resets: controls, streams, the depth table.
    pub fn power_cycle(&mut self) {
        let interfaces = self.model.functions.iter().map(|function| function.control_interface);
        self.controls = interfaces.map(|interface| (interface, Controls::default())).collect();
        self.monitor.power_cycle();
        self.monitor_reply = vec![0; hwmon::REPLY_BYTES];
        self.probes.clear();
        self.motion = MotionSensors::default();
    }

    /// Answers a control transfer: the data of an IN transfer (empty for OUT), truncated to the requested length. `None` is a
    /// stall.
    pub fn control(&mut self, setup: [u8; 8], data: &[u8]) -> (Option<Vec<u8>>, Option<Effect>) {
        let setup = Setup::parse(setup);
        let (answer, effect) =
            if setup.is_standard() { self.standard(&setup) } else { self.class(&setup, data) };
        let answer = answer.map(|mut bytes| {
            bytes.truncate(setup.length.into());
            bytes
        });
        (answer, effect)
    }

    /// Returns the settings of the depth imagers as reported in metadata.
    pub fn settings(&self) -> SensorValues {
        use controls::selector;
        let Some(controls) = self.controls.values().next() else {
            return SensorValues {
                exposure_us: 0,
                gain: 0,
                laser_power_mw: 0,
                auto_exposure: false,
                emitter: 0,
            };
        };
        let extension = |selector| controls.value(EXTENSION_UNIT, selector);
        SensorValues {
            exposure_us: extension(selector::EXPOSURE) as u32,
            gain: controls.value(descriptors::PROCESSING_UNIT, selector::GAIN) as u32,
            laser_power_mw: extension(selector::LASER_POWER) as u32,
            auto_exposure: extension(selector::AUTO_EXPOSURE) != 0,
            emitter: extension(selector::EMITTER) as u8,
        }
    }

    /// Returns the controls whose value is not that after power-on, as `INTERFACE.ENTITY.SELECTOR=VALUE`, and the state of
    /// the hardware monitor.
    pub fn describe_controls(&self) -> String {
        let controls = self.controls.iter().flat_map(|(interface, controls)| {
            controls
                .changed()
                .map(move |(entity, selector, value)| format!("{interface}.{entity}.{selector}={value} "))
        });
        controls.collect::<String>() + &self.monitor.describe()
    }

    fn standard(&self, setup: &Setup) -> (Option<Vec<u8>>, Option<Effect>) {
        match (setup.request_type, setup.request) {
            (0x80, 6) => (self.descriptor((setup.value >> 8) as u8, setup.value as u8), None),
            (0x81, 6) if self.is_of_motion(setup) => (motion::descriptor((setup.value >> 8) as u8), None),
            // CLEAR_FEATURE(HALT) of an endpoint: `uvcvideo` stops a bulk stream by it.
            (0x02, 1) if setup.value == 0 => {
                (Some(Vec::new()), Some(Effect::Stop { endpoint: (setup.index & 0x0F) as u8 }))
            }
            // GET_STATUS, GET_CONFIGURATION, GET_INTERFACE.
            (_, 0) if setup.is_in() => (Some(vec![0, 0]), None),
            (_, 8) => (Some(vec![1]), None),
            (_, 10) => (Some(vec![0]), None),
            _ => (Some(Vec::new()), None),
        }
    }

    fn descriptor(&self, kind: u8, index: u8) -> Option<Vec<u8>> {
        match kind {
            1 => Some(descriptors::device(self.model, self.speed, self.monitor.firmware)),
            2 => Some(descriptors::configuration(self.model, self.speed)),
            3 => descriptors::string(self.model, &self.identity.board_serial, index),
            15 => Some(descriptors::bos()),
            _ => None,
        }
    }

    fn is_of_motion(&self, setup: &Setup) -> bool {
        self.model.motion_interface.is_some_and(|number| setup.index == u16::from(number))
    }

    fn motion(&mut self, setup: &Setup, data: &[u8]) -> (Option<Vec<u8>>, Option<Effect>) {
        match setup.request {
            GET_REPORT => (self.motion.report(setup.value), None),
            SET_REPORT => {
                let before = self.motion.rates();
                let answer = self.motion.set_report(setup.value, data);
                (answer.map(|()| Vec::new()), (self.motion.rates() != before).then_some(Effect::Motion))
            }
            // SET_IDLE: the sensors never repeat a report.
            _ => (Some(Vec::new()), None),
        }
    }

    fn class(&mut self, setup: &Setup, data: &[u8]) -> (Option<Vec<u8>>, Option<Effect>) {
        if self.is_of_motion(setup) {
            return self.motion(setup, data);
        }
        let (entity, interface) = ((setup.index >> 8) as u8, setup.index as u8);
        let selector = (setup.value >> 8) as u8;
        let stream = self.model.streams().find(|stream| stream.interface == interface);
        match (entity, stream) {
            (0, Some(stream)) => self.streaming(stream, setup.request, selector, data),
            (EXTENSION_UNIT, _) if selector == HARDWARE_MONITOR => self.hardware_monitor(setup.request, data),
            _ => {
                let controls = self.controls.get_mut(&interface);
                (controls.and_then(|controls| controls.request(entity, selector, setup.request, data)), None)
            }
        }
    }

    fn hardware_monitor(&mut self, request: u8, data: &[u8]) -> (Option<Vec<u8>>, Option<Effect>) {
        match request {
            GET_LEN => (Some((hwmon::REPLY_BYTES as u16).to_le_bytes().to_vec()), None),
            GET_INFO => (Some(vec![INFO_READ_WRITE]), None),
            GET_CUR => (Some(self.monitor_reply.clone()), None),
            SET_CUR => {
                let Some(command) = Command::parse(data) else { return (None, None) };
                let (outcome, effect) = match self.monitor_error {
                    Some(error) => (Err(error), None),
                    // Without automatic exposure a region has no effect.
                    None if command.operation == hwmon::SET_REGION && !self.settings().auto_exposure => {
                        (Err(hwmon::NOT_READY), None)
                    }
                    None => self.monitor.run(&command),
                };
                self.monitor_reply = hwmon::reply(command.operation, &outcome);
                let failed = self.monitor_error.is_some();
                let monitor = Effect::Monitor { operation: command.operation, failed };
                (Some(Vec::new()), Some(effect.map_or(monitor, |hwmon::CommandEffect::Reset| Effect::Reset)))
            }
            _ => (Some(vec![0; hwmon::REPLY_BYTES]), None),
        }
    }

    fn streaming(
        &mut self,
        stream: VideoStream,
        request: u8,
        selector: u8,
        data: &[u8],
    ) -> (Option<Vec<u8>>, Option<Effect>) {
        if !matches!(selector, PROBE | COMMIT) {
            return (None, None);
        }
        match request {
            GET_LEN => (Some((PROBE_BYTES as u16).to_le_bytes().to_vec()), None),
            GET_INFO => (Some(vec![INFO_READ_WRITE]), None),
            SET_CUR => {
                let (probe, commit) = negotiate(self.model, stream, data);
                self.probes.insert(stream.interface, probe);
                if selector == COMMIT {
                    self.monitor.note_stream();
                }
                (Some(Vec::new()), (selector == COMMIT).then_some(Effect::Start(commit)))
            }
            GET_CUR => {
                let probe = self.probes.get(&stream.interface).copied();
                (Some(probe.unwrap_or_else(|| negotiate(self.model, stream, &[]).0).to_vec()), None)
            }
            // Minimum, maximum and default.
            0x82 | 0x83 | GET_DEF => (Some(negotiate(self.model, stream, &[]).0.to_vec()), None),
            _ => (None, None),
        }
    }
}

/// Returns the probe structure nearest to the host's request, and the stream that it selects.
fn negotiate(model: &Model, stream: VideoStream, asked: &[u8]) -> ([u8; PROBE_BYTES], Commit) {
    let mut probe = [0; PROBE_BYTES];
    let length = asked.len().min(PROBE_BYTES);
    probe[..length].copy_from_slice(&asked[..length]);
    let known_frame = (1..=model.sizes.len() as u8).contains(&probe[3]);
    let frame = if known_frame { probe[3] } else { 1 };
    let size = model.sizes[usize::from(frame) - 1];
    let asked_interval = u32::from_le_bytes([probe[4], probe[5], probe[6], probe[7]]);
    let wanted = if asked_interval == 0 { INTERVALS_PER_SECOND / 30 } else { asked_interval };
    let intervals = model.rates_of(size).map(|rate| INTERVALS_PER_SECOND / rate);
    let interval = intervals.min_by_key(|interval| interval.abs_diff(wanted)).unwrap_or(wanted);
    let frame_bytes = stream.format.frame_bytes(size);
    probe[2] = 1;
    probe[3] = frame;
    probe[4..8].copy_from_slice(&interval.to_le_bytes());
    probe[8..16].fill(0);
    // Latency inside the device, in milliseconds.
    probe[16..18].copy_from_slice(&32_u16.to_le_bytes());
    probe[18..22].copy_from_slice(&frame_bytes.to_le_bytes());
    probe[22..26].copy_from_slice(&(frame_bytes + PAYLOAD_HEADER_MAX).to_le_bytes());
    probe[26..30].copy_from_slice(&1_000_000_u32.to_le_bytes());
    probe[30..].fill(0);
    (probe, Commit { stream, size, interval: Duration::from_nanos(u64::from(interval) * 100) })
}

/// Returns the stream of a format on the first interface that has it, for tests and tools.
pub fn stream_of(model: &Model, format: Format) -> Option<VideoStream> {
    model.streams().find(|stream| stream.format == format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(model: &str) -> Device {
        let identity = Identity {
            serial: "230000001001".to_owned(),
            board_serial: "240000005001".to_owned(),
            firmware: [5, 16, 0, 1],
        };
        Device::new(Model::by_name(model).unwrap(), identity, Speed::Super)
    }

    fn setup(request_type: u8, request: u8, value: u16, index: u16, length: u16) -> [u8; 8] {
        let [v0, v1] = value.to_le_bytes();
        let [i0, i1] = index.to_le_bytes();
        let [l0, l1] = length.to_le_bytes();
        [request_type, request, v0, v1, i0, i1, l0, l1]
    }

    #[test]
    fn descriptors_are_cut_at_the_length_that_was_asked_for() {
        let mut device = device("d405");
        let (answer, effect) = device.control(setup(0x80, 6, 0x0200, 0, 9), &[]);
        assert_eq!((answer.unwrap().len(), effect), (9, None));
        assert_eq!(device.control(setup(0x80, 6, 0x0700, 0, 9), &[]), (None, None));
    }

    #[test]
    fn a_commit_starts_the_stream_with_the_nearest_profile() {
        let mut device = device("d405");
        let mut asked = [0_u8; PROBE_BYTES];
        asked[3] = 4;
        asked[4..8].copy_from_slice(&(INTERVALS_PER_SECOND / 14).to_le_bytes());
        let stream = stream_of(device.model(), Format::Z16).unwrap();
        let probed = device.control(setup(0x21, SET_CUR, 0x0100, 1, 34), &asked);
        assert_eq!(probed, (Some(Vec::new()), None));
        let (answer, _) = device.control(setup(0xA1, GET_CUR, 0x0100, 1, 34), &[]);
        assert_eq!(u32::from_le_bytes(answer.unwrap()[18..22].try_into().unwrap()), 848 * 480 * 2);
        let (_, effect) = device.control(setup(0x21, SET_CUR, 0x0200, 1, 34), &asked);
        let interval = Duration::from_nanos(66_666_600);
        assert_eq!(effect, Some(Effect::Start(Commit { stream, size: (848, 480), interval })));
        let (_, effect) = device.control(setup(0x02, 1, 0, 0x82, 0), &[]);
        assert_eq!(effect, Some(Effect::Stop { endpoint: 2 }));
        assert_eq!(descriptors::endpoint_of(stream), 2);
    }

    #[test]
    fn each_function_has_controls_of_its_own() {
        let mut device = device("d435");
        let gain = |interface: u16| setup(0x21, SET_CUR, 0x0400, 0x0200 | interface, 2);
        assert!(device.control(gain(0), &[32, 0]).0.is_some());
        let read = |device: &mut Device, interface: u16| {
            device.control(setup(0xA1, GET_CUR, 0x0400, 0x0200 | interface, 2), &[]).0
        };
        assert_eq!((read(&mut device, 0), read(&mut device, 3)), (Some(vec![32, 0]), Some(vec![16, 0])));
        assert_eq!(device.settings().gain, 32);
        device.power_cycle();
        assert_eq!(device.settings().gain, 16);
    }

    #[test]
    fn motion_sensors_are_turned_on_by_their_reports() {
        let mut device = device("d455");
        let (descriptor, _) = device.control(setup(0x81, 6, 0x2200, 5, 1024), &[]);
        assert_eq!(descriptor.unwrap()[..4], [0x05, 0x20, 0x09, 0x01]);
        assert_eq!(device.control(setup(0x21, 0x0A, 0, 5, 0), &[]), (Some(Vec::new()), None));
        let on = [1, 2, 2, 0xE8, 3, 0, 0, 0, 0];
        let set = setup(0x21, SET_REPORT, 0x0301, 5, 9);
        assert_eq!(device.control(set, &on), (Some(Vec::new()), Some(Effect::Motion)));
        assert_eq!(device.control(set, &on), (Some(Vec::new()), None));
        assert_eq!(device.control(setup(0xA1, GET_REPORT, 0x0301, 5, 9), &[]).0, Some(on.to_vec()));
        assert_eq!(device.motion.rates(), [Some(63), None]);
        device.power_cycle();
        assert_eq!(device.motion.rates(), [None, None]);
    }

    #[test]
    fn the_hardware_monitor_answers_through_the_extension_unit() {
        let mut device = device("d435");
        let mut command = vec![20, 0, 0xAB, 0xCD, 0x10, 0, 0, 0];
        command.resize(1024, 0);
        let send = setup(0x21, SET_CUR, 0x0100, 0x0300, 1024);
        assert_eq!(
            device.control(send, &command),
            (Some(Vec::new()), Some(Effect::Monitor { operation: 0x10, failed: false }))
        );
        let receive = setup(0xA1, GET_CUR, 0x0100, 0x0300, 1024);
        let reply = device.control(receive, &[]).0.unwrap();
        assert_eq!((reply.len(), reply[0], &reply[1020..]), (1024, 0x10, &[0, 1, 0, 0][..]));
        device.monitor_error = Some(hwmon::INVALID_PARAMETER);
        assert!(device.control(send, &command).0.is_some());
        assert_eq!(device.control(receive, &[]).0.unwrap()[..4], (-6_i32).to_le_bytes());
        command[4] = 0x20;
        device.monitor_error = None;
        assert_eq!(device.control(send, &command).1, Some(Effect::Reset));
    }
}
