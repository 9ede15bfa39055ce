//! Tests of options that are set while cameras of a rig run.

use std::fs;
use std::path::Path;

use camrig::{Control, ControlRange, ControlValue};
use camrig_status::ActorState;
use camrig_status::control::{self as socket, Answer, Edit, Edits, Request};
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::cameras::{Behaviour, FILE};
use crate::conformance;
use crate::harness::{Placement, Plan, Rig};
use crate::librealsense::TAKES_PRESETS;
use crate::recovery::{AGAIN, File, UNPLUGGED, fails, wait_for_more};

const RIG: &str = "
[camera.front]
driver = 'realsense'
process = 'front'
options = { serial = '000000000042', depth = '64x48@90' }
stall_timeout_millis = 5000
restart = { max = 9, backoff_millis = 10, backoff_max_millis = 20 }
[camera.rear]
driver = 'realsense'
process = 'rear'
options = { serial = '000000000043', depth = '64x48@90' }
stall_timeout_millis = 5000
[processor.pulse]
kind = 'pulse'
process = 'main'
inputs = ['front', 'rear']
";

/// A rig whose cameras send framesets, and the file that controls them.
struct Lab {
    rig: Rig,
    name: String,
    file: File,
}

impl Lab {
    fn start(placement: Placement) -> Self {
        let file = File::new();
        let plan = Plan::new(RIG, placement).environment(FILE, file.path().to_str().unwrap());
        let mut rig = plan.environment(TAKES_PRESETS, "1").start();
        wait_for_more(&mut rig);
        let pid = format!("-{}-", rig.supervisor().as_raw_nonzero());
        let names = camrig_status::socket::names().unwrap();
        let name = names.into_iter().find(|name| name.contains(&pid)).unwrap();
        Self { rig, name, file }
    }

    fn ask(&self, request: &Request) -> Answer {
        socket::ask(&self.name, request).unwrap()
    }

    /// Sets an option while the camera runs.
    fn set(&self, camera: &str, name: &str, value: &str) -> Answer {
        let settings = vec![(name.to_owned(), value.to_owned())];
        let edits = vec![Edit::Set { name: camera.to_owned(), settings }];
        self.ask(&Request::Edit(Edits { edits, live: true, by: "a test".to_owned(), ..Edits::default() }))
    }

    #[track_caller]
    fn refusal(&self, camera: &str, name: &str, value: &str) -> String {
        match self.set(camera, name, value) {
            Answer::Refused { message, .. } => message,
            answer => panic!("{name} = {value}: {answer:?}"),
        }
    }

    #[track_caller]
    fn controls(&self, camera: &str) -> Vec<Control> {
        match self.ask(&Request::Controls { camera: camera.to_owned(), to_set: false }) {
            Answer::Controls(Ok(controls)) => controls,
            answer => panic!("{answer:?}"),
        }
    }

    /// Returns the present value of an option.
    fn value(&self, camera: &str, name: &str) -> String {
        let controls = self.controls(camera);
        let control = controls.iter().find(|control| control.name == name).unwrap();
        control.value.as_ref().map_or_else(String::new, ToString::to_string)
    }

    /// Stops the rig, and checks that nothing but this was logged, and that the front camera had these restarts.
    fn end(self, said: &[&str], restarts: u64) {
        self.rig.signal(Signal::TERM);
        let ended = self.rig.finish();
        let is_change = |line: &String| line.contains("a test changes the rig: ");
        let lines: Vec<_> = ended.stderr.iter().filter(|line| !is_change(line)).collect();
        assert_eq!(
            (ended.code(), lines),
            (Some(0), said.iter().map(|&line| line.to_owned()).collect::<Vec<_>>().iter().collect())
        );
        ended.assert_settled();
        let report = ended.report();
        assert_eq!((report.actor("front").restarts, report.actor("rear").restarts), (restarts, 0));
        for camera in ["front", "rear"] {
            let link = report.link(camera, "pulse");
            assert_eq!(link.produced, report.actor(camera).produced, "{link:?}");
        }
    }
}

