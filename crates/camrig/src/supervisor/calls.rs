//! Calls to the devices of cameras that wait for an answer. A camera has one at a time: its mailbox has room for few.

use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;

use crate::control::{DeviceAnswer, DeviceCall, DeviceRequest};
use crate::ids::ActorId;

/// The calls under way, by camera.
#[derive(Default)]
pub(super) struct Calls {
    waiting: BTreeMap<ActorId, (u64, SyncSender<DeviceAnswer>)>,
    next: u64,
}

impl Calls {
    /// Begins a call to a camera. Returns the request to send, or answers at once while another call is under way.
    pub(super) fn begin(
        &mut self,
        camera: ActorId,
        name: &str,
        call: DeviceCall,
        caller: SyncSender<DeviceAnswer>,
    ) -> Option<DeviceRequest> {
        if self.waiting.contains_key(&camera) {
            answer(&caller, Err(format!("camera `{name}` has not answered the call before")));
            return None;
        }
        self.next += 1;
        self.waiting.insert(camera, (self.next, caller));
        Some(DeviceRequest { number: self.next, call })
    }

    /// Passes an answer to its caller.
    pub(super) fn end(&mut self, camera: ActorId, number: u64, own: DeviceAnswer) {
        // An answer may come after its process was given up.
        if self.waiting.get(&camera).is_some_and(|(waiting, _)| *waiting == number)
            && let Some((_, caller)) = self.waiting.remove(&camera)
        {
            answer(&caller, own);
        }
    }

    /// Ends the call to a camera whose process has ended.
    pub(super) fn fail(&mut self, camera: ActorId, reason: &str) {
        if let Some((_, caller)) = self.waiting.remove(&camera) {
            answer(&caller, Err(reason.to_owned()));
        }
    }
}

fn answer(caller: &SyncSender<DeviceAnswer>, own: DeviceAnswer) {
    // The caller may have gone on without it.
    drop(caller.try_send(own));
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    const LEFT: ActorId = ActorId(1);

    fn begin(calls: &mut Calls) -> (Option<u64>, Receiver<DeviceAnswer>) {
        let (caller, answers) = sync_channel(1);
        (calls.begin(LEFT, "left", DeviceCall::Controls, caller).map(|request| request.number), answers)
    }

    #[test]
    fn a_camera_has_one_call_at_a_time_and_each_caller_gets_its_own_answer() {
        let mut calls = Calls::default();
        let (first, answers) = begin(&mut calls);
        let (second, refused) = begin(&mut calls);
        assert_eq!(second, None);
        assert_eq!(
            refused.try_recv().unwrap().unwrap_err(),
            "camera `left` has not answered the call before"
        );
        calls.fail(LEFT, "gone");
        assert_eq!(answers.try_recv().unwrap().unwrap_err(), "gone");
        // The answer to the first call comes late, and is not that to the third one.
        let (third, answers) = begin(&mut calls);
        calls.end(LEFT, first.unwrap(), Err("late".to_owned()));
        assert!(answers.try_recv().is_err());
        calls.end(LEFT, third.unwrap(), Ok(Vec::new()));
        assert_eq!(answers.try_recv().unwrap(), Ok(Vec::new()));
        assert!(begin(&mut calls).0.is_some());
    }
}
