//! Calls to the devices of cameras that wait for an answer. A camera gets one at a time: its mailbox has room for few.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::SyncSender;

use crate::control::{DeviceAnswer, DeviceCall, DeviceRequest};
use crate::ids::ActorId;

/// Maximum number of calls that wait for one camera.
const CALLS_MAX: usize = 16;

/// The calls under way, by camera.
#[derive(Default)]
pub(super) struct Calls {
    waiting: BTreeMap<ActorId, VecDeque<WaitingCall>>,
    next: u64,
}

/// A call that waits for its answer; the first one of a camera was sent to it.
struct WaitingCall {
    number: u64,
    until_nanos: u64,
    call: DeviceCall,
    /// `None` if nothing waits for the answer.
    caller: Option<SyncSender<DeviceAnswer>>,
}

impl WaitingCall {
    fn answer(self, own: DeviceAnswer) {
        // The caller may have continued without it.
        self.caller.map(|caller| caller.try_send(own));
    }

    fn request(&self) -> DeviceRequest {
        DeviceRequest { number: self.number, until_nanos: self.until_nanos, call: self.call.clone() }
    }
}

impl Calls {
    /// Adds a call to a camera, which it makes until this monotonic time. Returns the request to send, unless another one is under way; then [`Self::end`] returns it.
    pub(super) fn begin(
        &mut self,
        camera: ActorId,
        name: &str,
        (call, until_nanos): (DeviceCall, u64),
        caller: Option<SyncSender<DeviceAnswer>>,
    ) -> Option<DeviceRequest> {
        self.next += 1;
        let added = WaitingCall { number: self.next, until_nanos, call, caller };
        let waiting = self.waiting.entry(camera).or_default();
        if waiting.len() == CALLS_MAX {
            added.answer(Err(format!("camera `{name}` already has {CALLS_MAX} calls to answer")));
            return None;
        }
        let request = waiting.is_empty().then(|| added.request());
        waiting.push_back(added);
        request
    }

    /// Passes an answer to its caller. Returns the call, and the next request to send.
    pub(super) fn end(
        &mut self,
        camera: ActorId,
        number: u64,
        own: DeviceAnswer,
    ) -> Option<(DeviceCall, Option<DeviceRequest>)> {
        // An answer may come after its process was given up.
        let waiting = self.waiting.get_mut(&camera)?;
        if waiting.front()?.number != number {
            return None;
        }
        let first = waiting.pop_front()?;
        let next = waiting.front().map(WaitingCall::request);
        let call = first.call.clone();
        first.answer(own);
        Some((call, next))
    }

    /// Ends the calls to a camera that will not answer.
    pub(super) fn fail(&mut self, camera: ActorId, reason: &str) {
        for waiting in self.waiting.remove(&camera).into_iter().flatten() {
            waiting.answer(Err(reason.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;

    const LEFT: ActorId = ActorId(1);
    const UNTIL: u64 = 9;

    fn begin(calls: &mut Calls) -> (Option<u64>, Receiver<DeviceAnswer>) {
        let (caller, answers) = sync_channel(1);
        let request = calls.begin(LEFT, "left", (DeviceCall::Controls, UNTIL), Some(caller));
        (request.map(|request| request.number), answers)
    }

    #[test]
    fn a_camera_has_one_call_at_a_time_and_each_caller_gets_its_own_answer() {
        let mut calls = Calls::default();
        let (first, answers) = begin(&mut calls);
        let (second, waits) = begin(&mut calls);
        assert_eq!((first, second), (Some(1), None));
        assert!(calls.end(LEFT, 2, Ok(Vec::new())).is_none());
        let next = DeviceRequest { number: 2, until_nanos: UNTIL, call: DeviceCall::Controls };
        let ended = calls.end(LEFT, 1, Err("first".to_owned()));
        assert_eq!(ended, Some((DeviceCall::Controls, Some(next))));
        assert_eq!(answers.try_recv().unwrap().unwrap_err(), "first");
        assert!(waits.try_recv().is_err());
        calls.fail(LEFT, "gone");
        assert_eq!(waits.try_recv().unwrap().unwrap_err(), "gone");
        // The answer to the second call comes late, and is not that to the third one.
        let (third, answers) = begin(&mut calls);
        assert_eq!(calls.end(LEFT, 2, Err("late".to_owned())), None);
        assert!(answers.try_recv().is_err());
        assert_eq!(calls.end(LEFT, third.unwrap(), Ok(Vec::new())), Some((DeviceCall::Controls, None)));
        assert_eq!(answers.try_recv().unwrap(), Ok(Vec::new()));
        assert!(begin(&mut calls).0.is_some());
    }

    #[test]
    fn a_camera_has_a_bounded_number_of_calls() {
        let mut calls = Calls::default();
        let kept: Vec<_> = (0..CALLS_MAX).map(|_| begin(&mut calls)).collect();
        assert!(kept.iter().all(|(_, answers)| answers.try_recv().is_err()));
        let (_, refused) = begin(&mut calls);
        assert_eq!(refused.try_recv().unwrap().unwrap_err(), "camera `left` already has 16 calls to answer");
    }
}
