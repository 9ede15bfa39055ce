//! A camera on its socket, with a test instead of the kernel.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crate::descriptors::{INTERVALS_PER_SECOND, Speed};
use crate::device::{Commit, Identity, stream_of};
use crate::faults::{Action, Frozen, Moment};
use crate::frames::Renderer;
use crate::models::{Format, Model};
use crate::server::{EmulatedCamera, Link, READY, Settings};
use crate::usbip::host::{submit, unlink};
use crate::usbip::{HEADER_BYTES, UNLINKED};

/// No wait of a test lasts longer.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Endpoint of the depth stream of a D405.
const DEPTH: u32 = 2;

/// Size of the URBs that `uvcvideo` sends.
const URB_BYTES: u32 = 32 * 1024;

struct Host {
    connection: TcpStream,
    sequence: u32,
}

struct Returned {
    command: u32,
    sequence: u32,
    status: i32,
    data: Vec<u8>,
}

impl Host {
    fn attach(camera: &EmulatedCamera) -> Self {
        let mut connection = TcpStream::connect(camera.address()).unwrap();
        connection.set_read_timeout(Some(WATCHDOG)).unwrap();
        let mut ready = [0; 3];
        connection.read_exact(&mut ready).unwrap();
        assert_eq!(ready[..2], *READY);
        Self { connection, sequence: 0 }
    }

    fn send(&mut self, message: impl FnOnce(u32) -> Vec<u8>) -> u32 {
        self.sequence += 1;
        self.connection.write_all(&message(self.sequence)).unwrap();
        self.sequence
    }

    /// Reads the next result; only results of IN transfers have data.
    fn receive(&mut self, is_in: bool) -> Returned {
        let mut header = [0; HEADER_BYTES];
        self.connection.read_exact(&mut header).unwrap();
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let length = if is_in && word(0) == 3 { word(24) } else { 0 };
        let mut data = vec![0; length as usize];
        self.connection.read_exact(&mut data).unwrap();
        Returned { command: word(0), sequence: word(4), status: word(20).cast_signed(), data }
    }

    fn control_in(&mut self, setup: [u8; 8]) -> Returned {
        let length = u16::from_le_bytes([setup[6], setup[7]]);
        self.send(|sequence| submit(sequence, 0, length.into(), setup, None));
        self.receive(true)
    }

    fn control_out(&mut self, setup: [u8; 8], data: &[u8]) -> Returned {
        self.send(|sequence| submit(sequence, 0, data.len() as u32, setup, Some(data)));
        self.receive(false)
    }

    /// Commits depth of 424x240 at 90 frames per second.
    fn start_depth(&mut self) {
        let mut probe = [0; 34];
        (probe[2], probe[3]) = (1, 1);
        probe[4..8].copy_from_slice(&(INTERVALS_PER_SECOND / 90).to_le_bytes());
        assert_eq!(self.control_out([0x21, 1, 0, 2, 1, 0, 34, 0], &probe).status, 0);
    }

    /// Reads one payload from as many URBs as it takes.
    fn payload(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            self.send(|sequence| submit(sequence, DEPTH, URB_BYTES, [0; 8], None));
            let part = self.receive(true);
            assert_eq!((part.command, part.sequence, part.status), (3, self.sequence, 0));
            bytes.extend_from_slice(&part.data);
            if part.data.len() < URB_BYTES as usize {
                return bytes;
            }
        }
    }
}

fn camera() -> EmulatedCamera {
    camera_of("d405")
}

fn camera_of(model: &str) -> EmulatedCamera {
    let identity = Identity {
        serial: "230000001001".to_owned(),
        board_serial: "240000005001".to_owned(),
        firmware: [5, 16, 0, 1],
    };
    let model = Model::by_name(model).unwrap();
    let settings = Settings { model, identity, speed: Speed::Super, port: 0, log: false };
    EmulatedCamera::start(0, settings, Link::new(None)).unwrap()
}

fn number_of(payload: &[u8]) -> u32 {
    u32::from_le_bytes(payload[12 + 16..12 + 20].try_into().unwrap())
}

#[test]
fn frames_arrive_complete_and_in_order() {
    let camera = camera();
    let mut host = Host::attach(&camera);
    assert_eq!(host.control_in([0x80, 6, 0, 1, 0, 0, 18, 0]).data[8..12], [0x86, 0x80, 0x5B, 0x0B]);
    host.start_depth();
    let payloads: Vec<_> = (0..5).map(|_| host.payload()).collect();
    assert!(payloads.iter().all(|payload| payload.len() == 12 + 220 + 424 * 240 * 2));
    assert!(
        payloads.windows(2).all(|two| number_of(&two[0]) < number_of(&two[1]) && two[0][1] ^ two[1][1] == 1)
    );
    let model = Model::by_name("d405").unwrap();
    let interval = Duration::from_nanos(11_111_100);
    let commit = Commit { stream: stream_of(model, Format::Z16).unwrap(), size: (424, 240), interval };
    let mut renderer = Renderer::new(model, "230000001001", &commit);
    assert!(payloads.iter().all(|payload| payload[232..] == *renderer.render(number_of(payload))));
}

