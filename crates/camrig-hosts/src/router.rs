//! A router, `camrig route`: the hosts of a rig connect to it, so none of them has to be reachable.
//!
//! It is a session of Zenoh that forwards. It has no access to rigs, and runs nothing.

use camrig::console;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::session::{self, SessionOptions, check_of_router};

/// Runs a router until a signal ends it.
///
/// # Errors
/// A message if it cannot listen, or the system lacks resources.
pub(crate) fn run(options: &SessionOptions) -> Result<(), String> {
    session::check(options).map_err(|error| error.to_string())?;
    options
        .listen
        .iter()
        .try_for_each(|endpoint| check_of_router(endpoint))
        .map_err(|error| error.to_string())?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| format!("signals cannot be received: {error}"))?;
    let session = session::open_router(options).map_err(|error| error.to_string())?;
    for address in &options.listen {
        console::print_note(format_args!("router: listens at {address}"));
    }
    let _ = signals.forever().next();
    session::close(&session);
    Ok(())
}
