//! The calls of librealsense that realsense-rust lacks, and all of this crate's `unsafe`.
//!
//! realsense-rust knows contexts, devices, sensors, profiles and frames, and serves here wherever it can. It
//! has no call to open and start a sensor, to pause a player or to keep a frame, and it shows none of its
//! pointers. So this module makes devices and sensors itself and hands out realsense-rust's views of them.
//! It deliberately knows no options, no framesets and no policy: only what is sound.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int, c_void};
use std::marker::PhantomData;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::mpsc::{SyncSender, TrySendError};

use realsense_rust::device::Device;
use realsense_rust::frame::ImageFrame;
use realsense_rust::sensor::Sensor;
use realsense_rust::stream_profile::StreamProfile;
use realsense_sys as rs2;

/// Why librealsense refused, in its own words.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fault(String);

impl Fault {
    fn new(message: &str) -> Self {
        // One line, whatever librealsense has to say.
        Self(message.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// Makes one call that reports through librealsense's error pointer.
fn call<T>(call: impl FnOnce(*mut *mut rs2::rs2_error) -> T) -> Result<T, Fault> {
    let mut error = ptr::null_mut();
    let value = call(&raw mut error);
    if error.is_null() {
        return Ok(value);
    }
    // SAFETY: librealsense set the pointer, so it owns an error whose message lives until it is freed, which
    // happens once, here.
    let message = unsafe {
        let message = CStr::from_ptr(rs2::rs2_get_error_message(error)).to_string_lossy().into_owned();
        rs2::rs2_free_error(error);
        message
    };
    Err(Fault::new(&message))
}

/// As [`call`], for calls that give a new object.
fn create<T>(make: impl FnOnce(*mut *mut rs2::rs2_error) -> *mut T) -> Result<NonNull<T>, Fault> {
    NonNull::new(call(make)?).ok_or_else(|| Fault::new("librealsense gave nothing, and no reason"))
}

/// librealsense's entry: finds cameras, opens files.
pub(crate) struct Context(NonNull<rs2::rs2_context>);

impl Context {
    pub(crate) fn new() -> Result<Self, Fault> {
        // SAFETY: no precondition but the version that the bindings were made for.
        create(|error| unsafe { rs2::rs2_create_context(rs2::RS2_API_VERSION as c_int, error) }).map(Self)
    }

    /// A device that plays a file. Fails at once where the file is not a complete recording.
    pub(crate) fn open_file(&self, path: &Path) -> Result<OpenDevice, Fault> {
        let path = CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| Fault::new("the file's name contains a zero byte"))?;
        // SAFETY: the context is alive; librealsense copies the path, which ends with a zero.
        create(|error| unsafe { rs2::rs2_context_add_device(self.0.as_ptr(), path.as_ptr(), error) })
            .map(OpenDevice::new)
    }

    /// The attached cameras, or why one of them cannot be opened. Their order is librealsense's.
    pub(crate) fn devices(&self) -> Result<Vec<Result<OpenDevice, Fault>>, Fault> {
        struct List(NonNull<rs2::rs2_device_list>);
        impl Drop for List {
            fn drop(&mut self) {
                // SAFETY: the list is this guard's own, and deleted once. Devices own themselves.
                unsafe { rs2::rs2_delete_device_list(self.0.as_ptr()) }
            }
        }

        // SAFETY: the context is alive.
        let list = List(create(|error| unsafe { rs2::rs2_query_devices(self.0.as_ptr(), error) })?);
        // SAFETY: the list is alive.
        let count = call(|error| unsafe { rs2::rs2_get_device_count(list.0.as_ptr(), error) })?;
        let device = |index| {
            // SAFETY: the list is alive and has `count` entries.
            create(|error| unsafe { rs2::rs2_create_device(list.0.as_ptr(), index, error) })
                .map(OpenDevice::new)
        };
        Ok((0..count).map(device).collect())
    }

    /// Adds a software camera to those that are found, until what is returned drops.
    #[cfg(test)]
    pub(crate) fn plug_in(&self, camera: &crate::tests::software::SoftwareCamera) -> Result<Plugged, Fault> {
        // SAFETY: the context is alive.
        let hub = create(|error| unsafe { rs2::rs2_create_device_hub(self.0.as_ptr(), error) })?;
        let plugged = Plugged(hub);
        // SAFETY: the context and, borrowed, the device are alive; librealsense shares its ownership.
        call(|error| unsafe {
            rs2::rs2_context_add_software_device(self.0.as_ptr(), camera.device().as_ptr(), error);
        })?;
        Ok(plugged)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `new`, deleted once. What was made from it shares ownership of what it needs.
        unsafe { rs2::rs2_delete_context(self.0.as_ptr()) }
    }
}

/// Keeps a software camera among those that a context finds: librealsense itself keeps only a weak pointer.
#[cfg(test)]
pub(crate) struct Plugged(NonNull<rs2::rs2_device_hub>);

#[cfg(test)]
impl Drop for Plugged {
    fn drop(&mut self) {
        // SAFETY: the hub is this guard's own, and deleted once.
        unsafe { rs2::rs2_delete_device_hub(self.0.as_ptr()) }
    }
}

/// A camera or a player. Dropped after its sensors.
pub(crate) struct OpenDevice {
    /// The pointer that `device` owns.
    pointer: NonNull<rs2::rs2_device>,
    device: Device,
}

impl OpenDevice {
    fn new(pointer: NonNull<rs2::rs2_device>) -> Self {
        Self { pointer, device: Device::from(pointer) }
    }

    /// realsense-rust's view of it.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The sensors. A device that is gone has none.
    pub(crate) fn sensors(&self) -> Result<Vec<OpenSensor>, Fault> {
        struct List(NonNull<rs2::rs2_sensor_list>);
        impl Drop for List {
            fn drop(&mut self) {
                // SAFETY: the list is this guard's own, and deleted once. Sensors own themselves.
                unsafe { rs2::rs2_delete_sensor_list(self.0.as_ptr()) }
            }
        }

        // SAFETY: `device` keeps the device alive.
        let list = List(create(|error| unsafe { rs2::rs2_query_sensors(self.pointer.as_ptr(), error) })?);
        // SAFETY: the list is alive.
        let count = call(|error| unsafe { rs2::rs2_get_sensors_count(list.0.as_ptr(), error) })?;
        (0..count)
            // SAFETY: the list is alive and has `count` entries.
            .map(|index| create(|error| unsafe { rs2::rs2_create_sensor(list.0.as_ptr(), index, error) }))
            .map(|sensor| OpenSensor::new(sensor?))
            .collect()
    }

    /// Whether a player keeps the pace of the recording, or waits for its frames to be taken.
    pub(crate) fn set_real_time(&self, real_time: bool) -> Result<(), Fault> {
        let (device, real_time) = (self.pointer.as_ptr(), c_int::from(real_time));
        // SAFETY: `device` keeps the device alive. Of a live camera the call fails.
        call(|error| unsafe { rs2::rs2_playback_device_set_real_time(device, real_time, error) })
    }

    /// Lets a player read nothing, even when its sensors start, until [`Self::resume`].
    pub(crate) fn pause(&self) -> Result<(), Fault> {
        // SAFETY: as in `set_real_time`.
        call(|error| unsafe { rs2::rs2_playback_device_pause(self.pointer.as_ptr(), error) })
    }

    /// Ends [`Self::pause`].
    pub(crate) fn resume(&self) -> Result<(), Fault> {
        // SAFETY: as in `set_real_time`.
        call(|error| unsafe { rs2::rs2_playback_device_resume(self.pointer.as_ptr(), error) })
    }

    /// Whether a player has come to its end.
    pub(crate) fn is_stopped(&self) -> Result<bool, Fault> {
        let device = self.pointer.as_ptr();
        // SAFETY: as in `set_real_time`.
        let status = call(|error| unsafe { rs2::rs2_playback_device_get_current_status(device, error) })?;
        Ok(status == rs2::rs2_playback_status_RS2_PLAYBACK_STATUS_STOPPED)
    }
}

/// A stream that a sensor can give, or that a file holds, in librealsense's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProfileData {
    pub(crate) stream: rs2::rs2_stream,
    pub(crate) index: i32,
    pub(crate) format: rs2::rs2_format,
    pub(crate) width: i32,
    pub(crate) height: i32,
    pub(crate) frames_per_second: i32,
}

/// A sensor with the profiles that it has. Stops and closes itself when it drops.
pub(crate) struct OpenSensor {
    pointer: NonNull<rs2::rs2_sensor>,
    /// Owns what `profiles` points to.
    list: NonNull<rs2::rs2_stream_profile_list>,
    profiles: Vec<(ProfileData, NonNull<rs2::rs2_stream_profile>)>,
    opened: bool,
    /// Where the callback sends, from `start` until the sensor is surely silent.
    sink: Option<NonNull<Sink>>,
}

impl OpenSensor {
    fn new(pointer: NonNull<rs2::rs2_sensor>) -> Result<Self, Fault> {
        // SAFETY: the sensor was just made.
        let list = create(|error| unsafe { rs2::rs2_get_stream_profiles(pointer.as_ptr(), error) });
        let list = list.inspect_err(|_| {
            // SAFETY: the sensor is this function's own, and nothing refers to it.
            unsafe { rs2::rs2_delete_sensor(pointer.as_ptr()) }
        })?;
        let mut sensor = Self { pointer, list, profiles: Vec::new(), opened: false, sink: None };
        // SAFETY: the list is alive.
        let count = call(|error| unsafe { rs2::rs2_get_stream_profiles_count(list.as_ptr(), error) })?;
        for index in 0..count {
            // SAFETY: the list is alive and has `count` entries.
            let profile = create(|error| unsafe {
                rs2::rs2_get_stream_profile(list.as_ptr(), index, error).cast_mut()
            })?;
            // What is no image has no size, and is none of our business.
            if let Some(data) = image_profile(profile) {
                sensor.profiles.push((data, profile));
            }
        }
        Ok(sensor)
    }

