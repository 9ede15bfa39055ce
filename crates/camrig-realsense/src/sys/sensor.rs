//! Sensors and their profiles.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::ptr::NonNull;

use realsense_rust::sensor::Sensor;
use realsense_rust::stream_profile::StreamProfile;
use realsense_sys as rs2;

use super::block::name_of;
use super::frame::{Sink, on_frame};
use super::option::{OptionsView, constant};
use super::profile::{ProfileData, described};
use super::{Fault, call, create};

/// A sensor with its profiles. It is stopped and closed when it is dropped.
pub(crate) struct OpenSensor {
    pointer: NonNull<rs2::rs2_sensor>,
    /// Owns the profiles in `profiles`.
    list: NonNull<rs2::rs2_stream_profile_list>,
    profiles: Vec<(ProfileData, NonNull<rs2::rs2_stream_profile>)>,
    opened: bool,
    /// The sink of the callback, from `start` until no callback can run any more.
    sink: Option<NonNull<Sink>>,
}

impl OpenSensor {
    pub(super) fn new(pointer: NonNull<rs2::rs2_sensor>) -> Result<Self, Fault> {
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
            if let Some(data) = described(profile) {
                sensor.profiles.push((data, profile));
            }
        }
        Ok(sensor)
    }

    pub(super) fn pointer(&self) -> NonNull<rs2::rs2_sensor> {
        self.pointer
    }

    /// Returns its options.
    pub(crate) fn options(&self) -> OptionsView<'_> {
        // SAFETY: every sensor of librealsense begins with its options, and this one is alive while borrowed.
        unsafe { OptionsView::new(self.pointer.as_ptr().cast_const().cast()) }
    }

    /// Returns the profiles; other calls identify a profile by its index here.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = ProfileData> + '_ {
        self.profiles.iter().map(|(data, _)| *data)
    }

    /// Returns realsense-rust's view of a profile; `None` for streams and formats on which it would panic.
    pub(crate) fn profile(&self, index: usize) -> Option<ProfileView<'_>> {
        let (data, pointer) = self.profiles.get(index)?;
        let known =
            data.stream < rs2::rs2_stream_RS2_STREAM_COUNT && data.format < rs2::rs2_format_RS2_FORMAT_COUNT;
        let view = known.then(|| StreamProfile::try_from(*pointer).ok()).flatten()?;
        Some(ProfileView { view, _owner: PhantomData })
    }

    /// Calls `look` with realsense-rust's view of the sensor.
    pub(crate) fn with_view<T>(&self, look: impl FnOnce(&Sensor) -> T) -> T {
        // A `Sensor` made from a pointer does not own it, so it can be dropped.
        look(&Sensor::from(self.pointer))
    }

    /// Returns librealsense's names of the filters that the sensor recommends, in their order; empty if it recommends none.
    pub(crate) fn recommended_blocks(&self) -> Vec<String> {
        struct List(NonNull<rs2::rs2_processing_block_list>);
        impl Drop for List {
            fn drop(&mut self) {
                // SAFETY: the list is this guard's own, and deleted once.
                unsafe { rs2::rs2_delete_recommended_processing_blocks(self.0.as_ptr()) }
            }
        }

        // SAFETY: the sensor is alive.
        let list = create(|error| unsafe {
            rs2::rs2_get_recommended_processing_blocks(self.pointer.as_ptr(), error)
        });
        let Ok(owner) = list.map(List) else { return Vec::new() };
        let list = owner.0.as_ptr();
        // SAFETY: the list is alive.
        let count = call(|error| unsafe { rs2::rs2_get_recommended_processing_blocks_count(list, error) });
        let name = |index| {
            // SAFETY: the list is alive and has `count` entries; the block is ours and deleted once.
            unsafe {
                let block = create(|error| rs2::rs2_get_processing_block(list, index, error)).ok()?;
                let name = name_of(block);
                rs2::rs2_delete_processing_block(block.as_ptr());
                name
            }
        };
        (0..count.unwrap_or(0)).filter_map(name).collect()
    }

    /// Returns whether auto exposure can be limited to a region.
    pub(crate) fn has_exposure_region(&self) -> bool {
        let (sensor, roi) = (self.pointer.as_ptr(), rs2::rs2_extension_RS2_EXTENSION_ROI);
        // SAFETY: the sensor is alive.
        call(|error| unsafe { rs2::rs2_is_sensor_extendable_to(sensor, roi, error) }).is_ok_and(|is| is != 0)
    }

    /// Limits auto exposure to a region: left, top, right and bottom, in pixels.
    pub(crate) fn set_exposure_region(&self, region: [u32; 4]) -> Result<(), Fault> {
        let [left, top, right, bottom] = region.map(|side| side as c_int);
        // SAFETY: the sensor is alive.
        call(|error| unsafe {
            rs2::rs2_set_region_of_interest(self.pointer.as_ptr(), left, top, right, bottom, error);
        })
    }

    /// Opens the sensor with the profiles at `indices`.
    pub(crate) fn open(&mut self, indices: &[usize]) -> Result<(), Fault> {
        let mut profiles: Vec<*const rs2::rs2_stream_profile> =
            indices.iter().map(|&index| self.profiles[index].1.as_ptr().cast_const()).collect();
        let (sensor, count) = (self.pointer.as_ptr(), profiles.len() as c_int);
        // SAFETY: the sensor is alive, the array has `count` profiles, and `list` keeps them alive.
        call(|error| unsafe { rs2::rs2_open_multiple(sensor, profiles.as_mut_ptr(), count, error) })?;
        self.opened = true;
        Ok(())
    }

    /// Returns whether it is open.
    pub(crate) fn is_open(&self) -> bool {
        self.opened
    }

    /// Starts sending frames to `sink`, from librealsense's threads.
    pub(crate) fn start(&mut self, sink: Sink) -> Result<(), Fault> {
        // `silence` has to be called before, so that a sink in use is never replaced.
        assert!(self.sink.is_none(), "a sensor starts once");
        let sink = NonNull::from(Box::leak(Box::new(sink)));
        self.sink = Some(sink);
        // SAFETY: the sensor is alive. The callback gets `sink`, which lives until `silence` has seen that no
        // callback can run any more.
        call(|error| unsafe {
            rs2::rs2_start(self.pointer.as_ptr(), Some(on_frame), sink.as_ptr().cast(), error);
        })
    }

    /// Stops and closes the sensor. Afterwards no callback runs, and none will.
    ///
    /// The caller has to ensure that no callback waits for space in the queue, by receiving or by having dropped the receiver.
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
            // way have returned, and closing joins the threads that could make another, so nothing uses it.
            drop(unsafe { Box::from_raw(sink.as_ptr()) });
        }
        // Otherwise a failed device may still call back: leaking a few bytes is better.
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

/// realsense-rust's view of a profile, which the borrowed sensor keeps alive.
pub(crate) struct ProfileView<'a> {
    view: StreamProfile,
    _owner: PhantomData<&'a OpenSensor>,
}

impl ProfileView<'_> {
    /// Returns the view.
    pub(crate) fn get(&self) -> &StreamProfile {
        &self.view
    }
}

/// Returns librealsense's name of a format, in lower case.
pub(crate) fn format_name(format: rs2::rs2_format) -> String {
    // SAFETY: any number is allowed, and the name is a constant.
    let name = unsafe { rs2::rs2_format_to_string(format) };
    constant(name).map_or_else(|| format!("format {format}"), |name| name.to_lowercase())
}

/// Returns librealsense's name of a kind of stream, as one word in lower case.
pub(crate) fn stream_kind_name(kind: rs2::rs2_stream) -> String {
    // SAFETY: any number is allowed, and the name is a constant.
    let name = constant(unsafe { rs2::rs2_stream_to_string(kind) }).unwrap_or_default().to_lowercase();
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' ');
    if is_name && name != "unknown" { name.replace(' ', "-") } else { format!("kind-{kind}") }
}
