//! Tests of options that are set while a camera runs.

use camrig::{Control, ControlRange, ControlValue};

use super::settings::{ANY, D405, D435};
use super::software::{Scene, SoftwareCamera};
use super::{file, open_among, options, record, start, wait};
use crate::driver::{Grabbed, Grabber};

fn running(scene: Scene) -> (SoftwareCamera, Grabber) {
    let camera = SoftwareCamera::new(scene);
    let mut grabber = Grabber::new(open_among(&options(ANY), &[&camera]).unwrap());
    grabber.start().unwrap();
    (camera, grabber)
}

/// Returns each control as a line.
fn lines(controls: &[Control]) -> Vec<String> {
    let line = |control: &Control| {
        let Control { name, key, unit, range, default, value, read_only, .. } = control;
        let value = value.as_ref().unwrap();
        let read_only = if *read_only { ", read-only" } else { "" };
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        format!("{name} [{key}] = {value}{unit}, {range}, default {default}{read_only}")
    };
    let mut lines: Vec<_> = controls.iter().map(line).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_options_of_all_sensors_are_listed() {
    let (_camera, grabber) = running(D435);
    let (fixed, controls): (Vec<_>, Vec<_>) =
        grabber.camera.controls().into_iter().partition(|control| !control.live);
    let fixed: Vec<_> = fixed.iter().map(|control| &*control.name).collect();
    assert_eq!(fixed, ["frames_queue_size", "depth_units", "color.frames_queue_size"]);
    assert_eq!(
        lines(&controls),
        [
            "asic_temperature [set.asic_temperature] = 0 degrees C, -40 to 125, default 0, read-only",
            "color.exposure [set_color.exposure] = 156 100 us, 1 to 10000 in steps of 1, default 156",
            "color.hue [set_color.hue] = 0, -180 to 180 in steps of 1, default 0",
            "enable_auto_exposure [set.enable_auto_exposure] = true, `true` or `false`, default true",
            "exposure [set.exposure] = 8500 us, 1 to 200000 in steps of 1, default 8500",
            "laser_power [set.laser_power] = 150 mW, 0 to 360 in steps of 30, default 150",
            "visual_preset [set.visual_preset] = \"Custom\", one of \"Custom\", \"Default\", \"Hand\", \
             \"High Accuracy\", \"High Density\", \"Medium Density\", default \"Custom\"",
        ]
    );
    assert!(controls.iter().all(|control| !control.description.is_empty()), "{controls:?}");
}

/// The values to try of a control: its ends and its names.
fn values(range: &ControlRange) -> Vec<ControlValue> {
    match range {
        ControlRange::Switch => [false, true].map(ControlValue::Switch).to_vec(),
        ControlRange::Number { min, max, step } => {
            [*min, *max, min + step].map(ControlValue::Number).to_vec()
        }
        ControlRange::Choice(names) => names.iter().cloned().map(ControlValue::Name).collect(),
        ControlRange::File => Vec::new(),
    }
}

#[test]
fn every_option_is_set_and_read_back_while_frames_flow() {
    for scene in [D435, D405, Scene { motion: true, ..D435 }] {
        let (camera, mut grabber) = running(scene);
        let mut number = 0;
        for control in grabber.camera.controls().into_iter().filter(|it| it.live && !it.read_only) {
            for value in values(&control.range) {
                let name = &control.name;
                assert_eq!(grabber.camera.set(name, &value).unwrap(), value, "{name}");
                let controls = grabber.camera.controls();
                let own = controls.into_iter().find(|own| own.name == *name).unwrap();
                assert_eq!(own.value, Some(value), "{name}");
                camera.send_depth(number);
                let Ok(Grabbed::FrameSet { headers, .. }) = wait(&mut grabber) else { panic!() };
                assert_eq!(headers[0].number, u64::from(number));
                number += 1;
            }
        }
        assert!(number > 5);
    }
}

#[test]
fn wrong_values_are_refused_with_the_choices() {
    let (_camera, mut grabber) = running(D435);
    let number = ControlValue::Number;
    for (name, value, message) in [
        (
            "exposure",
            number(0.0),
            "option `exposure` of camera `000000000043` is 0: it must be 1 to 200000 in steps of 1",
        ),
        (
            "laser_power",
            number(31.0),
            "option `laser_power` of camera `000000000043` is 31: it must be 0 to 360 in steps of 30",
        ),
        (
            "color.hue",
            ControlValue::Name("red".into()),
            "option `color.hue` of camera `000000000043` is \"red\": it must be -180 to 180 in steps of 1",
        ),
        ("asic_temperature", number(20.0), "option `asic_temperature` of camera `000000000043` is read-only"),
        (
            "frames_queue_size",
            number(2.0),
            "option `frames_queue_size` of camera `000000000043` cannot be set while the camera runs",
        ),
        (
            "visual_preset",
            ControlValue::Name("best".into()),
            "option `visual_preset` of camera `000000000043` is \"best\": expected one of: \"custom\", \"default\", \
             \"hand\", \"high accuracy\", \"high density\", \"medium density\"",
        ),
    ] {
        assert_eq!(grabber.camera.set(name, &value).unwrap_err().to_string(), message);
    }
    let unknown = grabber.camera.set("iso", &number(1.0)).unwrap_err().to_string();
    assert!(unknown.starts_with("camera `000000000043` has no option `iso`; it has: `"), "{unknown}");
    assert!(unknown.contains("`exposure`") && unknown.contains("`color.hue`"), "{unknown}");
}

#[test]
fn a_recording_has_no_option_to_set() {
    let bag = record("controls.bag", 2);
    let mut grabber = start(&file(&bag.0));
    let controls = grabber.camera.controls();
    assert!(controls.iter().all(|control| control.read_only && !control.live), "{controls:?}");
    let name = controls.first().map_or("exposure", |control| &*control.name);
    assert!(grabber.camera.set(name, &ControlValue::Number(1.0)).is_err());
}