    /// The profiles of images; the index of one is how it is named to the other calls.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = ProfileData> + '_ {
        self.profiles.iter().map(|(data, _)| *data)
    }

    /// realsense-rust's view of a profile, if that knows its stream and format: it panics of others.
    pub(crate) fn profile(&self, index: usize) -> Option<ProfileView<'_>> {
        let (data, pointer) = self.profiles.get(index)?;
        let known =
            data.stream < rs2::rs2_stream_RS2_STREAM_COUNT && data.format < rs2::rs2_format_RS2_FORMAT_COUNT;
        let view = known.then(|| StreamProfile::try_from(*pointer).ok()).flatten()?;
        Some(ProfileView { view, _owner: PhantomData })
    }

    /// realsense-rust's view of the sensor.
    pub(crate) fn with_view<T>(&self, look: impl FnOnce(&Sensor) -> T) -> T {
        // A sensor that is made from a pointer does not own it: it may come and go.
        look(&Sensor::from(self.pointer))
    }

    /// Commits the sensor to the profiles at `indices`.
    pub(crate) fn open(&mut self, indices: &[usize]) -> Result<(), Fault> {
        let mut profiles: Vec<*const rs2::rs2_stream_profile> =
            indices.iter().map(|&index| self.profiles[index].1.as_ptr().cast_const()).collect();
        let (sensor, count) = (self.pointer.as_ptr(), profiles.len() as c_int);
        // SAFETY: the sensor is alive, the array has `count` profiles, and `list` keeps them alive.
        call(|error| unsafe { rs2::rs2_open_multiple(sensor, profiles.as_mut_ptr(), count, error) })?;
        self.opened = true;
        Ok(())
    }

    /// Whether it was opened and not silenced since.
    pub(crate) fn is_open(&self) -> bool {
        self.opened
    }

    /// Starts sending frames to `sink`, from threads of librealsense.
    pub(crate) fn start(&mut self, sink: Sink) -> Result<(), Fault> {
        // `silence` has to come first, so that one sink never replaces another that may be in use.
        assert!(self.sink.is_none(), "a sensor starts once");
        let sink = NonNull::from(Box::leak(Box::new(sink)));
        self.sink = Some(sink);
        // SAFETY: the sensor is alive. The callback gets `sink`, which lives until `silence` has seen that no
        // callback can run any more.
        call(|error| unsafe {
            rs2::rs2_start(self.pointer.as_ptr(), Some(on_frame), sink.as_ptr().cast(), error);
        })
    }

    /// Stops and closes the sensor. When it returns no callback runs, and none will.
    ///
    /// Whoever calls it has to see to it that no callback waits for room: by receiving, or by having dropped
    /// the receiver.
    pub(crate) fn silence(&mut self) {
        let sensor = self.pointer.as_ptr();
        // SAFETY: the sensor is alive. Stopping one that has come to its end does nothing.
        let stopped = self.sink.is_none() || call(|error| unsafe { rs2::rs2_stop(sensor, error) }).is_ok();
        // SAFETY: the sensor is alive.
        let closed = !self.opened || call(|error| unsafe { rs2::rs2_close(sensor, error) }).is_ok();
        self.opened = false;
        let Some(sink) = self.sink.take() else { return };
        if stopped && closed {
            // SAFETY: made by `Box::leak` in `start`, taken back once. Stopping ends when the callbacks under
            // way have returned, and closing joins the threads that could make another, so nobody uses it.
            drop(unsafe { Box::from_raw(sink.as_ptr()) });
        }
        // Otherwise a device that failed may still call back: a few bytes are the lesser evil.
    }
}

