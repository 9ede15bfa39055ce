//! Devices: cameras, and players of files.

use std::ffi::{CString, c_int};
use std::path::Path;
use std::ptr::NonNull;

use realsense_rust::device::Device;
use realsense_sys as rs2;

use super::messages::Messages;
use super::sensor::OpenSensor;
use super::watch::Watch;
use super::{Context, Fault, call, create};

/// A camera or a player. It is dropped after its sensors.
pub(crate) struct OpenDevice {
    /// Dropped before the device.
    watch: Option<Watch>,
    /// Its place among the devices that librealsense's messages are about.
    messages: Option<Messages>,
    /// The pointer that `device` owns.
    pointer: NonNull<rs2::rs2_device>,
    device: Device,
}

impl OpenDevice {
    pub(super) fn new(pointer: NonNull<rs2::rs2_device>) -> Self {
        Self { watch: None, messages: None, pointer, device: Device::from(pointer) }
    }

    /// Returns a player.
    pub(super) fn player(pointer: NonNull<rs2::rs2_device>, messages: Messages) -> Self {
        Self { messages: Some(messages), ..Self::new(pointer) }
    }

    /// Logs the notifications of `sensors`, which are this device's, as those of `subject`.
    pub(crate) fn log_notifications(&mut self, subject: &str, sensors: &[OpenSensor]) {
        let messages = self.messages.get_or_insert_with(|| Messages::of(subject));
        for sensor in sensors {
            // SAFETY: the sensor is alive.
            if let Err(fault) = unsafe { messages.notify(sensor.pointer()) } {
                log::debug!("{subject}: a sensor has no notifications: {fault}");
            }
        }
    }

    /// Returns the reason why a player stopped before the end of its file, if it did.
    pub(crate) fn play_error(&self) -> Option<String> {
        self.messages.as_ref().and_then(Messages::error)
    }

    pub(super) fn pointer(&self) -> NonNull<rs2::rs2_device> {
        self.pointer
    }

    /// Returns realsense-rust's view of it.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the sensors; none if the device is unplugged.
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

    /// Registers for the event that the device is unplugged, as long as `context`, which found it, lives.
    pub(crate) fn watch(&mut self, context: &Context) -> Result<(), Fault> {
        // SAFETY: the watch is a field before the device, so it drops first.
        self.watch = Some(unsafe { Watch::new(context, self.pointer()) }?);
        Ok(())
    }

