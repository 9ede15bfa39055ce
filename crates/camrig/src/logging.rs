//! Log lines that name their process and actor, and the location of an actor's panic.

use std::cell::RefCell;
#[cfg(feature = "program")]
use std::io::Write;
use std::sync::OnceLock;

static PROCESS: OnceLock<String> = OnceLock::new();

thread_local! {
    static ACTOR: RefCell<Option<String>> = const { RefCell::new(None) };
    static PANIC_LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Names the process in log lines and records the locations of actors' panics. A program also logs to stderr: `warn`
/// and above unless `RUST_LOG` is set.
pub(crate) fn init(process: &str) {
    // A second call keeps the first name and logger: a process may host several rigs.
    let _ = PROCESS.set(process.to_owned());
    #[cfg(feature = "program")]
    start_logger();
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if camrig_ipc::panics_are_caught() {
            return;
        }
        if ACTOR.with_borrow(Option::is_none) {
            return default_hook(panic);
        }
        // The supervisor's report of the actor's failure contains this location.
        PANIC_LOCATION.set(panic.location().map(|location| format!(" at {location}")));
    }));
}

/// The lines that are logged unless `RUST_LOG` is set. Those of the board detector are excluded, because it warns of each
/// picture without a board.
#[cfg(feature = "program")]
const FILTER: &str = "warn,calib_targets_charuco=off";

/// A library that warns of intended settings, such as that it does not search for peers.
#[cfg(feature = "program")]
const REMARKS_OF: &str = "zenoh";

#[cfg(feature = "program")]
fn start_logger() {
    let environment = env_logger::Env::default().default_filter_or(FILTER);
    let _ = env_logger::Builder::new()
        .filter_module(REMARKS_OF, log::LevelFilter::Error)
        .parse_env(environment)
        .format(|line, record| {
            let place = ACTOR.with_borrow(|actor| match actor {
                Some(actor) => format!("{}/{actor}", process_name()),
                None => process_name().to_owned(),
            });
            let level = record.level();
            let style = line.default_level_style(level);
            writeln!(line, "{} {style}{level:5}{style:#} {place}: {}", line.timestamp_millis(), record.args())
        })
        .try_init();
}

/// Sets the name of the actor that runs on this thread.
pub(crate) fn set_actor(name: &str) {
    ACTOR.set(Some(name.to_owned()));
}

/// Returns the location of this thread's last panic as ` at file:line:column`; empty if unknown.
pub(crate) fn take_panic_location() -> String {
    PANIC_LOCATION.take().unwrap_or_default()
}

#[cfg(feature = "program")]
fn process_name() -> &'static str {
    PROCESS.get().map_or("main", String::as_str)
}
