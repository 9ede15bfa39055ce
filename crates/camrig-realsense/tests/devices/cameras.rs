//! The simulated cameras that are attached to this machine, the same in all processes of a rig.
//!
//! A file controls them: a test writes a word into it, and every process follows. So a camera can become silent, be
//! unplugged and come back in any process that has it open, like a real one.

use std::ffi::{CStr, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use realsense_sys as rs2;

use crate::librealsense::list_of;
use crate::software::{Identity, Plugged, Scene, SoftwareCamera, SoftwareOption};

/// The environment variable with the name of the file.
pub(crate) const FILE: &str = "CAMRIG_TEST_CAMERAS";

/// Interval between two frames of a camera.
const PERIOD: Duration = Duration::from_millis(10);

/// Number of frames that the camera omits when it `skips`.
pub(crate) const SKIPPED: u32 = 3;

/// The notifications of a camera that `notifies`, in this order: the second one differs from the first one in a number.
pub(crate) const NOTIFICATIONS: [(rs2::rs2_log_severity, &CStr); 4] = [
    (rs2::rs2_log_severity_RS2_LOG_SEVERITY_ERROR, c"depth stream failure 7"),
    (rs2::rs2_log_severity_RS2_LOG_SEVERITY_ERROR, c"depth stream failure 8"),
    (rs2::rs2_log_severity_RS2_LOG_SEVERITY_INFO, c"the projector is on"),
    (rs2::rs2_log_severity_RS2_LOG_SEVERITY_WARN, c"the projector is hot"),
];

/// The behaviour of the camera `front`. The camera `rear` always streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// It streams.
    Streams,
    /// It omits a few numbers once, and streams.
    Skips,
    /// It repeats its last frame once, and streams.
    Repeats,
    /// It streams, and notifies its users once of each of [`NOTIFICATIONS`]; the rear camera does too.
    Notifies,
    /// It is attached but sends nothing.
    Silent,
    /// It streams, and refuses to be set.
    Refuses,
    /// It streams, and is unplugged when it is set.
    LeavesWhenSet,
    /// It is not attached, and librealsense has reported it.
    Unplugged,
    /// It is not attached, and librealsense has not noticed.
    Vanished,
}

impl Behaviour {
    const ALL: [Self; 9] = [
        Self::Streams,
        Self::Skips,
        Self::Repeats,
        Self::Notifies,
        Self::Silent,
        Self::Refuses,
        Self::LeavesWhenSet,
        Self::Unplugged,
        Self::Vanished,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Skips => "skips",
            Self::Repeats => "repeats",
            Self::Notifies => "notifies",
            Self::Silent => "silent",
            Self::Refuses => "refuses",
            Self::LeavesWhenSet => "leaves when set",
            Self::Unplugged => "unplugged",
            Self::Vanished => "vanished",
        }
    }

    /// Sets the behaviour in every process.
    pub(crate) fn set(self, file: &Path) {
        // A rename, so that no process reads an incomplete word.
        let new = file.with_extension("new");
        fs::write(&new, self.word()).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// Returns whether this is the behaviour in every process.
    pub(crate) fn is_set(self, file: &Path) -> bool {
        Self::current(file) == self
    }

    fn current(file: &Path) -> Self {
        let word = fs::read_to_string(file).unwrap();
        Self::ALL.into_iter().find(|behaviour| behaviour.word() == word).unwrap()
    }

    fn is_attached(self) -> bool {
        !matches!(self, Self::Unplugged | Self::Vanished)
    }

    fn sends(self) -> bool {
        !matches!(self, Self::Silent | Self::Unplugged | Self::Vanished)
    }
}

const fn option(of_color: bool, option: rs2::rs2_option, range: [f32; 4]) -> SoftwareOption {
    SoftwareOption { of_color, option, range, writable: true }
}

/// The options of the front camera.
const OPTIONS: [SoftwareOption; 4] = [
    option(false, rs2::rs2_option_RS2_OPTION_EXPOSURE, [1.0, 200_000.0, 1.0, 8500.0]),
    option(false, rs2::rs2_option_RS2_OPTION_GAIN, [16.0, 248.0, 1.0, 16.0]),
    option(false, rs2::rs2_option_RS2_OPTION_ENABLE_AUTO_EXPOSURE, [0.0, 1.0, 1.0, 1.0]),
    option(false, rs2::rs2_option_RS2_OPTION_VISUAL_PRESET, [0.0, 5.0, 1.0, 0.0]),
];

/// The options of the rear camera.
const MORE_OPTIONS: [SoftwareOption; 8] = [
    OPTIONS[0],
    OPTIONS[1],
    OPTIONS[2],
    OPTIONS[3],
    option(false, rs2::rs2_option_RS2_OPTION_LASER_POWER, [0.0, 360.0, 30.0, 150.0]),
    option(true, rs2::rs2_option_RS2_OPTION_EXPOSURE, [1.0, 10_000.0, 1.0, 156.0]),
    option(true, rs2::rs2_option_RS2_OPTION_HUE, [-180.0, 180.0, 1.0, 0.0]),
    SoftwareOption {
        writable: false,
        ..option(false, rs2::rs2_option_RS2_OPTION_ASIC_TEMPERATURE, [-40.0, 125.0, 0.0, 0.0])
    },
];

