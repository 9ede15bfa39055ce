//! Calls of the supervisor to the open device of a camera, which the camera's thread makes between two framesets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use camrig_ipc::protocol::{DeviceAnswer, DeviceCall, DeviceRequest};
use tokio::sync::Notify;

use crate::registry::OpenCamera;

/// The requests that wait for the instance of a camera.
#[derive(Clone)]
pub(super) struct DeviceCalls(Rc<Waiting>);

struct Waiting {
    queue: RefCell<VecDeque<DeviceRequest>>,
    came: Notify,
    answer: Box<dyn Fn(u64, DeviceAnswer)>,
}

impl DeviceCalls {
    /// Returns an empty queue. `answer` gets each answer with the number of its request.
    pub(super) fn new(answer: impl Fn(u64, DeviceAnswer) + 'static) -> Self {
        Self(Rc::new(Waiting { queue: RefCell::default(), came: Notify::new(), answer: Box::new(answer) }))
    }

    /// Adds a request.
    pub(super) fn add(&self, request: DeviceRequest) {
        self.0.queue.borrow_mut().push_back(request);
        self.0.came.notify_one();
    }

    /// Waits until there may be a request.
    pub(super) async fn came(&self) {
        self.0.came.notified().await;
    }

    /// Makes the calls of all requests.
    pub(super) fn make(&self, camera: &mut dyn OpenCamera) {
        while let Some(DeviceRequest { number, call }) = self.take() {
            (self.0.answer)(number, make(call, camera));
        }
    }

    /// Answers all requests with an error.
    pub(super) fn refuse(&self, reason: &str) {
        while let Some(DeviceRequest { number, .. }) = self.take() {
            (self.0.answer)(number, Err(reason.to_owned()));
        }
    }

    fn take(&self) -> Option<DeviceRequest> {
        self.0.queue.borrow_mut().pop_front()
    }
}

/// Makes one call. A control that was set is returned as the device has it then.
fn make(call: DeviceCall, camera: &mut dyn OpenCamera) -> DeviceAnswer {
    match call {
        DeviceCall::Controls => Ok(camera.controls()),
        DeviceCall::Set { name, value } => {
            camera.set(&name, &value).map_err(|error| error.to_string())?;
            Ok(camera.controls().into_iter().filter(|control| control.name == name).collect())
        }
    }
}