/// The values to try: the ends of a range, one step from its start, and every name.
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

/// Every option of each camera is set to several values, and read back, while framesets flow.
fn every_option(placement: Placement) {
    let mut lab = Lab::start(placement);
    for (camera, options) in [("front", 4), ("rear", 7)] {
        let controls = lab.controls(camera);
        let set = controls.iter().filter(|it| it.live && !it.read_only && it.range != ControlRange::File);
        let set: Vec<_> = set.collect();
        assert_eq!(set.len(), options, "{controls:?}");
        for Control { name, range, .. } in set {
            for value in values(range) {
                let answer = lab.set(camera, name, &value.to_string());
                assert!(matches!(answer, Answer::Changes(_)), "{name} = {value}: {answer:?}");
                assert_eq!(lab.value(camera, name), value.to_string(), "{camera}: {name}");
            }
        }
        wait_for_more(&mut lab.rig);
    }
    lab.end(&[], 0);
}

/// A wrong value names the range and the step; a device that refuses keeps its value; both continue.
fn a_refused_value_changes_nothing(placement: Placement) {
    let mut lab = Lab::start(placement);
    let exposure = "option `exposure` is 0: it must be 1 to 200000 in steps of 1";
    assert_eq!(lab.refusal("front", "exposure", "0"), exposure);
    let power = "option `laser_power` is 31: it must be 0 to 360 in steps of 30";
    assert_eq!(lab.refusal("rear", "laser_power", "31"), power);
    assert_eq!(lab.refusal("rear", "asic_temperature", "20"), "option `asic_temperature` is read-only");
    let names = "\"custom\", \"default\", \"hand\", \"high accuracy\", \"high density\", \"medium density\"";
    let preset = format!(
        "camera `rear`: option `visual_preset` of camera `000000000043` is \"best\": expected one of: {names}"
    );
    assert_eq!(lab.refusal("rear", "visual_preset", "best"), preset);
    let unknown = lab.refusal("front", "iso", "100");
    assert!(unknown.starts_with("camera `000000000042` has no option `iso`; it has: `"), "{unknown}");

    assert!(matches!(lab.set("front", "exposure", "9000"), Answer::Changes(_)));
    lab.file.set(Behaviour::Refuses);
    let refused = lab.refusal("front", "exposure", "20");
    let begin = "camera `front`: option `exposure` of camera `000000000042` cannot be set to 20: ";
    assert!(refused.starts_with(begin), "{refused}");
    lab.file.set(Behaviour::Streams);
    assert_eq!(lab.value("front", "exposure"), "9000");
    assert!(matches!(lab.set("front", "exposure", "20"), Answer::Changes(_)));
    assert_eq!(lab.value("front", "exposure"), "20");
    wait_for_more(&mut lab.rig);
    lab.end(&[], 0);
}

/// A camera that is unplugged while it is set refuses, is waited for, and has the options of before when it is back.
fn unplugged_while_it_is_set(placement: Placement) {
    let mut lab = Lab::start(placement);
    assert!(matches!(lab.set("front", "exposure", "9000"), Answer::Changes(_)));
    lab.file.set(Behaviour::LeavesWhenSet);
    let refused = lab.refusal("front", "exposure", "20");
    assert!(refused.starts_with("camera `front`: "), "{refused}");
    let waits = fails(UNPLUGGED, "waiting for its device");
    lab.rig.wait_for_stderr(&waits);
    // Without a device there is no option to set, only one of the next start.
    assert_eq!(lab.refusal("front", "color.iso", "20"), "camera `front` is not open");
    lab.file.set(Behaviour::Streams);
    lab.rig.wait_for_stderr(AGAIN);
    wait_for_more(&mut lab.rig);
    assert_eq!(lab.value("front", "exposure"), "9000");
    lab.end(&[&waits, AGAIN], 1);
}

