//! Answers requests of other processes, which the control socket takes.

use std::sync::Arc;

use camrig_status::control::{Answer, Apply, Request};

use super::Control;
use super::change::ChangeError;
use crate::registry::Registry;
use crate::topology::Topology;

/// Maximum length of the text that says who asks, in bytes.
const BY_BYTES_MAX: usize = 200;

/// Answers a request, on the thread of its client.
pub(super) fn answer(control: &Control, registry: &Arc<Registry>, request: Request) -> Answer {
    match request {
        Request::Topology => match control.topology() {
            Some(topology) => {
                Answer::Topology { name: topology.name().to_owned(), text: topology.running_text() }
            }
            None => Answer::refused(ChangeError::Over.to_string()),
        },
        Request::Apply(apply) => match self::apply(control, registry, apply) {
            Ok(changes) => Answer::Changes(changes),
            Err(ChangeError::Problems(problems)) => {
                Answer::Refused { message: problems.to_string(), unavailable: problems.is_unavailable() }
            }
            Err(error @ ChangeError::Failed(_)) => Answer::Failed { message: error.to_string() },
            Err(error) => Answer::refused(error.to_string()),
        },
    }
}

fn apply(control: &Control, registry: &Arc<Registry>, apply: Apply) -> Result<Vec<String>, ChangeError> {
    let Apply { name, text, restarts, base, dry_run, by } = apply;
    if by.len() > BY_BYTES_MAX || by.contains(char::is_control) {
        let fact = format!("`by` has more than {BY_BYTES_MAX} bytes, or several lines");
        return Err(ChangeError::Refused(fact));
    }
    let topology = Topology::parse(&name, &text, None, registry).map_err(ChangeError::Problems)?;
    let changes = control.compare(&topology, &restarts, registry)?;
    if dry_run { Ok(changes) } else { control.change(topology, restarts, base, &by) }
}
