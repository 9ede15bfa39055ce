//! Actors on their threads.

use actix::{Actor, Context, Handler};

use crate::frameset::FrameSet;

/// An actor that runs on this thread.
pub(crate) struct Running;

impl Running {
    pub(crate) fn start<A: Actor<Context = Context<A>> + Handler<FrameSet>>(_actor: A) -> Self {
        Self
    }
}
