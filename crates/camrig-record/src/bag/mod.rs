//! Bags of realsense-ros: the mapping of topics to cameras and streams, and framesets of their messages.
//!
//! * `topics`: the roles of topics by their names and types
//! * `survey`: cameras as the first messages of each topic describe them
//! * `gather`: framesets from frames that come one by one
//! * `framesets`: those as messages of recordings
//! * `file`, `sqlite`, `message`: the messages of a bag's files
//! * `names`: the names of its files
//!
//! The first four have no knowledge of files.

mod file;
mod framesets;
mod gather;
mod message;
mod names;
#[cfg(feature = "sqlite")]
mod sqlite;
mod survey;
mod topics;

pub(crate) use self::file::{Bag, BagMessages};
pub(crate) use self::framesets::Framesets;
pub(crate) use self::message::BagMessage;
pub(crate) use self::survey::BagCamera;
