//! A reader's process that writes to read-only memory: it is killed, and its producer's pixels are unchanged.
//!
//! If a handshake has started it, this binary is that process; otherwise it runs the test.
#![allow(clippy::unwrap_used)] // An error fails the test.
#![allow(unsafe_code)] // The test violates the memory protection.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;

use camrig_frame::{CameraInfo, Clock, FrameHeader, FrameSetHeader, PixelFormat, Stream, Timestamp};
use camrig_ipc::handshake::{self, Handshake};
use camrig_ipc::protocol::Announcement;
use camrig_ipc::{
    Deaths, LinkReader, LinkState, LinkWriter, Notifier, Overflow, Receiver, SharedMemory, SlotPool, channel,
};
use libtest_mimic::{Arguments, Trial};

type Setup = (SharedMemory, Receiver<Announcement>);

const SIGSEGV: i32 = 11;
const PIXEL: u8 = 7;

fn main() -> ExitCode {
    if let Some(setup) = handshake::accept::<Setup>() {
        return write_where_it_may_not(setup.unwrap());
    }
    let test = Trial::test("a_reader_that_writes_dies_and_corrupts_nothing", || {
        corrupts_nothing();
        Ok(())
    });
    // With shuttle there is one process.
    let test = test.with_ignored_flag(cfg!(shuttle));
    libtest_mimic::run(&Arguments::from_args(), vec![test]).exit_code()
}

/// Only returns if the write was not prevented, or an unexpected value was found.
fn write_where_it_may_not((link_state, announcements): Setup) -> ExitCode {
    let mut reader = LinkReader::new(Arc::new(LinkState::received(link_state).unwrap()), announcements);
    let lease = reader.take().unwrap().unwrap();
    if lease.frame(0).iter().all(|&pixel| pixel == PIXEL) {
        let pixel = lease.frame(0).as_ptr().cast_mut();
        // SAFETY: none. The test checks that the write is prevented.
        unsafe { pixel.write_volatile(!PIXEL) };
    }
    ExitCode::FAILURE
}

fn corrupts_nothing() {
    let link_state = Arc::new(LinkState::new().unwrap());
    let (announcements, announced) = channel().unwrap();
    let notifier = Notifier::new().unwrap();
    let writer = LinkWriter::new(Arc::clone(&link_state), notifier, announcements, Overflow::DropOldest, 1);
    let info = CameraInfo { name: "camera".to_owned(), ..CameraInfo::default() };
    writer.announce_source(&Arc::new(info));
    let frame = FrameHeader {
        number: 0,
        timestamp: Timestamp { clock: Clock::System, nanos: 0 },
        ..FrameHeader::image(Stream::INFRARED_1, PixelFormat::Y8, 64, 64)
    };
    let frames = [frame].into_iter().collect();
    let header = FrameSetHeader::new(0, frames);
    let pool = SlotPool::new(1, 64 * 64, 0).unwrap();
    let mut loan = pool.lend(&header).unwrap().unwrap();
    loan.frame_mut(0).fill(PIXEL);
    let published = loan.publish(0);
    writer.publish(&published);

    let mut command = Command::new(std::env::current_exe().unwrap());
    let handshake = Handshake::prepare(&mut command).unwrap();
    let mut child = command.spawn().unwrap();
    drop(command);
    let keep_alive = handshake.connect((link_state.share().unwrap(), announced)).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(SIGSEGV));
    drop(keep_alive);

    assert!(published.frame(0).iter().all(|&pixel| pixel == PIXEL));
    drop(published);
    // Its lease holds the slot until the supervisor reclaims it.
    assert!(pool.lend(&header).unwrap().is_none());
    link_state.set_reader_away();
    assert!(link_state.settle(Deaths { reader: true, producer: false }, 1));
    assert!(pool.lend(&header).unwrap().is_some());
}