impl Drop for OpenSensor {
    fn drop(&mut self) {
        self.silence();
        // SAFETY: both are this sensor's own and deleted once; views borrow it, so none is left.
        unsafe {
            rs2::rs2_delete_stream_profiles_list(self.list.as_ptr());
            rs2::rs2_delete_sensor(self.pointer.as_ptr());
        }
    }
}

/// realsense-rust's view of a profile, for as long as the sensor keeps the profile alive.
pub(crate) struct ProfileView<'a> {
    view: StreamProfile,
    _owner: PhantomData<&'a OpenSensor>,
}

impl ProfileView<'_> {
    /// The view.
    pub(crate) fn get(&self) -> &StreamProfile {
        &self.view
    }
}

/// What librealsense says of a profile, if it is one of images.
fn image_profile(profile: NonNull<rs2::rs2_stream_profile>) -> Option<ProfileData> {
    let profile = profile.as_ptr();
    let (mut stream, mut format, mut index, mut unique_id, mut frames_per_second) = (0, 0, 0, 0, 0);
    // SAFETY: the caller's list keeps the profile alive, and each pointer is that of a variable of its type.
    call(|error| unsafe {
        rs2::rs2_get_stream_profile_data(
            profile,
            &raw mut stream,
            &raw mut format,
            &raw mut index,
            &raw mut unique_id,
            &raw mut frames_per_second,
            error,
        );
    })
    .ok()?;
    let (mut width, mut height) = (0, 0);
    // SAFETY: as above. Of a profile that is not of images the call fails.
    call(|error| unsafe {
        rs2::rs2_get_video_stream_resolution(profile, &raw mut width, &raw mut height, error);
    })
    .ok()?;
    Some(ProfileData { stream, index, format, width, height, frames_per_second })
}