#[test]
fn an_urb_that_was_unlinked_never_completes() {
    let camera = camera();
    let mut host = Host::attach(&camera);
    camera.act(&Action::Freeze(0, Frozen::Yes));
    host.start_depth();
    let victim = host.send(|sequence| submit(sequence, DEPTH, URB_BYTES, [0; 8], None));
    let asked = host.send(|sequence| unlink(sequence, victim));
    let answer = host.receive(false);
    assert_eq!((answer.command, answer.sequence, answer.status), (4, asked, UNLINKED));
    // An URB that has completed, or never existed, is not unlinked.
    let asked = host.send(|sequence| unlink(sequence, victim));
    let answer = host.receive(false);
    assert_eq!((answer.command, answer.sequence, answer.status), (4, asked, 0));
    camera.act(&Action::Freeze(0, Frozen::No));
    assert!(!host.payload().is_empty());
}

#[test]
fn an_urb_that_was_unlinked_before_it_arrived_never_completes() {
    let camera = camera();
    let mut host = Host::attach(&camera);
    host.start_depth();
    let asked = host.send(|sequence| unlink(sequence, sequence + 1));
    host.send(|sequence| submit(sequence, DEPTH, URB_BYTES, [0; 8], None));
    let answer = host.receive(false);
    assert_eq!((answer.command, answer.sequence, answer.status), (4, asked, UNLINKED));
    // The first frame goes to the next URB.
    assert_eq!(host.payload().len(), 12 + 220 + 424 * 240 * 2);
    // Control transfers too.
    let setup = [0x80, 6, 0, 1, 0, 0, 18, 0];
    let asked = host.send(|sequence| unlink(sequence, sequence + 1));
    host.send(|sequence| submit(sequence, 0, 18, setup, None));
    let answer = host.receive(false);
    assert_eq!((answer.command, answer.sequence, answer.status), (4, asked, UNLINKED));
    assert_eq!(host.control_in(setup).data.len(), 18);
}

/// The kernel sends nothing else until it has the result.
#[test]
fn an_urb_of_an_earlier_connection_is_not_waited_for() {
    let camera = camera();
    let mut host = Host::attach(&camera);
    let asked = host.send(|sequence| unlink(sequence, sequence - 1));
    let answer = host.receive(false);
    assert_eq!((answer.command, answer.sequence, answer.status), (4, asked, 0));
}

#[test]
fn torn_and_skipped_frames_are_counted() {
    let camera = camera();
    let mut host = Host::attach(&camera);
    host.start_depth();
    let whole = host.payload();
    camera.act(&Action::Tear(0, 2));
    let lengths: Vec<_> = (0..4).map(|_| host.payload().len()).collect();
    assert_eq!(lengths.iter().filter(|&&length| length == whole.len() / 2).count(), 2);
    let before = host.payload();
    camera.act(&Action::Skip(0, 7));
    let after = (0..3).map(|_| number_of(&host.payload())).max().unwrap();
    assert!(after >= number_of(&before) + 7 + 2);
    assert!(camera.stats().contains("torn 2, skipped 7,"), "{}", camera.stats());
}

#[test]
fn an_unplugged_camera_comes_back_with_its_defaults() {
    let camera = camera();
    let mut host = Host::attach(&camera);
    let exposure = [0xA1, 0x81, 0, 3, 0, 3, 4, 0];
    assert_eq!(host.control_out([0x21, 1, 0, 3, 0, 3, 4, 0], &8_500_u32.to_le_bytes()).status, 0);
    assert_eq!(host.control_in(exposure).data, 8_500_u32.to_le_bytes());
    camera.act(&Action::Unplug(0));
    assert_eq!(host.connection.read(&mut [0]).unwrap(), 0);
    camera.act(&Action::Serial(0, "230000009999".to_owned()));
    camera.act(&Action::Plug(0));
    let mut host = Host::attach(&camera);
    assert_eq!(host.control_in(exposure).data, 33_000_u32.to_le_bytes());
    // Its board has another number too: text in UTF-16 after a header of two bytes.
    let board = host.control_in([0x80, 6, 3, 3, 9, 4, 26, 0]).data;
    assert_eq!((board.len(), board[2], board[4], board[24]), (26, b'2', b'4', b'9'));
    assert!(
        camera.stats().starts_with("camera 0 d405 230000009999: connected 1, attached 2,"),
        "{}",
        camera.stats()
    );
}

