//! The processor `view`: a rig's cameras in a web page that the rig serves itself.
//!
//! Registered as a user registers his own:
//!
//! ```no_run
//! camrig::App::new().actor("view", camrig_view::View::new).main();
//! ```
//!
//! The actor hands the newest frameset of each camera to a server on a thread of its own, while somebody is
//! looking, and forgets it otherwise. A page asks for each frameset that it wants to show, when it has shown
//! the one before: whoever is slow, frozen or gone asks for nothing, and costs nothing.
//!
//! * `options`: what a topology says
//! * `cameras`: the newest framesets, between the actor's thread and the server's
//! * `session`: one page, over its WebSocket; `protocol` is what both say
//! * `picture`: framesets as JPEGs, small enough for the page
//! * `page`: the page itself
//!
//! It deliberately knows no rig: what its actors and links do is read from the rig's status socket.
#![forbid(unsafe_code)]

mod cameras;
mod options;
mod page;
mod picture;
mod protocol;
mod session;

use std::io::Write;
use std::sync::Arc;

use actix::{Actor, Context, Handler};
use camrig::{FrameSet, ProcessorError, ProcessorOutput};
use camrig_http::Server;

use crate::cameras::Cameras;
pub use crate::options::ViewOptions;
use crate::session::Sessions;

/// Shows its inputs in a web page. It prints where, and serves it until it ends.
///
/// While a page is open it keeps the newest frameset of each camera, which holds a slot, and for a moment
/// another one of one camera, while its picture is made.
pub struct View {
    cameras: Arc<Cameras>,
    _server: Server,
    _output: ProcessorOutput,
}

impl View {
    /// Starts the server.
    ///
    /// # Errors
    /// When the address is taken or not this machine's.
    pub fn new(options: ViewOptions, output: ProcessorOutput) -> Result<Self, ProcessorError> {
        let (listen, access) = (options.listen, options.access.clone());
        let inputs = output.inputs().map(|input| input.from.to_owned());
        let cameras = Arc::new(Cameras::new(inputs));
        let sessions = Sessions::new(Arc::clone(&cameras), options, output.rig(), output.name());
        let routes = page::routes().merge(session::route(sessions)).merge(camrig_http::routes(output.rig()));
        let query = access.query();
        let server = Server::start("view", listen, access, routes)
            .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        // A rig whose stdout nobody reads is watched by other means.
        let _ = writeln!(std::io::stdout(), "{}: http://{}/{query}", output.name(), server.address());
        Ok(Self { cameras, _server: server, _output: output })
    }
}

impl Actor for View {
    type Context = Context<Self>;
}

impl Handler<FrameSet> for View {
    type Result = Result<(), ProcessorError>;

    fn handle(&mut self, frames: FrameSet, _: &mut Self::Context) -> Self::Result {
        self.cameras.show(frames);
        Ok(())
    }
}
