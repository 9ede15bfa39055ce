//! The processor `foxglove`: shows a rig live in Foxglove and Lichtblick, with the topics and schemas of recordings.
//!
//! The actor keeps the newest frameset of each camera while a viewer subscribes to one of its channels, and none otherwise.
//! The thread of the server encodes subscribed streams, once for all viewers. A slow viewer gets fewer framesets, and
//! delays no other.
//!
//! * `options`: the options of a topology
//! * `cameras`: channels, and the newest framesets, for the server's thread
//! * `protocol`: the messages of Foxglove's WebSocket protocol
//! * `session`: serves one viewer

mod cameras;
mod options;
mod protocol;
mod session;

use std::sync::Arc;

use actix::{Actor, Context, Handler};
use camrig::console::print_note;
use camrig::{FrameSet, ProcessorError, ProcessorOutput};
use camrig_http::Server;

use self::cameras::Cameras;
pub(crate) use self::options::{Options, OptionsAsWritten};

/// Shows its inputs in viewers. It prints the address, and serves viewers until it ends.
pub(crate) struct Foxglove {
    cameras: Arc<Cameras>,
    _server: Server,
    _output: ProcessorOutput,
}

impl Foxglove {
    /// Starts the server.
    ///
    /// # Errors
    /// When the address is in use or does not belong to this machine.
    pub(crate) fn new(options: Options, output: ProcessorOutput) -> Result<Self, ProcessorError> {
        let Options { listen, access, jpeg_quality, frame_time } = options;
        let cameras = Arc::new(Cameras::new(jpeg_quality)?);
        let name = format!("camrig {}", output.rig());
        let routes = session::route(Arc::clone(&cameras), frame_time, name);
        let query = access.query();
        let server = Server::start("foxglove", listen, access, routes)
            .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        print_note(format_args!("{}: ws://{}/{query}", output.name(), server.address()));
        Ok(Self { cameras, _server: server, _output: output })
    }
}

impl Actor for Foxglove {
    type Context = Context<Self>;
}

impl Handler<FrameSet> for Foxglove {
    type Result = Result<(), ProcessorError>;

    fn handle(&mut self, frames: FrameSet, _: &mut Self::Context) -> Self::Result {
        self.cameras.show(frames)
    }
}