#[test]
fn a_camera_is_unplugged_at_a_kind_of_transfer() {
    let camera = camera();
    let mut host = Host::attach(&camera);
    camera.act(&Action::UnplugAt(0, Some(Moment::Start)));
    let mut probe = [0; 34];
    (probe[2], probe[3]) = (1, 1);
    // Probing and setting controls do not start a stream.
    assert_eq!(host.control_out([0x21, 1, 0, 1, 1, 0, 34, 0], &probe).status, 0);
    assert_eq!(host.control_out([0x21, 1, 0, 3, 0, 3, 4, 0], &8_500_u32.to_le_bytes()).status, 0);
    host.send(|sequence| submit(sequence, 0, 34, [0x21, 1, 0, 2, 1, 0, 34, 0], Some(&probe)));
    assert_eq!(host.connection.read(&mut [0]).unwrap(), 0);
    camera.act(&Action::UnplugAt(0, Some(Moment::Set)));
    camera.act(&Action::Plug(0));
    let mut host = Host::attach(&camera);
    host.start_depth();
    host.send(|sequence| submit(sequence, 0, 4, [0x21, 1, 0, 3, 0, 3, 4, 0], Some(&[1, 0, 0, 0])));
    // Frames that were sent before may be read first.
    assert_eq!(std::io::copy(&mut host.connection, &mut std::io::sink()).unwrap(), 0);
}

#[test]
fn motion_sensors_send_samples_at_their_rates() {
    let camera = camera_of("d455");
    let mut host = Host::attach(&camera);
    for (number, interval) in [(1, 500_u32), (2, 250)] {
        let mut report = vec![number, 2, 2];
        report.extend(interval.to_le_bytes());
        report.extend([0, 0]);
        assert_eq!(host.control_out([0x21, 9, number, 3, 5, 0, 9, 0], &report).status, 0);
    }
    let mut times = [Vec::new(), Vec::new()];
    // Samples of the first sensor may arrive first: each sensor has its own thread.
    while times.iter().any(|own| own.len() < 5) {
        // As long as a report, so that no shorter URB can end it.
        host.send(|sequence| submit(sequence, 6, 21, [0; 8], None));
        let data = host.receive(true).data;
        assert_eq!(data.len(), 21);
        times[usize::from(data[0]) - 1].push(u64::from_le_bytes(data[13..].try_into().unwrap()));
    }
    // A slow machine may lose samples, but none arrives twice.
    let are_steps =
        |times: &[u64], step| times.windows(2).all(|two| two[1] > two[0] && (two[1] - two[0]) % step == 0);
    assert!(are_steps(&times[0], 5000) && are_steps(&times[1], 2500), "{times:?}");
}

#[test]
fn samples_that_are_not_fetched_are_lost() {
    let camera = camera_of("d455");
    let mut host = Host::attach(&camera);
    assert_eq!(host.control_out([0x21, 9, 1, 3, 5, 0, 9, 0], &[1, 2, 2, 0xF4, 1, 0, 0, 0, 0]).status, 0);
    let mut number = || {
        host.send(|sequence| submit(sequence, 6, 21, [0; 8], None));
        let data = host.receive(true).data;
        u16::from_le_bytes([data[1], data[2]])
    };
    let first = number();
    // The next one is due, and taken, before this time.
    std::thread::sleep(Duration::from_millis(200));
    let (late, next) = (number(), number());
    assert!(late > first && next > late + 1, "{first} {late} {next}");
}

#[test]
fn frames_that_a_late_one_displaces_are_counted() {
    let camera = camera();
    let mut host = Host::attach(&camera);
    host.start_depth();
    let before = number_of(&host.payload());
    // Ten intervals.
    camera.act(&Action::Late(0, Duration::from_millis(112)));
    let after = (0..4).map(|_| number_of(&host.payload())).max().unwrap();
    assert!(after >= before + 8 + 4, "{before} {after}");
    assert!(!camera.stats().contains("delayed 0,"), "{}", camera.stats());
}

#[test]
fn a_reset_disconnects_and_comes_back() {
    let camera = camera();
    camera.act(&Action::ResetTime(0, Some(Duration::from_millis(100))));
    let mut host = Host::attach(&camera);
    let mut command = vec![20, 0, 0xAB, 0xCD, 0x20, 0, 0, 0];
    command.resize(24, 0);
    assert_eq!(host.control_out([0x21, 1, 0, 1, 0, 3, 24, 0], &command).status, 0);
    assert_eq!(host.connection.read(&mut [0]).unwrap(), 0);
    Host::attach(&camera);
}

#[test]
fn cameras_share_the_data_rate_of_their_link() {
    // 1.25 MB take 100 ms at 100 Mb/s: two of them take 200 ms.
    let link = Link::new(Some(100));
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let link = Arc::clone(&link);
            scope.spawn(move || link.carry(1_250_000));
        }
    });
    assert!(began.elapsed() >= Duration::from_millis(200));
}
