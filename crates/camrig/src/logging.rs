//! Log lines that name their process and actor, and panics as failures of an actor.

use std::cell::RefCell;
use std::io::Write;
use std::sync::OnceLock;

static PROCESS: OnceLock<String> = OnceLock::new();

thread_local! {
    static ACTOR: RefCell<Option<String>> = const { RefCell::new(None) };
    static PANIC_LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Starts logging for the process called `process`: to stderr, `warn` and above unless `RUST_LOG` says otherwise.
pub(crate) fn init(process: &str) {
    // A second call keeps the first name and logger: a test may host several rigs.
    let _ = PROCESS.set(process.to_owned());
    let environment = env_logger::Env::default().default_filter_or("warn");
    let _ = env_logger::Builder::from_env(environment)
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
    let default_hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if ACTOR.with_borrow(Option::is_none) {
            return default_hook(panic);
        }
        // The actor's failure is reported with this place, once, by whoever waits for the actor.
        PANIC_LOCATION.set(panic.location().map(|location| format!(" at {location}")));
    }));
}

/// Names the actor that runs on this thread.
pub(crate) fn set_actor(name: &str) {
    ACTOR.set(Some(name.to_owned()));
}

/// Where this thread's last panic was, as ` at file:line:column`; empty when unknown.
pub(crate) fn take_panic_location() -> String {
    PANIC_LOCATION.take().unwrap_or_default()
}

fn process_name() -> &'static str {
    PROCESS.get().map_or("main", String::as_str)
}
