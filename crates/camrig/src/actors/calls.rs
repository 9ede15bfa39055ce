//! Calls of the supervisor to the open device of a camera, which the camera's thread makes between two framesets.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::rc::Rc;

use camrig_frame::{Control, ControlValue};
use camrig_ipc::protocol::{DeviceAnswer, DeviceCall, DeviceRequest, SET_TIME};
use tokio::sync::Notify;

use crate::clock::monotonic_nanos;
use crate::error::DriverError;
use crate::files;
use crate::registry::ErasedCamera;

/// Maximum number of calls that a camera waits for between two framesets. A set from another host takes two: its agent asks
/// for the controls too.
const ANNOUNCED_MAX: u32 = 2;

/// The answer to a call for which nobody waits any more.
const TOO_LATE: &str = "the call came too late";

/// The streams of an open camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streams {
    /// They have not started.
    Held,
    On,
    /// They were stopped, and the device is open.
    Paused,
}

/// The requests that wait for the instance of a camera.
#[derive(Clone)]
pub(super) struct DeviceCalls(Rc<CallQueue>);

struct CallQueue {
    queue: RefCell<VecDeque<DeviceRequest>>,
    came: Notify,
    /// The options of later instances; `None` for those of the actor's part.
    options: RefCell<Option<String>>,
    /// Whether the last call announced that another one follows.
    is_followed: Cell<bool>,
    answer: Box<dyn Fn(u64, DeviceAnswer)>,
}

