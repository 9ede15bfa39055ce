//! Bags of realsense-ros: the mapping of topics to cameras and streams, and framesets of their messages.
//!
//! * `topics`: the roles of topics by their names and types
//! * `survey`: cameras as the first messages of each topic describe them
//! * `gather`: framesets from frames that come one by one
//!
//! This module has no knowledge of files.

mod gather;
mod survey;
mod topics;

pub(crate) use self::gather::{Frame, Gather};
pub(crate) use self::survey::{BagCamera, Survey, frame_of};
pub(crate) use self::topics::TopicRole;