/// Returns the file that controls the cameras.
pub(crate) fn file() -> PathBuf {
    std::env::var_os(FILE).unwrap().into()
}

/// This process's view of the attached cameras.
pub(crate) struct Cameras {
    front: SoftwareCamera,
    rear: SoftwareCamera,
    behaviour: Behaviour,
    /// The number of the next frame of each.
    front_number: u32,
    rear_number: u32,
    contexts: Vec<Context>,
}

/// A context that is not deleted, and the cameras that it finds.
struct Context {
    pointer: NonNull<rs2::rs2_context>,
    _plugged: Vec<Plugged>,
    watcher: Option<Watcher>,
}

/// The callback of a context for devices that come and go.
#[derive(Clone, Copy)]
struct Watcher {
    callback: DevicesChanged,
    user: *mut c_void,
}

/// `rs2_devices_changed_callback_ptr`: the removed devices, the added ones, and the user's pointer.
pub(crate) type DevicesChanged =
    unsafe extern "C" fn(*mut rs2::rs2_device_list, *mut rs2::rs2_device_list, *mut c_void);

// SAFETY: librealsense's objects may be used from any thread, by one at a time, which the lock of `Cameras` ensures.
#[allow(unsafe_code)]
unsafe impl Send for Cameras {}

/// Locks the cameras, which start with the first call.
pub(crate) fn cameras() -> MutexGuard<'static, Cameras> {
    static CAMERAS: OnceLock<Mutex<Cameras>> = OnceLock::new();
    let begin = || {
        std::thread::spawn(run);
        Mutex::new(Cameras::new())
    };
    CAMERAS.get_or_init(begin).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the cameras until the process ends.
fn run() {
    loop {
        cameras().step();
        std::thread::sleep(PERIOD);
    }
}

impl Cameras {
    fn new() -> Self {
        let scene = Scene {
            identity: Identity::D405,
            width: 64,
            height: 48,
            frames_per_second: 90,
            color_delay_millis: 0.0,
            infrared: None,
            infrared_2: false,
            motion: false,
            extra: &[],
            also: &[],
            one_sensor: false,
            options: &OPTIONS,
            begin_millis: None,
            unsettled: 0,
            wall_meters: None,
        };
        Self {
            front: SoftwareCamera::new(scene),
            rear: SoftwareCamera::new(Scene { identity: Identity::D435, options: &MORE_OPTIONS, ..scene }),
            behaviour: Behaviour::current(&file()),
            front_number: 0,
            rear_number: 0,
            contexts: Vec::new(),
        }
    }

    fn step(&mut self) {
        self.follow();
        if self.behaviour.sends() {
            self.front.send_depth(self.front_number);
            self.front_number += 1;
        }
        self.rear.send_depth(self.rear_number);
        self.rear_number += 1;
    }

    /// Applies changes of the file since the last call.
    #[allow(unsafe_code)]
    pub(crate) fn follow(&mut self) {
        let behaviour = Behaviour::current(&file());
        if behaviour == self.behaviour {
            return;
        }
        self.behaviour = behaviour;
        match behaviour {
            Behaviour::Skips => self.front_number += SKIPPED,
            Behaviour::Repeats => self.front.send_depth(self.front_number - 1),
            Behaviour::Notifies => {
                for (severity, text) in NOTIFICATIONS {
                    self.front.notify(severity, text);
                    self.rear.notify(severity, text);
                }
            }
            _ => {}
        }
        if behaviour == Behaviour::Unplugged {
            for Watcher { callback, user } in self.contexts.iter().filter_map(|context| context.watcher) {
                // SAFETY: the arguments are those that the watcher was registered for, and it owns the list.
                unsafe { callback(list_of(&self.front), std::ptr::null_mut(), user) };
            }
        }
    }

    /// Returns whether the device refuses to be set. It may be unplugged by that.
    pub(crate) fn refuses(&mut self) -> bool {
        self.follow();
        if self.behaviour == Behaviour::LeavesWhenSet {
            Behaviour::Unplugged.set(&file());
            self.follow();
            return true;
        }
        self.behaviour == Behaviour::Refuses
    }

    /// Attaches the cameras to a new context.
    ///
    /// # Safety
    /// The context is alive until [`Self::remove`].
    #[allow(unsafe_code)]
    pub(crate) unsafe fn add(&mut self, pointer: NonNull<rs2::rs2_context>) {
        self.follow();
        // SAFETY: the caller ensures it.
        let plug = |camera: &SoftwareCamera| unsafe { camera.plug_into(pointer) };
        let attached = self.behaviour.is_attached().then_some(&self.front).into_iter().chain([&self.rear]);
        self.contexts.push(Context { pointer, _plugged: attached.map(plug).collect(), watcher: None });
    }

    /// Registers the callback of a context.
    pub(crate) fn watch(
        &mut self,
        pointer: *const rs2::rs2_context,
        callback: DevicesChanged,
        user: *mut c_void,
    ) {
        let of = |context: &&mut Context| context.pointer.as_ptr().cast_const() == pointer;
        let context = self.contexts.iter_mut().find(of).unwrap();
        context.watcher = Some(Watcher { callback, user });
    }

    /// Removes a context, which is about to be deleted.
    pub(crate) fn remove(&mut self, pointer: *mut rs2::rs2_context) {
        self.contexts.retain(|context| context.pointer.as_ptr() != pointer);
    }
}
