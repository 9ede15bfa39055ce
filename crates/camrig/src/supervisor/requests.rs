//! Answers requests of other processes, which the control socket takes.

use std::sync::Arc;

use camrig_status::control::{Answer, Apply, Request};

use super::change::ChangeError;
use crate::control::{DeviceAnswer, DeviceCall};
use crate::driver::Control;
use crate::registry::Registry;
use crate::topology::Topology;

/// Maximum length of the origin of a request, in bytes.
const BY_BYTES_MAX: usize = 200;

/// Answers a request, on the thread of its client.
pub(super) fn answer(control: &super::Control, registry: &Arc<Registry>, request: Request) -> Answer {
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
        Request::Device { camera, call, by } => match check_by(&by) {
            Ok(()) => Answer::Device(self::call(control, &camera, call, &by)),
            Err(fact) => Answer::refused(fact),
        },
    }
}

fn call(control: &super::Control, camera: &str, call: DeviceCall, by: &str) -> DeviceAnswer {
    let is_set = matches!(call, DeviceCall::Set { .. });
    let answer = control.call_device(camera, call);
    if let (true, Ok(controls)) = (is_set, &answer) {
        for Control { name, value, .. } in controls {
            let value = value.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
            log::warn!("{by}: camera `{camera}`: {name} = {value}");
        }
    }
    answer
}

fn check_by(by: &str) -> Result<(), String> {
    if by.len() > BY_BYTES_MAX || by.contains(char::is_control) {
        return Err(format!("`by` has more than {BY_BYTES_MAX} bytes, or several lines"));
    }
    Ok(())
}

fn apply(
    control: &super::Control,
    registry: &Arc<Registry>,
    apply: Apply,
) -> Result<Vec<String>, ChangeError> {
    let Apply { name, text, restarts, base, dry_run, by } = apply;
    check_by(&by).map_err(ChangeError::Refused)?;
    let topology = Topology::parse(&name, &text, None, registry).map_err(ChangeError::Problems)?;
    let changes = control.compare(&topology, &restarts, registry)?;
    if dry_run { Ok(changes) } else { control.change(topology, restarts, base, &by) }
}
