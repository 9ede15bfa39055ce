//! Answers requests of other processes, which the control socket takes.

use camrig_status::control::{Answer, Apply, Attach, Request};

use super::WantedTopology;
use super::change::ChangeError;
use crate::control::DeviceCall;
use crate::topology::Topology;

/// Maximum length of the origin of a request, in bytes.
const BY_BYTES_MAX: usize = 200;

/// Maximum length of the name of a topology, in bytes: that of a path.
const NAME_BYTES_MAX: usize = 4096;

/// Answers a request, on the thread of its client.
pub(crate) fn answer(control: &super::RunControl, request: Request) -> Answer {
    let changed = match request {
        Request::Topology => {
            return match control.whole_topology() {
                Some(topology) => {
                    Answer::Topology { name: topology.name().to_owned(), text: topology.running_text() }
                }
                None => Answer::refused(ChangeError::Over.to_string()),
            };
        }
        Request::Controls { camera, to_set } => {
            let call = if to_set { DeviceCall::ControlsToSet } else { DeviceCall::Controls };
            return Answer::Controls(control.call_device(&camera, call));
        }
        Request::Apply(apply) => self::apply(control, apply),
        Request::Edit(edits) => check_by(&edits.by).and_then(|()| control.edit(edits)),
        Request::Attach(attach) => check_by(&attach.by).and_then(|()| self::attach(control, attach)),
        Request::Preset { camera, file } => {
            let saved = control.call_device(&camera, DeviceCall::SavePreset { file });
            saved.map(|_| Vec::new()).map_err(ChangeError::Refused)
        }
        Request::Pause { cameras, paused, by } => {
            check_by(&by).and_then(|()| control.pause(&cameras, paused, &by))
        }
    };
    told(changed)
}

/// Removes a processor whose client is gone.
pub(super) fn leave(control: &super::RunControl, attach: &Attach) -> Answer {
    told(control.leave(&attach.name, &attach.by))
}

fn told(changed: Result<Vec<String>, ChangeError>) -> Answer {
    match changed {
        Ok(changes) => Answer::Changes(changes),
        Err(ChangeError::Problems(problems)) => {
            Answer::Refused { message: problems.to_string(), unavailable: problems.is_unavailable() }
        }
        Err(error @ ChangeError::Failed(_)) => Answer::Failed { message: error.to_string() },
        Err(error) => Answer::refused(error.to_string()),
    }
}

/// Adds a processor; one that fails at its start is removed again.
fn attach(control: &super::RunControl, attach: Attach) -> Result<Vec<String>, ChangeError> {
    let (name, by) = (attach.name.clone(), attach.by.clone());
    let added = control.attach(attach);
    if let Err(ChangeError::Failed(_)) = added {
        // The reason of the failure matters more.
        let _ = control.leave(&name, &by);
    }
    added
}

fn check_by(by: &str) -> Result<(), ChangeError> {
    check_line("by", by, BY_BYTES_MAX)
}

/// Checks a text that is shown as part of a line.
fn check_line(key: &str, text: &str, most: usize) -> Result<(), ChangeError> {
    if text.len() > most || text.contains(char::is_control) {
        let fact = format!("`{key}` has more than {most} bytes, or several lines");
        return Err(ChangeError::Refused(fact));
    }
    Ok(())
}

fn apply(control: &super::RunControl, apply: Apply) -> Result<Vec<String>, ChangeError> {
    let Apply { name, text, restarts, base, live, dry_run, by } = apply;
    check_by(&by)?;
    check_line("name", &name, NAME_BYTES_MAX)?;
    let topology = Topology::parse(&name, &text, None, &control.registry).map_err(ChangeError::Problems)?;
    control.apply(WantedTopology { topology, restarts, base, live, dry_run, by })
}
