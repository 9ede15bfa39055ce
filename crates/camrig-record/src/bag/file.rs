//! The files of a bag: MCAP, or `SQLite` as rosbag2 wrote before.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::message::BagMessage;
use super::names::files_of;
#[cfg(feature = "sqlite")]
use super::sqlite::SqliteBag;
use super::survey::Survey;
use crate::read::{Messages, ReadError, Recording, Walk, messages};
use crate::ros;

/// An open bag: its files, at least one, in their order.
pub(crate) struct Bag {
    path: PathBuf,
    files: Vec<BagFile>,
    /// The topics of all files, with the number of their messages: the number of one is its index.
    topics: Vec<Topic>,
    /// The number of each topic of a file.
    numbers: Vec<BTreeMap<u16, u16>>,
    problems: Vec<ReadError>,
}

/// A topic of a bag.
#[derive(Debug, PartialEq)]
struct Topic {
    name: String,
    /// Empty for messages that are not of ROS 2.
    message_type: String,
    messages: u64,
}

/// An open file of a bag.
pub(super) enum BagFile {
    Mcap(Box<Recording>),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteBag),
}

impl Bag {
    /// Opens a bag: a folder of rosbag2, or a file and the files that continue it. Calls `progress` with a position in all
    /// files together, while files without an index are scanned.
    ///
    /// # Errors
    /// If no file of it can be read as a bag, with the name of the first.
    pub(crate) fn open(path: &Path, progress: &dyn Fn(u64)) -> Result<Self, ReadError> {
        let (mut files, mut problems, mut before_bytes) = (Vec::new(), Vec::new(), 0);
        for name in files_of(path)? {
            match BagFile::open(&name, &|at| progress(before_bytes + at)) {
                Ok(file) => {
                    before_bytes += file.size_bytes();
                    files.push(file);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if files.is_empty() {
            let unread = || ReadError::new(path, "is not a bag of ROS 2");
            return Err(problems.into_iter().next().unwrap_or_else(unread));
        }
        let mut bag =
            Self { path: path.to_owned(), files, topics: Vec::new(), numbers: Vec::new(), problems };
        bag.number_topics();
        Ok(bag)
    }

    /// Gives topics of the same name and type in several files the same number.
    fn number_topics(&mut self) {
        let mut known: BTreeMap<(String, String), u16> = BTreeMap::new();
        for file in &self.files {
            let mut numbers = BTreeMap::new();
            for (id, name, message_type, messages) in file.topics() {
                let next = u16::try_from(self.topics.len()).unwrap_or(u16::MAX);
                let number = *known.entry((name.clone(), message_type.clone())).or_insert(next);
                // No frame has the last number.
                if number == u16::MAX {
                    continue;
                }
                if number == next {
                    self.topics.push(Topic { name, message_type, messages: 0 });
                }
                let topic = &mut self.topics[usize::from(number)];
                topic.messages = topic.messages.saturating_add(messages);
                numbers.insert(id, number);
            }
            self.numbers.push(numbers);
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns why files of the bag are not read.
    pub(crate) fn problems(&self) -> &[ReadError] {
        &self.problems
    }

    /// Returns the size of all files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.files.iter().map(BagFile::size_bytes).sum()
    }

    /// Returns the times of the first and the last message.
    pub(crate) fn range(&self) -> Range<u64> {
        let ranges = self.files.iter().map(BagFile::range).filter(|range| *range != (0..0));
        let range = ranges.reduce(|all, next| all.start.min(next.start)..all.end.max(next.end));
        range.unwrap_or_default()
    }

    /// Reads the first message of each topic. Unreadable ones are left out.
    pub(crate) fn survey(&self) -> Survey {
        let numbered = (0..).zip(&self.topics);
        let mut survey = Survey::new(
            numbered
                .map(|(id, topic)| (id, topic.name.as_str(), topic.message_type.as_str(), topic.messages)),
        );
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

impl BagFile {
    fn open(path: &Path, progress: &dyn Fn(u64)) -> Result<Self, ReadError> {
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

    fn size_bytes(&self) -> u64 {
        match self {
            Self::Mcap(bag) => bag.size_bytes(),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(bag) => bag.size_bytes(),
        }
    }

    fn range(&self) -> Range<u64> {
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

    /// Returns the number, the name, the type and the number of messages of each topic. The type is empty for messages that are
    /// not of ROS 2.
    pub(super) fn topics(&self) -> Vec<(u16, String, String, u64)> {
        match self {
            Self::Mcap(bag) => {
                let topic = |(&id, channel): (&u16, &crate::read::Channel)| {
                    let count = bag.index().messages.get(&id).copied().unwrap_or(0);
                    // Messages in other encodings have no type of ROS.
                    let is_ros = channel.message_encoding == ros::ENCODING;
                    let message_type = if is_ros { channel.schema_name() } else { "" };
                    (id, channel.topic.clone(), message_type.to_owned(), count)
                };
                bag.index().channels.iter().map(topic).collect()
            }
            #[cfg(feature = "sqlite")]
            Self::Sqlite(bag) => bag.topics().collect(),
        }
    }
}

/// An iterator over the messages of a bag, in the order of its files.
#[derive(Default)]
pub(crate) struct BagMessages {
    /// The index of the file that is read.
    file: usize,
    of_file: FileMessages,
}

impl BagMessages {
    /// Returns the next message of the same bag; `None` at the end. An unreadable one is an error with its position.
    pub(crate) fn next(&mut self, bag: &Bag) -> Option<Result<BagMessage, String>> {
        loop {
            let (file, numbers) = (bag.files.get(self.file)?, bag.numbers.get(self.file)?);
            let Some(next) = self.of_file.next(file) else {
                (self.file, self.of_file) = (self.file + 1, FileMessages::default());
                continue;
            };
            let several = bag.files.len() > 1;
            let number = |id: u16| numbers.get(&id).copied().unwrap_or(u16::MAX);
            return Some(match next {
                Ok(message) => Ok(BagMessage { topic: number(message.topic), ..message }),
                Err(problem) if several => Err(format!("of file {}: {problem}", self.file + 1)),
                Err(problem) => Err(problem),
            });
        }
    }
}

/// An iterator over the messages of a file, in its order.
#[derive(Default)]
struct FileMessages {
    walk: Walk,
    /// The rest of a section.
    reading: Option<Messages>,
    /// The last row; `None` before the first.
    #[cfg(feature = "sqlite")]
    row: Option<i64>,
    is_ended: bool,
}

impl FileMessages {
    /// Returns the next message of the same file; `None` at the end. An unreadable one is an error with its position.
    fn next(&mut self, bag: &BagFile) -> Option<Result<BagMessage, String>> {
        match bag {
            BagFile::Mcap(bag) => self.next_of_mcap(bag),
            #[cfg(feature = "sqlite")]
            BagFile::Sqlite(bag) => {
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