    /// Returns whether the device was unplugged since [`watch`](Self::watch).
    pub(crate) fn is_gone(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::is_gone)
    }

    /// Returns whether the camera accepts presets: every D400 does.
    pub(crate) fn takes_presets(&self) -> bool {
        self.is_extendable_to(rs2::rs2_extension_RS2_EXTENSION_SERIALIZABLE)
    }

    /// Returns whether all that the camera accepts is new firmware, since it has none that works.
    pub(crate) fn is_in_recovery(&self) -> bool {
        self.is_extendable_to(rs2::rs2_extension_RS2_EXTENSION_UPDATE_DEVICE)
    }

    fn is_extendable_to(&self, extension: rs2::rs2_extension) -> bool {
        let device = self.pointer.as_ptr();
        // SAFETY: `device` keeps the device alive.
        call(|error| unsafe { rs2::rs2_is_device_extendable_to(device, extension, error) })
            .is_ok_and(|is| is != 0)
    }

    /// Applies a preset, the text of a JSON file from realsense-viewer.
    pub(crate) fn load_preset(&self, json: &str) -> Result<(), Fault> {
        let size = u32::try_from(json.len()).map_err(|_| Fault::new("the preset is too large"))?;
        // SAFETY: `device` keeps the device alive; librealsense copies the text, which has `size` bytes.
        call(|error| unsafe { rs2::rs2_load_json(self.pointer.as_ptr(), json.as_ptr().cast(), size, error) })
    }

    /// Returns the present options as the text of a preset.
    pub(crate) fn preset(&self) -> Result<String, Fault> {
        struct Text(NonNull<rs2::rs2_raw_data_buffer>);
        impl Drop for Text {
            fn drop(&mut self) {
                // SAFETY: the buffer is this guard's own, and deleted once.
                unsafe { rs2::rs2_delete_raw_data(self.0.as_ptr()) }
            }
        }

        // SAFETY: `device` keeps the device alive.
        let text = Text(create(|error| unsafe { rs2::rs2_serialize_json(self.pointer.as_ptr(), error) })?);
        // SAFETY: the buffer is alive.
        let size = call(|error| unsafe { rs2::rs2_get_raw_data_size(text.0.as_ptr(), error) })?;
        // SAFETY: the buffer is alive.
        let data = call(|error| unsafe { rs2::rs2_get_raw_data(text.0.as_ptr(), error) })?;
        let size = usize::try_from(size).unwrap_or(0);
        if data.is_null() || size == 0 {
            return Err(Fault::new("it is empty"));
        }
        // SAFETY: librealsense's buffer of this size lives as long as `text`.
        let bytes = unsafe { std::slice::from_raw_parts(data, size) };
        let text = str::from_utf8(bytes).map_err(|_| Fault::new("it is not UTF-8"))?;
        Ok(text.trim_end_matches('\0').to_owned())
    }

    /// Resets the camera as if it was unplugged and plugged in again, which takes some seconds.
    pub(crate) fn hardware_reset(&self) -> Result<(), Fault> {
        // SAFETY: `device` keeps the device alive.
        call(|error| unsafe { rs2::rs2_hardware_reset(self.pointer.as_ptr(), error) })
    }

    /// Returns a device like this one whose sensors also record into a file. The file's index is written when the device is
    /// dropped, after its sensors.
    pub(crate) fn record(&self, path: &Path) -> Result<Self, Fault> {
        let path = CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| Fault::new("the file's name contains a zero byte"))?;
        // SAFETY: `device` keeps the device alive, and the recorder shares its ownership; librealsense copies the
        // path, which ends with a zero. 1 is to compress, as librealsense's own tools do.
        create(|error| unsafe {
            rs2::rs2_create_record_device_ex(self.pointer.as_ptr(), path.as_ptr(), 1, error)
        })
        .map(Self::new)
    }

    /// Sets whether a player plays at the recorded pace, or waits until its frames are taken.
    pub(crate) fn set_real_time(&self, real_time: bool) -> Result<(), Fault> {
        let (device, real_time) = (self.pointer.as_ptr(), c_int::from(real_time));
        // SAFETY: `device` keeps the device alive. The call fails for a live camera.
        call(|error| unsafe { rs2::rs2_playback_device_set_real_time(device, real_time, error) })
    }

    /// Pauses a player, even when its sensors start, until [`Self::resume`].
    pub(crate) fn pause(&self) -> Result<(), Fault> {
        // SAFETY: as in `set_real_time`.
        call(|error| unsafe { rs2::rs2_playback_device_pause(self.pointer.as_ptr(), error) })
    }

    /// Ends [`Self::pause`].
    pub(crate) fn resume(&self) -> Result<(), Fault> {
        // SAFETY: as in `set_real_time`.
        call(|error| unsafe { rs2::rs2_playback_device_resume(self.pointer.as_ptr(), error) })
    }

    /// Returns the duration of a player's file, in nanoseconds.
    pub(crate) fn duration_nanos(&self) -> Result<u64, Fault> {
        // SAFETY: as in `set_real_time`.
        call(|error| unsafe { rs2::rs2_playback_get_duration(self.pointer.as_ptr(), error) })
    }

    /// Returns the time of the newest frame of a player, in nanoseconds from the file's begin.
    pub(crate) fn position_nanos(&self) -> Result<u64, Fault> {
        // SAFETY: as in `set_real_time`.
        call(|error| unsafe { rs2::rs2_playback_get_position(self.pointer.as_ptr(), error) })
    }

    /// Returns whether a player has reached its end.
    pub(crate) fn is_stopped(&self) -> Result<bool, Fault> {
        let device = self.pointer.as_ptr();
        // SAFETY: as in `set_real_time`.
        let status = call(|error| unsafe { rs2::rs2_playback_device_get_current_status(device, error) })?;
        Ok(status == rs2::rs2_playback_status_RS2_PLAYBACK_STATUS_STOPPED)
    }
}
