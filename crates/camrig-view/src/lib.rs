//! The processor `view`: shows a rig's cameras in a web page, served by the rig itself.
//!
//! A program registers it as it registers its own actors:
//!
//! ```no_run
//! camrig_view::add_to(camrig::App::new()).main();
//! ```
//!
//! While a page is open, the actor passes the newest frameset of each camera to a server thread; otherwise it drops framesets.
//! A page requests each frameset after it has shown the previous one. So a slow, frozen or closed page requests nothing and
//! causes no work.
//!
//! * `options`: the options of a topology
//! * `cameras`: passes the newest framesets from the actor's thread to the server's
//! * `session`: serves one page over its WebSocket; `protocol` has the messages
//! * `pages`: bounds the number of open pages
//! * `range`: the range of depth that colors cover
//! * `recordings`: the recordings that run, for pages that may change the rig
//! * `page`: the files of the page
//!
//! It has no access to the rig: it reads the state of actors and links from the rig's status socket.
#![forbid(unsafe_code)]

mod cameras;
mod options;
mod page;
mod pages;
mod protocol;
mod range;
mod recordings;
mod session;

use std::sync::Arc;

use actix::{Actor, Context, Handler};
use camrig::console::print_note;
use camrig::{FrameSet, ProcessorError, ProcessorOutput};
use camrig_http::Server;

use crate::cameras::Cameras;
pub use crate::options::ViewOptions;

/// The answer of the HTTP API if it is off.
const NO_CONTROL: &str =
    "the topology permits no control: `view` needs the options `control = true` and `token`";

/// Adds the processor `view`.
#[must_use]
pub fn add_to(app: camrig::App) -> camrig::App {
    app.actor("view", View::new).options::<options::OptionsAsWritten>("view")
}
use crate::session::Sessions;

/// Shows its inputs in a web page. It prints the address, and serves the page until it ends.
///
/// While a page is open it keeps the newest frameset of each camera, which occupies a slot, and one more of one
/// camera while that is being encoded.
pub struct View {
    cameras: Arc<Cameras>,
    _server: Server,
    _output: ProcessorOutput,
}

impl View {
    /// Starts the server.
    ///
    /// # Errors
    /// When the address is in use or does not belong to this machine.
    pub fn new(options: ViewOptions, output: ProcessorOutput) -> Result<Self, ProcessorError> {
        let (listen, access, may_control) = (options.listen, options.access.clone(), options.control);
        let inputs = output.inputs().map(|input| input.from.to_owned());
        let cameras = Arc::new(Cameras::new(inputs));
        let sessions = Sessions::new(Arc::clone(&cameras), options, output.rig(), output.name());
        let api = if may_control {
            camrig_http::api(output.rig(), output.name())
        } else {
            camrig_http::no_api(NO_CONTROL)
        };
        let routes = page::routes().merge(session::route(sessions)).merge(camrig_http::routes(output.rig()));
        let routes = routes.merge(api);
        let query = access.query();
        let server = Server::start("view", listen, access, routes)
            .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        print_note(format_args!("{}: http://{}/{query}", output.name(), server.address()));
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
