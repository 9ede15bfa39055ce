//! Passes framesets over a link, whose ends are both in this process: `just instructions` counts the instructions of one.
//!
//! usage: hop
//!
//! A line of the standard input is a number of framesets, which are published and taken one after the other.

use std::error::Error;
use std::io::BufRead;
use std::sync::Arc;

use camrig_frame::{CameraInfo, FrameHeader, FrameSetHeader, PixelFormat, Stream};
use camrig_ipc::{LinkReader, LinkState, LinkWriter, Notifier, Overflow, SlotPool, channel};

const SLOTS: usize = 4;
const WIDTH: u32 = 64;
const HEIGHT: u32 = 48;

fn main() -> Result<(), Box<dyn Error>> {
    let link_state = Arc::new(LinkState::new()?);
    let (announcements, announced) = channel()?;
    let writer =
        LinkWriter::new(Arc::clone(&link_state), Notifier::new()?, announcements, Overflow::DropOldest, 2);
    let info = CameraInfo { name: "camera".to_owned(), ..CameraInfo::default() };
    writer.announce_source(&Arc::new(info));
    let mut reader = LinkReader::new(link_state, announced);

    let pixels = (WIDTH * HEIGHT) as usize;
    let pool = SlotPool::new(SLOTS, 5 * pixels, 0)?;
    let frames = [
        FrameHeader::image(Stream::COLOR, PixelFormat::Rgb8, WIDTH, HEIGHT),
        FrameHeader::image(Stream::DEPTH, PixelFormat::Z16, WIDTH, HEIGHT),
    ];
    let header = FrameSetHeader::new(0, frames.into_iter().collect());
    for line in std::io::stdin().lock().lines() {
        for sequence in 0..line?.parse()? {
            let mut loan = pool.lend(&header)?.ok_or("no slot is free")?;
            // No more than two bytes: this is about the link, not about the copy.
            (loan.frame_mut(0)[0], loan.frame_mut(1)[0]) = (1, 2);
            writer.publish(&loan.publish(sequence));
            let lease = reader.take()?.ok_or("nothing was published")?;
            if lease.header().sequence != sequence || (lease.frame(0)[0], lease.frame(1)[0]) != (1, 2) {
                return Err("another frameset was taken".into());
            }
        }
    }
    Ok(())
}