impl DeviceCalls {
    /// Returns an empty queue. `answer` gets each answer with the number of its request.
    pub(super) fn new(answer: impl Fn(u64, DeviceAnswer) + 'static) -> Self {
        let (queue, options, is_followed) = Default::default();
        let (came, answer) = (Notify::new(), Box::new(answer));
        Self(Rc::new(CallQueue { queue, came, options, is_followed, answer }))
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

    /// Makes the calls of all requests, and those that they announce, for each of which it waits up to [`SET_TIME`].
    ///
    /// # Errors
    /// As [`Self::make`].
    pub(super) async fn make_with_announced(
        &self,
        camera: &mut dyn ErasedCamera,
        streams: &mut Streams,
    ) -> Result<(), DriverError> {
        self.make(camera, streams)?;
        for _ in 0..ANNOUNCED_MAX {
            if !self.next_announced().await {
                break;
            }
            self.make(camera, streams)?;
        }
        Ok(())
    }

    /// Waits for the call that the last one announced, not longer than [`SET_TIME`]. Returns whether it came.
    async fn next_announced(&self) -> bool {
        if !self.0.is_followed.take() {
            return false;
        }
        let added = async {
            while self.0.queue.borrow().is_empty() {
                self.came().await;
            }
        };
        tokio::time::timeout(SET_TIME, added).await.is_ok()
    }

    /// Returns the options that were set for later instances.
    pub(super) fn options(&self) -> Option<String> {
        self.0.options.borrow().clone()
    }

    /// Makes the calls of all requests.
    ///
    /// # Errors
    /// If the streams do not start again.
    pub(super) fn make(
        &self,
        camera: &mut dyn ErasedCamera,
        streams: &mut Streams,
    ) -> Result<(), DriverError> {
        while let Some(DeviceRequest { number, until_nanos, call }) = self.take() {
            self.0.is_followed.set(false);
            let is_late = || monotonic_nanos() > until_nanos;
            let answer = match call {
                // It was refused, so that it must have no effect.
                _ if is_late() => Err(TOO_LATE.to_owned()),
                DeviceCall::Controls => Ok(camera.controls()),
                DeviceCall::ControlsToSet => {
                    self.0.is_followed.set(true);
                    Ok(camera.controls())
                }
                DeviceCall::Set { settings, options } => {
                    let set = set(&settings, camera, is_late);
                    if set.is_ok() && options.is_some() {
                        *self.0.options.borrow_mut() = options;
                    }
                    set
                }
                DeviceCall::SavePreset { file } => save(Path::new(&file), camera),
                DeviceCall::Pause => pause(camera, streams),
                DeviceCall::Resume if *streams == Streams::Paused => {
                    let resumed = camera.resume();
                    (self.0.answer)(
                        number,
                        resumed.as_ref().map(|()| Vec::new()).map_err(DriverError::to_string),
                    );
                    resumed?;
                    *streams = Streams::On;
                    continue;
                }
                DeviceCall::Resume => Ok(Vec::new()),
            };
            (self.0.answer)(number, answer);
        }
        Ok(())
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

/// Sets controls, and returns them with the resulting values of the device. If one is refused, or it takes too long, they get
/// their old values again.
fn set(
    settings: &[(String, ControlValue)],
    camera: &mut dyn ErasedCamera,
    is_late: impl Fn() -> bool,
) -> DeviceAnswer {
    let before = camera.controls();
    let mut ordered = Control::in_order(settings, &before).into_iter();
    let refused =
        ordered.find_map(|(name, value)| camera.set(name, value).err()).map(|error| error.to_string());
    if let Some(reason) = refused.or_else(|| is_late().then(|| TOO_LATE.to_owned())) {
        for (name, value) in Control::restored(&before, &camera.controls()) {
            if let Err(error) = camera.set(&name, &value) {
                log::warn!("option `{name}` cannot be set back: {error}");
            }
        }
        return Err(reason);
    }
    let is_set = |name: &String| settings.iter().any(|(set, _)| set == name);
    Ok(camera.controls().into_iter().filter(|control| is_set(&control.name)).collect())
}

fn save(file: &Path, camera: &dyn ErasedCamera) -> DeviceAnswer {
    let text = camera.preset().map_err(|error| error.to_string())?;
    let written = files::write(file, |file| file.write_all(text.as_bytes()));
    written.map_err(|error| format!("`{}` cannot be written: {error}", file.display()))?;
    Ok(Vec::new())
}

fn pause(camera: &mut dyn ErasedCamera, streams: &mut Streams) -> DeviceAnswer {
    match streams {
        Streams::Held => return Err("its streams have not started".to_owned()),
        Streams::On => camera.pause().map_err(|error| error.to_string())?,
        Streams::Paused => {}
    }
    *streams = Streams::Paused;
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::registry::Registry;

    #[test]
    fn a_camera_waits_for_the_set_that_a_call_announced_and_for_no_other_call() {
        let registry = Registry::new();
        let driver = registry.driver("synthetic").unwrap();
        let mut camera = driver.open("left", "model = 'any'\ndepth = '64x48@30'\ncolor = 'off'").unwrap();
        let calls = DeviceCalls::new(|_, answer| assert!(answer.is_ok(), "{answer:?}"));
        let mut make = |number, call| {
            calls.add(DeviceRequest { number, until_nanos: u64::MAX, call });
            calls.make(&mut *camera, &mut Streams::On.clone()).unwrap();
        };
        // Without a runtime there is no timer, so that nothing can wait.
        let poll = |calls: &DeviceCalls| {
            let mut announced = pin!(calls.next_announced());
            announced.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        };
        let settings = vec![("exposure".to_owned(), ControlValue::Number(900.0))];
        let set = DeviceCall::Set { settings, options: None };
        make(1, DeviceCall::Controls);
        assert!(poll(&calls));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        make(2, DeviceCall::ControlsToSet);
        assert!(!poll(&calls), "it does not wait");
        assert!(poll(&calls), "it waits again for the same call");
        make(3, DeviceCall::ControlsToSet);
        make(4, set.clone());
        assert!(poll(&calls), "it waits although the call has come");
        make(5, DeviceCall::ControlsToSet);
        let mut announced = pin!(calls.next_announced());
        let mut context = Context::from_waker(Waker::noop());
        assert!(announced.as_mut().poll(&mut context).is_pending());
        calls.add(DeviceRequest { number: 6, until_nanos: u64::MAX, call: set });
        assert!(announced.as_mut().poll(&mut context).is_ready());
    }

    /// As a set from another host: the first host asks for the controls, then its agent does, and then sets one.
    #[test]
    fn a_camera_waits_for_two_calls_that_announce_another_one() {
        let registry = Registry::new();
        let driver = registry.driver("synthetic").unwrap();
        let mut camera = driver.open("left", "model = 'any'\ndepth = '64x48@30'\ncolor = 'off'").unwrap();
        let answered = Rc::new(Cell::new(0));
        let seen = Rc::clone(&answered);
        let calls = DeviceCalls::new(move |number, _| seen.set(number));
        let settings = vec![("exposure".to_owned(), ControlValue::Number(900.0))];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let mut context = Context::from_waker(Waker::noop());
        calls.add(DeviceRequest { number: 1, until_nanos: u64::MAX, call: DeviceCall::ControlsToSet });
        let mut streams = Streams::On;
        let mut made = pin!(calls.make_with_announced(&mut *camera, &mut streams));
        // Nothing turns the timer, so that its time never ends.
        assert!(made.as_mut().poll(&mut context).is_pending());
        calls.add(DeviceRequest { number: 2, until_nanos: u64::MAX, call: DeviceCall::ControlsToSet });
        assert!(made.as_mut().poll(&mut context).is_pending());
        assert_eq!(answered.get(), 2);
        calls.add(DeviceRequest {
            number: 3,
            until_nanos: u64::MAX,
            call: DeviceCall::Set { settings, options: None },
        });
        assert!(made.as_mut().poll(&mut context).is_ready());
        assert_eq!(answered.get(), 3);
    }

    /// As after a driver that hung: the call was refused meanwhile.
    #[test]
    fn a_call_that_comes_too_late_is_not_made() {
        let registry = Registry::new();
        let driver = registry.driver("synthetic").unwrap();
        let mut camera = driver.open("left", "model = 'any'\ndepth = '64x48@30'\ncolor = 'off'").unwrap();
        let answers = Rc::new(RefCell::new(Vec::new()));
        let taken = Rc::clone(&answers);
        let calls = DeviceCalls::new(move |_, answer: DeviceAnswer| {
            taken.borrow_mut().push(answer.map(|controls| controls[0].value.clone()));
        });
        let settings = vec![("exposure".to_owned(), ControlValue::Number(900.0))];
        let (before, mut streams) = (camera.controls(), Streams::On);
        for call in
            [DeviceCall::Set { settings: settings.clone(), options: Some(String::new()) }, DeviceCall::Pause]
        {
            calls.add(DeviceRequest { number: 1, until_nanos: monotonic_nanos() - 1, call });
        }
        calls.make(&mut *camera, &mut streams).unwrap();
        assert_eq!(answers.take(), [Err(TOO_LATE.to_owned()), Err(TOO_LATE.to_owned())]);
        assert_eq!((camera.controls(), streams, calls.options()), (before.clone(), Streams::On, None));
        // Also if its time ends while the device is set.
        assert_eq!(set(&settings, &mut *camera, || true), Err(TOO_LATE.to_owned()));
        assert_eq!(camera.controls(), before);
        assert_eq!(
            set(&settings, &mut *camera, || false).unwrap()[0].value,
            Some(ControlValue::Number(900.0))
        );
    }

    #[test]
    fn a_camera_does_not_wait_for_calls_without_end() {
        let registry = Registry::new();
        let driver = registry.driver("synthetic").unwrap();
        let mut camera = driver.open("left", "model = 'any'\ndepth = '64x48@30'\ncolor = 'off'").unwrap();
        let calls = DeviceCalls::new(|_, _| {});
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let mut context = Context::from_waker(Waker::noop());
        let mut streams = Streams::On;
        let mut made = pin!(calls.make_with_announced(&mut *camera, &mut streams));
        let mut asked = 0;
        let is_done = loop {
            calls.add(DeviceRequest {
                number: asked,
                until_nanos: u64::MAX,
                call: DeviceCall::ControlsToSet,
            });
            asked += 1;
            match made.as_mut().poll(&mut context) {
                std::task::Poll::Pending if asked < 9 => {}
                polled => break polled.is_ready(),
            }
        };
        assert!(is_done && asked == 1 + u64::from(ANNOUNCED_MAX), "{asked}");
    }
}
