//! A status that an earlier program sent is read, and sent again with the same content.

use camrig_status::{ActorRole, ActorState, DropReason, RigStatus, Unmatched};
use serde_json::Value;

/// Sent before roles, states and reasons were types.
const BEFORE: &str = include_str!("before/status.json");

/// Whether `new` has everything of `old`: fields may be added.
fn contains(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(key, old)| new.get(key).is_some_and(|new| contains(new, old)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| contains(new, old))
        }
        _ => new == old,
    }
}

#[test]
fn an_earlier_status_reads_and_is_sent_the_same() {
    let status: RigStatus = serde_json::from_str(BEFORE).unwrap();
    assert_eq!((status.actors[0].role, status.actors[0].state), (ActorRole::Camera, ActorState::Running));
    assert_eq!(status.links[0].dropped[&DropReason::NoSlot], 0);
    assert_eq!(status.matching[0].cameras[0].unmatched[&Unmatched::Missing], 24);
    let (new, old) = (serde_json::to_value(&status).unwrap(), serde_json::from_str(BEFORE).unwrap());
    assert!(contains(&new, &old), "{new:#}");
}