/// librealsense's name of a format, in lower case.
pub(crate) fn format_name(format: rs2::rs2_format) -> String {
    // SAFETY: any number is allowed, and the name is a constant.
    let name = unsafe { rs2::rs2_format_to_string(format) };
    if name.is_null() {
        return format!("format {format}");
    }
    // SAFETY: not null, so a constant that ends with a zero.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().to_lowercase()
}

/// Where a sensor's callback sends its frames.
pub(crate) struct Sink {
    pub(crate) sender: SyncSender<Arrived>,
    /// Whether the callback waits for room, which holds up a player that waits for it, or drops the frame.
    pub(crate) wait: bool,
}

/// A frame as it came, with the host's monotonic time.
pub(crate) struct Arrived {
    pub(crate) frame: RawFrame,
    pub(crate) arrival_nanos: u64,
}

/// Called by librealsense for every frame, which it hands over.
extern "C" fn on_frame(frame: *mut rs2::rs2_frame, user: *mut c_void) {
    let Some(frame) = NonNull::new(frame) else { return };
    // SAFETY: the frame is alive and ours. A kept frame no longer counts among those that librealsense hands
    // out at most at once (16 a stream, 32 from a file); its memory is recycled all the same.
    unsafe { rs2::rs2_keep_frame(frame.as_ptr()) };
    let arrived = Arrived { frame: RawFrame(frame), arrival_nanos: camrig::monotonic_nanos() };
    // SAFETY: `start` passed a `Sink` that `silence` frees only after the last callback. It is only read,
    // and a sender may be used from any thread.
    let sink = unsafe { user.cast::<Sink>().as_ref() };
    let Some(sink) = sink else { return };
    // Whatever cannot be sent drops here, and so releases the frame.
    if sink.wait {
        drop(sink.sender.send(arrived));
    } else if let Err(TrySendError::Full(arrived)) = sink.sender.try_send(arrived) {
        drop(arrived);
    }
}

