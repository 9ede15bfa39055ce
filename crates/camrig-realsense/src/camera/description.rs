//! The description of an open camera: its streams with their intrinsics and positions, and warnings about it.

use camrig::Device;
use camrig::frame::{CameraInfo, Extrinsics, Stream, StreamInfo};
use realsense_rust::kind::Rs2Option;

use super::RealSenseCamera;
use crate::convert::pinhole;
use crate::find::describe;
use crate::profiles::{Candidate, candidates, other_profiles};
use crate::streams::is_motion;
use crate::sys::OpenSensor;

/// The depth unit of all D400 cameras except the D405, which reports its own.
const USUAL_DEPTH_UNIT_METERS: f32 = 0.001;

impl RealSenseCamera {
    /// Returns warnings about the device. Only a check logs them, before each start; other opens of the device do not
    /// repeat them.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let (candidates, left_out) = candidates(&self.sensors);
        let mut warnings = Vec::new();
        if self.playback.is_some() {
            let unknown = left_out.into_iter();
            warnings
                .extend(unknown.map(|it| format!("{it} is ignored: its kind, format or size is unknown")));
            let others = other_profiles(&candidates, &self.chosen).into_iter();
            warnings
                .extend(others.map(|it| format!("{it} is ignored: another profile of its stream is played")));
        }
        let has_depth = self.chosen.iter().any(|chosen| chosen.stream == Stream::DEPTH);
        if has_depth && self.depth_unit_meters().is_none() {
            warnings.push(format!("its depth unit is not known; {USUAL_DEPTH_UNIT_METERS} m is assumed"));
        }
        if self.playback.is_none() {
            let calibrated = self.chosen.iter().filter(|chosen| !is_motion(chosen.stream));
            let uncalibrated = calibrated.filter_map(|chosen| {
                let profile = self.sensors[chosen.sensor].profile(chosen.index)?;
                Some((chosen.stream, profile.get().intrinsics().err()?))
            });
            warnings.extend(uncalibrated.map(|(stream, error)| {
                format!(
                    "its calibration of {stream} cannot be read, and is missing in every frameset: {error}"
                )
            }));
        }
        warnings.into_iter().map(|warning| format!("{}: {warning}", self.subject)).collect()
    }

    /// Returns the static description of the camera.
    pub(crate) fn info(&self) -> CameraInfo {
        let Device { model, serial, firmware, usb_type, .. } = describe(&self.device);
        let mut streams: Vec<_> = self.chosen.iter().map(|chosen| self.stream_info(chosen)).collect();
        self.chain.update(&mut streams);
        let depth_unit_meters = self.depth_unit_meters().unwrap_or(USUAL_DEPTH_UNIT_METERS);
        CameraInfo {
            name: String::new(),
            driver: String::new(),
            serial,
            model,
            firmware,
            usb_type,
            depth_unit_meters,
            streams,
            pose: None,
        }
    }

    fn stream_info(&self, chosen: &Candidate) -> StreamInfo {
        let profile = self.sensors[chosen.sensor].profile(chosen.index);
        let place = self.chain.place_of_depth();
        let depth = self.chosen.iter().find(|it| it.stream == place);
        // If no depth stream is chosen, any depth profile has the same viewpoint.
        let depth = depth.map(|it| (it.sensor, it.index)).or_else(|| self.any_depth());
        let depth = depth.and_then(|(sensor, index)| self.sensors[sensor].profile(index));
        let intrinsics = profile.as_ref().and_then(|profile| profile.get().intrinsics().ok());
        let to_depth = match (&profile, &depth) {
            _ if chosen.stream == place => Some(Extrinsics::IDENTITY),
            (Some(own), Some(depth)) => own.get().extrinsics(depth.get()).ok().map(|extrinsics| Extrinsics {
                rotation: extrinsics.rotation(),
                translation_meters: extrinsics.translation(),
            }),
            _ => None,
        };
        StreamInfo {
            intrinsics: intrinsics.and_then(|intrinsics| pinhole(&intrinsics.0)),
            to_depth,
            ..chosen.info()
        }
    }

    fn any_depth(&self) -> Option<(usize, usize)> {
        let (candidates, _) = candidates(&self.sensors);
        let depth = candidates.iter().find(|it| it.stream == Stream::DEPTH)?;
        Some((depth.sensor, depth.index))
    }

    /// Returns the present depth unit; `None` if the device has none.
    pub(super) fn depth_unit_meters(&self) -> Option<f32> {
        let units = |sensor: &OpenSensor| sensor.with_view(|view| view.get_option(Rs2Option::DepthUnits));
        self.sensors.iter().find_map(units).filter(|unit| unit.is_finite() && *unit > 0.0)
    }
}
