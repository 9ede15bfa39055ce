//! Reads the framesets of one camera of a bag of realsense-ros.

use std::collections::VecDeque;
use std::ops::Range;

use camrig::console::print_note;
use camrig::frame::CameraInfo;

use super::played::OpenBag;
use crate::bag::{Bag, BagCamera, BagMessage, BagMessages, Framesets};
use crate::read::{ReadError, ReadFrameSet};
use crate::record::Encoded;

/// Maximum number of warnings about damage in one replay.
const MAX_WARNINGS: u32 = 20;

/// Source of a camera's framesets.
pub(super) struct BagReader {
    bag: Bag,
    camera: BagCamera,
    framesets: Framesets,
    messages: BagMessages,
    ready: VecDeque<ReadFrameSet>,
    /// By `log_time`.
    range: Range<u64>,
    is_ended: bool,
    unreadable: u64,
    warnings: u32,
}

impl BagReader {
    /// Begins to read a camera, and prints which topics are its streams.
    ///
    /// # Errors
    /// If there is no such camera.
    pub(super) fn new(open: OpenBag, camera: &str) -> Result<Self, ReadError> {
        let camera = open.camera(camera)?.clone();
        for line in &camera.mapping {
            print_note(format_args!("{}: {line}", camera.info.name));
        }
        for problem in open.bag.problems() {
            log::warn!("{problem}; skipping it");
        }
        Ok(Self {
            bag: open.bag,
            framesets: Framesets::new(camera.clone()),
            camera,
            messages: BagMessages::default(),
            ready: VecDeque::new(),
            range: 0..u64::MAX,
            is_ended: false,
            unreadable: 0,
            warnings: 0,
        })
    }

    pub(super) fn info(&self) -> &CameraInfo {
        &self.camera.info
    }

    pub(super) fn take_unreadable(&mut self) -> u64 {
        std::mem::take(&mut self.unreadable)
    }

    pub(super) fn rewind(&mut self, range: Range<u64>) {
        self.framesets = Framesets::new(self.camera.clone());
        (self.messages, self.ready, self.is_ended) = (BagMessages::default(), VecDeque::new(), false);
        self.range = range;
    }

    pub(super) fn next(&mut self) -> Option<ReadFrameSet> {
        loop {
            while let Some(frameset) = self.ready.pop_front() {
                if self.range.contains(&frameset.log_time) {
                    return Some(frameset);
                }
            }
            if self.is_ended {
                return None;
            }
            let found = match self.messages.next(&self.bag) {
                Some(Ok(BagMessage { topic, log_time, data })) => self.framesets.add(topic, &data, log_time),
                Some(Err(problem)) => Err(problem),
                None => {
                    self.is_ended = true;
                    self.framesets.finish()
                }
            };
            match found {
                Ok(framesets) => self.ready.extend(framesets.into_iter().filter_map(Encoded::into_read)),
                Err(problem) => self.pass_over(&problem),
            }
        }
    }

    fn pass_over(&mut self, problem: &str) {
        self.unreadable = self.unreadable.saturating_add(1);
        if self.warnings < MAX_WARNINGS {
            self.warnings += 1;
            log::warn!("`{}`: {problem}; skipping it", self.bag.path().display());
        }
    }
}