/// A frame that librealsense handed over and nobody has looked at.
pub(crate) struct RawFrame(NonNull<rs2::rs2_frame>);

// SAFETY: a frame's count of references is atomic, and the archive that it returns to has a lock, so that
// any thread may release it; a reference belongs to one thread at a time here.
unsafe impl Send for RawFrame {}

impl RawFrame {
    /// realsense-rust's view of the frame as an image.
    pub(crate) fn into_image(self) -> Result<Image, Fault> {
        let frame = self.0;
        // realsense-rust panics of a frame without pixels.
        // SAFETY: the frame is alive.
        let data = call(|error| unsafe { rs2::rs2_get_frame_data(frame.as_ptr(), error) })?;
        if data.is_null() {
            return Err(Fault::new("a frame has no pixels"));
        }
        // Its constructor leaves the frame alone when it fails, so that `self` releases it.
        let image = ImageFrame::try_from(frame).map_err(|error| Fault::new(&error.to_string()))?;
        // From here on the image releases it.
        std::mem::forget(self);
        let (stride, height, claimed_bytes) = (image.stride(), image.height(), image.get_data_size());
        let size_bytes = stride.saturating_mul(height);
        // A file may claim anything. Software devices, as in the tests, claim 0 for pixels handed to them.
        let vouched_for = cfg!(test) && claimed_bytes == 0;
        if claimed_bytes < size_bytes && !vouched_for {
            let message = format!("a frame has {claimed_bytes} bytes, too few for {height} rows of {stride}");
            return Err(Fault::new(&message));
        }
        Ok(Image { image, size_bytes })
    }
}

impl Drop for RawFrame {
    fn drop(&mut self) {
        // SAFETY: librealsense handed over this reference, and it is released once: `into_image` forgets it.
        unsafe { rs2::rs2_release_frame(self.0.as_ptr()) }
    }
}

/// Any kind of image: what it is of is in its profile.
#[derive(Debug)]
pub(crate) struct AnyImage;

/// An image whose size was checked.
pub(crate) struct Image {
    image: ImageFrame<AnyImage>,
    size_bytes: usize,
}

impl Image {
    /// realsense-rust's view of it.
    pub(crate) fn view(&self) -> &ImageFrame<AnyImage> {
        &self.image
    }

    /// Leaves only the pixels, which may be read from any thread.
    pub(crate) fn into_pixels(self) -> Pixels {
        Pixels(self)
    }
}

/// The pixels of a frame that librealsense holds for us.
pub(crate) struct Pixels(Image);

// SAFETY: all that can be done with `&Pixels` is to read bytes that nobody writes: librealsense has filled
// the frame before it handed it over, and reuses its memory only after the last reference is released, which
// is ours. Dropping it releases the frame, which any thread may do (`ImageFrame` is `Send`).
unsafe impl Sync for Pixels {}

impl Pixels {
    /// The rows from the top, with their padding.
    pub(crate) fn bytes(&self) -> &[u8] {
        let Image { image, size_bytes } = &self.0;
        // SAFETY: the frame is held, so that its memory is alive and unchanged as long as `self`; it has
        // `size_bytes`, as `into_image` checked.
        unsafe {
            let data: *const c_void = image.get_data();
            std::slice::from_raw_parts(data.cast(), *size_bytes)
        }
    }
}