/// A paused camera keeps its device: its options can be set, and nothing counts as lost.
fn a_pause(placement: Placement) {
    let mut lab = Lab::start(placement);
    let pause =
        |paused| Request::Pause { cameras: vec!["front".to_owned()], paused, by: "a test".to_owned() };
    assert_eq!(lab.ask(&pause(true)), Answer::Changes(vec!["pause camera `front`".to_owned()]));
    let front = |rig: &mut Rig| {
        let status = rig.status();
        let front = status.actors.into_iter().find(|actor| actor.name == "front").unwrap();
        (front.state, front.produced)
    };
    let (state, produced) = front(&mut lab.rig);
    assert_eq!(state, ActorState::Paused);
    let rear = lab.rig.highest("pulse rear ");
    lab.rig.wait_for("framesets of the other camera", |rig| {
        (rig.highest("pulse rear ") > rear + 100).then_some(())
    });
    assert_eq!(front(&mut lab.rig), (ActorState::Paused, produced));
    assert!(matches!(lab.set("front", "exposure", "20"), Answer::Changes(_)));
    assert_eq!(lab.value("front", "exposure"), "20");
    assert_eq!(lab.ask(&pause(false)), Answer::Changes(vec!["resume camera `front`".to_owned()]));
    wait_for_more(&mut lab.rig);
    assert_eq!(lab.value("front", "exposure"), "20");
    let status = lab.rig.status();
    let front = status.actors.iter().find(|actor| actor.name == "front").unwrap();
    assert_eq!((front.state, front.lost), (ActorState::Running, 0));
    lab.end(&[], 0);
}

/// Presets are saved and loaded while a camera runs; the options of its topology follow them, as at a start.
fn presets(placement: Placement) {
    let mut lab = Lab::start(placement);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let save = |file: &Path| {
        let file = file.to_str().unwrap().to_owned();
        lab.ask(&Request::Preset { camera: "front".to_owned(), file })
    };
    assert_eq!(save(&path("saved.json")), Answer::Changes(Vec::new()));
    let saved = fs::read_to_string(path("saved.json")).unwrap();
    assert_eq!(saved, r#"{"exposure":8500.0,"gain":16.0}"#);
    let refused = save(&path("no/folder.json"));
    assert!(
        matches!(&refused, Answer::Refused { message, .. } if message.contains("cannot be written")),
        "{refused:?}"
    );

    fs::write(path("dark.json"), r#"{"exposure": 77, "gain": 20} // for the night"#).unwrap();
    let dark = path("dark.json").to_str().unwrap().to_owned();
    let line = format!("set camera `front`: option `preset` unset -> \"{dark}\"");
    assert_eq!(lab.set("front", "preset", &format!("{dark:?}")), Answer::Changes(vec![line]));
    let value = |name: &str| lab.value("front", name);
    assert_eq!(
        (value("exposure"), value("gain"), value("preset")),
        ("77".into(), "20".into(), format!("{dark:?}"))
    );

    assert!(matches!(lab.set("front", "exposure", "300"), Answer::Changes(_)));
    let saved = path("saved.json").to_str().unwrap().to_owned();
    assert!(matches!(lab.set("front", "preset", &format!("{saved:?}")), Answer::Changes(_)));
    assert_eq!((value("exposure"), value("gain")), ("300".into(), "16".into()));
    let missing = lab.refusal("front", "preset", "\"/nowhere.json\"");
    assert_eq!(missing, "camera `front`: preset `/nowhere.json` does not exist");
    assert_eq!((value("exposure"), value("preset")), ("300".into(), format!("{saved:?}")));
    wait_for_more(&mut lab.rig);
    lab.end(&[], 0);
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    conformance(trials, "options::every_option_is_set_and_read_back", every_option);
    conformance(trials, "options::a_refused_value_changes_nothing", a_refused_value_changes_nothing);
    conformance(trials, "options::a_camera_is_unplugged_while_it_is_set", unplugged_while_it_is_set);
    conformance(trials, "options::a_camera_pauses", a_pause);
    conformance(trials, "options::presets_are_saved_and_loaded", presets);
}
