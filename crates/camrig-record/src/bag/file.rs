//! The file of a bag: MCAP, or `SQLite` as rosbag2 wrote before.

use std::ops::Range;
use std::path::Path;

use super::message::BagMessage;
#[cfg(feature = "sqlite")]
use super::sqlite::SqliteBag;
use super::survey::Survey;
use crate::read::{Messages, ReadError, Recording, Walk, messages};
use crate::ros;

/// An open bag.
pub(crate) enum Bag {
    Mcap(Box<Recording>),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteBag),
}

impl Bag {
    /// Opens a bag, with calls of `progress` while a file without an index is scanned.
    ///
    /// # Errors
    /// If it cannot be read as a bag, with the name of the file.
    pub(crate) fn open(path: &Path, progress: &dyn Fn(u64)) -> Result<Self, ReadError> {
        let opened = match Recording::open_other(path, progress) {
            #[cfg(feature = "sqlite")]
            Err(error) if error.is_sqlite() => return SqliteBag::open(path).map(Self::Sqlite),
            opened => opened?,
        };
        if opened.cameras().is_empty() {
            return Ok(Self::Mcap(Box::new(opened)));
        }
        Err(ReadError::new(path, "is a recording of camrig already"))
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Mcap(bag) => bag.path(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(bag) => bag.path(),
        }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        match self {
            Self::Mcap(bag) => bag.size_bytes(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(bag) => bag.size_bytes(),
        }
    }

    /// Returns the times of the first and the last message.
    pub(crate) fn range(&self) -> Range<u64> {
        match self {
            Self::Mcap(bag) => {
                let sections = || bag.index().sections.extents();
                let start = sections().map(|(_, extent)| extent.start_time).filter(|&time| time > 0).min();
                start.unwrap_or(0)..sections().map(|(_, extent)| extent.end_time).max().unwrap_or(0)
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(bag) => bag.range(),
        }
    }

    /// Reads the first message of each topic. What cannot be read is left out.
    pub(crate) fn survey(&self) -> Survey {
        let mut survey = match self {
            Self::Mcap(bag) => Survey::new(bag.index().channels.iter().map(|(&id, channel)| {
                let count = bag.index().messages.get(&id).copied().unwrap_or(0);
                // Other encodings of messages than ROS's have no types of ROS.
                let is_ros = channel.message_encoding == ros::ENCODING;
                (id, channel.topic.as_str(), if is_ros { channel.schema_name() } else { "" }, count)
            })),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(bag) => Survey::new(bag.topics()),
        };
        let mut messages = BagMessages::default();
        while let Some(message) = messages.next(self) {
            if let Ok(BagMessage { topic, data, .. }) = message {
                survey.add(topic, &data);
            }
            if survey.is_complete() {
                break;
            }
        }
        survey
    }
}

/// A way through the messages of a bag, in the order of the file.
#[derive(Default)]
pub(crate) struct BagMessages {
    walk: Walk,
    /// The rest of a section.
    reading: Option<Messages>,
    /// The last row; `None` before the first.
    #[cfg(feature = "sqlite")]
    row: Option<i64>,
    is_ended: bool,
}

impl BagMessages {
    /// Returns the next message of the same bag; `None` at the end. What cannot be read is an error with its position.
    pub(crate) fn next(&mut self, bag: &Bag) -> Option<Result<BagMessage, String>> {
        match bag {
            Bag::Mcap(bag) => self.next_of_mcap(bag),
            #[cfg(feature = "sqlite")]
            Bag::Sqlite(bag) => {
                let next = if self.is_ended { Ok(None) } else { bag.after(self.row) };
                self.is_ended = !matches!(&next, Ok(Some(_)));
                let found = next.transpose()?;
                Some(found.map(|(row, message)| {
                    self.row = Some(row);
                    message
                }))
            }
        }
    }

    fn next_of_mcap(&mut self, bag: &Recording) -> Option<Result<BagMessage, String>> {
        while !self.is_ended {
            if let Some(message) = self.reading.as_mut().and_then(Iterator::next) {
                let fields = message.fields;
                let (topic, log_time, data) = (fields.channel, fields.log_time, message.data);
                return Some(Ok(BagMessage { topic, log_time, data }));
            }
            self.reading = None;
            let Some(section) = self.walk.next(bag, |_| true) else {
                self.is_ended = true;
                break;
            };
            let read = section
                .and_then(|section| bag.read_section(&section).map_err(|error| (section.offset, error)));
            match read {
                Ok(records) => self.reading = Some(messages(&records)),
                Err((at, error)) => return Some(Err(format!("at byte {at}: {error}"))),
            }
        }
        None
    }
}
