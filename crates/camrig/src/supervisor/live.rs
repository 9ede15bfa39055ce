//! Requested changes of a running rig: options that the devices of cameras can set while they run are set there, and everything
//! else is left to the supervisor's thread.
//!
//! It runs on the requesting thread. One thread at a time changes a rig, so that the rig is the same between the steps. Devices
//! are set first: a change that one refuses has no effect.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError, TryLockError, mpsc};
use std::time::{Duration, Instant};

use camrig_status::control::{Attach, Edit, Edits};
use camrig_status::{ActorRole, ActorState};

use super::change::{ChangeError, ChangeRequest};
use super::{Message, OTHER_HOSTS, RunControl};
use crate::control::DeviceCall;
use crate::driver::{Control, ControlRange, ControlValue};
use crate::ids::ActorId;
use crate::late::StartTime;
use crate::topology::{Diff, OptionChange, Role, Topology, edit, only_options, with_command};

/// The refusal of a change while another one is carried out.
pub(super) const CHANGING: &str = "the rig is carrying out another change";

/// Maximum time that a change waits for the one before it.
const TURN_TIME: Duration = Duration::from_secs(10);

/// Time between two looks whether that has ended.
const TURN_PAUSE: Duration = Duration::from_millis(5);

/// A topology for the running rig.
pub(crate) struct WantedTopology {
    pub(crate) topology: Topology,
    /// Names of actors that restart although nothing differs.
    pub(crate) restarts: Vec<String>,
    /// The text of the topology from which this one was made; `None` if it was not made from one.
    pub(crate) base: Option<String>,
    /// Whether to refuse changes that start or end an actor.
    pub(crate) live: bool,
    /// Whether to return the changes without carrying them out.
    pub(crate) dry_run: bool,
    /// The requesting program.
    pub(crate) by: String,
}

impl WantedTopology {
    /// Returns a topology that replaces the one that runs, whichever that is.
    pub(crate) fn whole(topology: Topology, by: &str) -> Self {
        Self { topology, restarts: Vec::new(), base: None, live: false, dry_run: false, by: by.to_owned() }
    }
}

/// The values to set in the device of a camera.
pub(super) struct Setting {
    pub(super) camera: String,
    /// By the names of its controls.
    pub(super) values: Vec<(String, ControlValue)>,
    /// The options of later instances; `None` if they do not have the values.
    options: Option<String>,
    /// Its controls before.
    before: Vec<Control>,
}

impl RunControl {
    /// Changes the rig to another topology, and waits until that is done. Returns the changes.
    pub(crate) fn apply(&self, wanted: WantedTopology) -> Result<Vec<String>, ChangeError> {
        let _turn = self.turn(wanted.dry_run)?;
        self.apply_in_turn(wanted, Vec::new(), BTreeMap::new())
    }

    /// Changes the topology that runs a little, as [`Self::apply`] does.
    pub(crate) fn edit(&self, edits: Edits) -> Result<Vec<String>, ChangeError> {
        let Edits { edits, restarts, live, dry_run, by } = edits;
        let _turn = self.turn(dry_run)?;
        let current = self.whole_topology().ok_or(ChangeError::Over)?;
        let base = current.running_text();
        let (mut text, mut unkept, mut known) = (base.clone(), Vec::new(), BTreeMap::new());
        for mut change in edits {
            if let Edit::Set { name, settings } = &mut change {
                let is_camera = |id: ActorId| matches!(current.actor(id).role, Role::Camera { .. });
                if current.find(name).is_some_and(is_camera) {
                    let controls = self.controls_to_set(name).map_err(ChangeError::Refused)?;
                    let (kept, others) =
                        places_of(settings, &controls, live).map_err(ChangeError::Refused)?;
                    *settings = kept;
                    known.insert(name.clone(), controls.clone());
                    if !others.is_empty() {
                        let camera = name.clone();
                        unkept.push(Setting { camera, values: others, options: None, before: controls });
                    }
                }
            }
            if !matches!(&change, Edit::Set { settings, .. } if settings.is_empty()) {
                text = edit(&text, &change).map_err(ChangeError::Refused)?;
            }
        }
        let parsed = Topology::parse(current.name(), &text, None, &self.registry);
        let topology = parsed.map_err(ChangeError::Problems)?;
        let wanted = WantedTopology { topology, restarts, base: Some(base), live, dry_run, by };
        self.apply_in_turn(wanted, unkept, known)
    }

    /// Adds a processor in a process of its own, which another program runs if this one has no such kind.
    pub(crate) fn attach(&self, attach: Attach) -> Result<Vec<String>, ChangeError> {
        let Attach { name, kind, inputs, mut settings, program, by } = attach;
        let is_known = self.registry.kind(&kind).is_some();
        settings.insert(0, ("process".to_owned(), toml::Value::from(name.as_str()).to_string()));
        let _turn = self.turn(false)?;
        let current = self.whole_topology().ok_or(ChangeError::Over)?;
        let base = current.running_text();
        let add = Edit::Add { name: name.clone(), kind, inputs, settings };
        let mut text = edit(&base, &add).map_err(ChangeError::Refused)?;
        if !is_known && !program.is_empty() {
            text = with_command(&text, &name, &program).map_err(ChangeError::Refused)?;
        }
        self.apply_text(&current, &text, base, &by)
    }

    /// Removes a processor that was attached, after any change that is being carried out. It may have been removed already.
    pub(crate) fn leave(&self, name: &str, by: &str) -> Result<Vec<String>, ChangeError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.whole_topology().ok_or(ChangeError::Over)?;
        if current.find(name).is_none() {
            return Ok(Vec::new());
        }
        let base = current.running_text();
        let text = edit(&base, &Edit::Remove { name: name.to_owned() }).map_err(ChangeError::Refused)?;
        self.apply_text(&current, &text, base, by)
    }

    /// Applies a text that was made from `base`, the one that runs.
    fn apply_text(
        &self,
        current: &Topology,
        text: &str,
        base: String,
        by: &str,
    ) -> Result<Vec<String>, ChangeError> {
        let parsed = Topology::parse(current.name(), text, None, &self.registry);
        let topology = parsed.map_err(ChangeError::Problems)?;
        let wanted = WantedTopology { base: Some(base), ..WantedTopology::whole(topology, by) };
        self.apply_in_turn(wanted, Vec::new(), BTreeMap::new())
    }

    /// Stops the streams of cameras of this host, or starts them again. Returns a line for each camera whose state changes.
    pub(super) fn pause_own(
        &self,
        cameras: &[String],
        paused: bool,
        by: &str,
    ) -> Result<Vec<String>, ChangeError> {
        let (word, call) = if paused { ("pause", DeviceCall::Pause) } else { ("resume", DeviceCall::Resume) };
        let status = self.status();
        let state = |name: &String| {
            let mut own = status.actors.iter().filter(|actor| actor.role == ActorRole::Camera);
            let own = own.find(|actor| actor.name == *name);
            own.map(|own| own.state).ok_or_else(|| {
                let names = status.actors.iter().filter(|actor| actor.role == ActorRole::Camera);
                let names: Vec<_> = names.map(|actor| format!("`{}`", actor.name)).collect();
                ChangeError::Refused(format!("the rig has no camera `{name}`; it has: {}", names.join(", ")))
            })
        };
        let states = cameras.iter().map(state).collect::<Result<Vec<_>, _>>()?;
        let mut done = Vec::new();
        for (camera, state) in cameras.iter().zip(states) {
            if paused && state == ActorState::Paused {
                continue;
            }
            if !paused && state != ActorState::Paused {
                if self.unpause(camera) {
                    done.push(format!("{word} camera `{camera}`"));
                }
                continue;
            }
            if let Err(fact) = self.call_own_device(camera, call.clone()) {
                let fact = format!("camera `{camera}` cannot {word}: {}", fact_of(camera, fact));
                self.note(&done, by)?;
                return Err(if done.is_empty() {
                    ChangeError::Refused(fact)
                } else {
                    ChangeError::Failed(fact)
                });
            }
            done.push(format!("{word} camera `{camera}`"));
        }
        self.note(&done, by)?;
        Ok(done)
    }

    /// Starts the streams of a camera that was paused and restarts, or waits for its device. Returns whether it was paused.
    fn unpause(&self, camera: &str) -> bool {
        let (answer, answered) = mpsc::sync_channel(1);
        let asked = self.messages.send(Message::Unpause(camera.to_owned(), answer));
        asked.is_ok() && answered.recv().unwrap_or_default()
    }

    /// Notes changes for the log and the report.
    fn note(&self, lines: &[String], by: &str) -> Result<(), ChangeError> {
        if lines.is_empty() {
            return Ok(());
        }
        let note = Message::Note(lines.to_vec(), by.to_owned());
        self.messages.send(note).map_err(|_| ChangeError::Over)
    }

    /// Begins a change, after the one that is being carried out; a dry run needs no turn.
    fn turn(&self, dry_run: bool) -> Result<Option<MutexGuard<'_, ()>>, ChangeError> {
        if dry_run {
            return Ok(None);
        }
        let until = Instant::now() + TURN_TIME;
        loop {
            match self.turn.try_lock() {
                Ok(turn) => return Ok(Some(turn)),
                Err(TryLockError::Poisoned(error)) => return Ok(Some(PoisonError::into_inner(error))),
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(TURN_PAUSE),
                Err(TryLockError::WouldBlock) => return Err(ChangeError::Refused(CHANGING.to_owned())),
            }
        }
    }

    /// Sets devices, and changes the rest of the rig, on every host. `known` has controls of cameras. With `live` a change
    /// that needs more than devices is refused.
    fn apply_in_turn(
        &self,
        wanted: WantedTopology,
        settings: Vec<Setting>,
        known: BTreeMap<String, Vec<Control>>,
    ) -> Result<Vec<String>, ChangeError> {
        match &self.others {
            Some(others) => self.apply_over_hosts(others, wanted, settings),
            None => self.apply_own(wanted, settings, known),
        }
    }

    /// As [`Self::apply_in_turn`], on this host.
    pub(super) fn apply_own(
        &self,
        wanted: WantedTopology,
        mut settings: Vec<Setting>,
        known: BTreeMap<String, Vec<Control>>,
    ) -> Result<Vec<String>, ChangeError> {
        let WantedTopology { topology, restarts, base, live, dry_run, by } = wanted;
        let current = self.topology().ok_or(ChangeError::Over)?;
        let refused = |fact: String| Err(ChangeError::Refused(fact));
        if !topology.hosts().is_empty() {
            return refused(OTHER_HOSTS.to_owned());
        }
        if base.is_some_and(|base| base != current.running_text()) {
            return refused("the topology that runs has changed meanwhile".to_owned());
        }
        let mut notes: Vec<_> = settings.iter().flat_map(notes_of).collect();
        let kept = self.kept(&current, &topology, &restarts, known).map_err(ChangeError::Refused)?;
        let sets: Vec<_> = kept.iter().map(|setting| setting.camera.clone()).collect();
        settings.extend(kept);
        let diff = Diff::of(&current, &topology, &restarts, &sets).map_err(ChangeError::Refused)?;
        if let Some(change) = diff.changes.iter().find(|change| live && change.interrupts()) {
            return refused(format!("this is not possible while it runs, it needs: {change}"));
        }
        let goes_on = |id| diff.unchanged.iter().any(|(_, after)| *after == id);
        let probed = topology.probe_some(&self.registry, StartTime::default(), |id| !goes_on(id));
        probed.map_err(ChangeError::Problems)?;
        if dry_run {
            return Ok(diff.changes.iter().map(ToString::to_string).chain(notes).collect());
        }
        let mut set = Vec::new();
        for setting in settings {
            match self.set(&setting) {
                Ok(controls) => notes.extend(deviations(&setting, &controls)),
                Err(fact) => {
                    self.restore(&current, &set);
                    return refused(fact);
                }
            }
            set.push(setting);
        }
        let changed = self.change(topology, restarts, sets, notes, by);
        if let Err(ChangeError::Refused(_) | ChangeError::Over) = &changed {
            self.restore(&current, &set);
        }
        changed
    }

    /// Changes the rig on the supervisor's thread, and waits until that is done. The devices of the cameras `sets` have
    /// their options.
    fn change(
        &self,
        topology: Topology,
        restarts: Vec<String>,
        sets: Vec<String>,
        notes: Vec<String>,
        by: String,
    ) -> Result<Vec<String>, ChangeError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let request = ChangeRequest { topology, restarts, sets, notes, by, answer };
        self.messages.send(Message::Change(Box::new(request))).map_err(|_| ChangeError::Over)?;
        answered.recv().unwrap_or(Err(ChangeError::Over))
    }

    /// Returns those of the differing options of cameras that their devices can set.
    fn kept(
        &self,
        current: &Topology,
        new: &Topology,
        restarts: &[String],
        mut known: BTreeMap<String, Vec<Control>>,
    ) -> Result<Vec<Setting>, String> {
        let mut settings = Vec::new();
        for (index, spec) in new.actors().iter().enumerate() {
            let Some(before) = current.find(&spec.name) else { continue };
            let changes = only_options(current, before, new, ActorId::new(index)).unwrap_or_default();
            if changes.is_empty() || restarts.contains(&spec.name) {
                continue;
            }
            let controls = match known.remove(&spec.name) {
                Some(controls) => controls,
                None => self.own_controls_to_set(&spec.name)?,
            };
            let values = settable(&changes, &controls);
            if let Some(values) = values.map_err(|fact| format!("camera `{}`: {fact}", spec.name))? {
                settings.push(Setting {
                    camera: spec.name.clone(),
                    values,
                    options: Some(spec.options().to_owned()),
                    before: controls,
                });
            }
        }
        Ok(settings)
    }

    /// Returns the controls of a camera on whichever host it is; see [`Self::own_controls_to_set`].
    fn controls_to_set(&self, camera: &str) -> Result<Vec<Control>, String> {
        let is_far = self.others.as_ref().is_some_and(|others| others.host_of(camera).is_some());
        if is_far {
            return Ok(self.call_device(camera, DeviceCall::ControlsToSet).unwrap_or_default());
        }
        self.own_controls_to_set(camera)
    }

    /// Returns the controls of a camera of this host; none if its device is not open: then all settings are keys, and it restarts.
    ///
    /// # Errors
    /// If the device does not answer in time: a camera that works is not restarted for that.
    fn own_controls_to_set(&self, camera: &str) -> Result<Vec<Control>, String> {
        self.ask_own_device(camera, DeviceCall::ControlsToSet).map(Result::unwrap_or_default)
    }

    fn set(&self, setting: &Setting) -> Result<Vec<Control>, String> {
        let (settings, options) = (setting.values.clone(), setting.options.clone());
        let is_asked_by_name = options.is_none();
        let set = self.call_own_device(&setting.camera, DeviceCall::Set { settings, options });
        set.map_err(|fact| {
            let Setting { camera, .. } = setting;
            if is_asked_by_name { fact } else { format!("camera `{camera}`: {}", fact_of(camera, fact)) }
        })
    }

    /// Restores the earlier values of devices, and the options of later instances.
    fn restore(&self, current: &Topology, set: &[Setting]) {
        for Setting { camera, options, before, .. } in set {
            let now = self.call_own_device(camera, DeviceCall::Controls);
            let own = current.find(camera).map(|id| current.actor(id).options().to_owned());
            let restored = now.and_then(|now| {
                let settings = Control::restored(before, &now);
                self.call_own_device(camera, DeviceCall::Set { settings, options: options.as_ref().and(own) })
            });
            if let Err(fact) = restored {
                log::warn!("options of camera `{camera}` cannot be set back: {fact}");
            }
        }
    }
}

/// Returns an error of a camera as it stands behind the camera's name.
fn fact_of(camera: &str, error: String) -> String {
    error.strip_prefix(&format!("camera `{camera}` ")).map(|fact| format!("it {fact}")).unwrap_or(error)
}

/// The place of a setting.
#[derive(Debug, PartialEq)]
enum SettingPlace {
    /// A key of the topology, and the text of its value.
    Topology(String, String),
    /// Only the device: the topology has no place for it.
    Device(ControlValue),
}

/// Returns the settings of a camera with keys of the topology instead of names of its device, and those for which the topology
/// has no place.
#[allow(clippy::type_complexity)] // Two lists of names with values.
fn places_of(
    settings: &[(String, String)],
    controls: &[Control],
    live: bool,
) -> Result<(Vec<(String, String)>, Vec<(String, ControlValue)>), String> {
    let (mut kept, mut others) = (Vec::new(), Vec::new());
    for (name, text) in settings {
        match place_of(name, text, controls, live)? {
            SettingPlace::Topology(key, value) => kept.push((key, value)),
            SettingPlace::Device(value) => others.push((name.clone(), value)),
        }
    }
    Ok((kept, others))
}

/// Returns the place of a setting of a camera whose device has these controls.
fn place_of(name: &str, text: &str, controls: &[Control], live: bool) -> Result<SettingPlace, String> {
    let value = ControlValue::parse(text);
    let Some(control) = controls.iter().find(|control| control.name == name) else {
        let is_key = name.starts_with("options.") || controls.iter().any(|control| control.key == name);
        let is_key = is_key || !live;
        return Ok(if is_key {
            SettingPlace::Topology(name.to_owned(), text.to_owned())
        } else {
            // The driver decides which options exist.
            SettingPlace::Device(value)
        });
    };
    let has_key = !control.key.is_empty();
    if control.read_only || !control.live && (live || !has_key) {
        control.accept(&value)?;
    }
    // Drivers accept names in further spellings.
    let is_checked = control.live && !matches!(control.range, ControlRange::Choice(_));
    let value = if is_checked { control.accept(&value)? } else { value };
    Ok(if has_key {
        SettingPlace::Topology(control.key.clone(), value.to_string())
    } else {
        SettingPlace::Device(value)
    })
}

/// Returns the settings of a device that make these changes; `None` if it cannot make one of them while it runs.
fn settable(
    changes: &[OptionChange],
    controls: &[Control],
) -> Result<Option<Vec<(String, ControlValue)>>, String> {
    let mut settings = Vec::new();
    for OptionChange { key, is, .. } in changes {
        let control = controls.iter().find(|control| control.key == *key);
        let control = control.filter(|control| control.live && !control.read_only);
        let (Some(control), Some(value)) = (control, is.as_ref().and_then(control_value)) else {
            return Ok(None);
        };
        if matches!(control.range, ControlRange::Number { .. }) && matches!(value, ControlValue::Number(_)) {
            control.accept(&value)?;
        }
        settings.push((control.name.clone(), value));
    }
    Ok(Some(settings))
}

/// Returns the value of an option; `None` of a list or a date.
fn control_value(value: &toml::Value) -> Option<ControlValue> {
    match value {
        toml::Value::Boolean(on) => Some(ControlValue::Switch(*on)),
        toml::Value::Integer(number) => Some(ControlValue::Number(*number as f64)),
        toml::Value::Float(number) => Some(ControlValue::Number(*number)),
        toml::Value::String(name) => Some(ControlValue::Name(name.clone())),
        _ => None,
    }
}

fn value_of<'c>(name: &str, controls: &'c [Control]) -> Option<&'c ControlValue> {
    controls.iter().find(|control| control.name == name)?.value.as_ref()
}

/// Returns a line about each value that the topology does not get.
pub(super) fn notes_of(setting: &Setting) -> Vec<String> {
    let note = |(name, value): &(String, ControlValue)| {
        let was = value_of(name, &setting.before).map_or_else(|| "unknown".to_owned(), ToString::to_string);
        let camera = &setting.camera;
        format!("set camera `{camera}`: `{name}` {was} -> {value}, until it is opened again")
    };
    setting.values.iter().map(note).collect()
}

/// Returns a line about each value that a device has instead of the one to which it was set.
fn deviations(setting: &Setting, now: &[Control]) -> Vec<String> {
    let deviation = |(name, value): &(String, ControlValue)| {
        let own = value_of(name, now)?;
        let is_same = own == value || own.to_string().eq_ignore_ascii_case(&value.to_string());
        (!is_same).then(|| format!("camera `{}` has `{name}` = {own}", setting.camera))
    };
    setting.values.iter().filter_map(deviation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(name: &str, key: &str, live: bool) -> Control {
        Control {
            name: name.to_owned(),
            key: key.to_owned(),
            description: String::new(),
            unit: String::new(),
            range: ControlRange::Number { min: 0.0, max: 9.0, step: 1.0 },
            default: ControlValue::Number(1.0),
            value: Some(ControlValue::Number(2.0)),
            read_only: false,
            live,
        }
    }

    #[test]
    fn names_of_a_device_become_keys_of_the_topology() {
        let fixed = control("fixed", "set.fixed", false);
        let heat = Control { read_only: true, ..control("heat", "", true) };
        let controls = [control("gain", "set.gain", true), control("light", "", true), fixed, heat];
        let place = |name: &str, text: &str, live| place_of(name, text, &controls, live);
        let key = |key: &str, text: &str| Ok(SettingPlace::Topology(key.to_owned(), text.to_owned()));
        assert_eq!(place("gain", "3.0", false), key("set.gain", "3"));
        assert_eq!(place("set.gain", "3", true), key("set.gain", "3"));
        assert_eq!(place("light", "3", false), Ok(SettingPlace::Device(ControlValue::Number(3.0))));
        assert_eq!(place("fixed", "3", false), key("set.fixed", "3"));
        assert_eq!(place("seed", "3", false), key("seed", "3"));
        assert_eq!(place("options.seed", "3", true), key("options.seed", "3"));
        assert_eq!(place("seed", "3", true), Ok(SettingPlace::Device(ControlValue::Number(3.0))));
        assert_eq!(
            place("gain", "10", false).unwrap_err(),
            "option `gain` is 10: it must be 0 to 9 in steps of 1"
        );
        assert_eq!(place("heat", "3", false).unwrap_err(), "option `heat` is read-only");
        assert_eq!(
            place("fixed", "3", true).unwrap_err(),
            "option `fixed` cannot be set while the camera runs"
        );
    }

    #[test]
    fn changes_are_set_if_the_device_can_set_all_of_them() {
        let controls = [control("gain", "set.gain", true), control("fixed", "set.fixed", false)];
        let change = |key: &str, is: Option<i64>| OptionChange {
            key: key.to_owned(),
            was: None,
            is: is.map(toml::Value::Integer),
        };
        let gain = change("set.gain", Some(4));
        let set = vec![("gain".to_owned(), ControlValue::Number(4.0))];
        assert_eq!(settable(std::slice::from_ref(&gain), &controls), Ok(Some(set)));
        for other in [change("set.fixed", Some(1)), change("seed", Some(1)), change("set.gain", None)] {
            assert_eq!(settable(&[gain.clone(), other], &controls), Ok(None));
        }
        let error = settable(&[change("set.gain", Some(12))], &controls).unwrap_err();
        assert_eq!(error, "option `gain` is 12: it must be 0 to 9 in steps of 1");
    }

    #[test]
    fn a_value_that_the_device_takes_instead_is_reported() {
        let setting = Setting {
            camera: "left".to_owned(),
            values: vec![("gain".to_owned(), ControlValue::Number(3.0))],
            options: None,
            before: vec![control("gain", "", true)],
        };
        assert_eq!(notes_of(&setting), ["set camera `left`: `gain` 2 -> 3, until it is opened again"]);
        assert_eq!(deviations(&setting, &[control("gain", "", true)]), ["camera `left` has `gain` = 2"]);
        let exact = Control { value: Some(ControlValue::Number(3.0)), ..control("gain", "", true) };
        assert_eq!(deviations(&setting, &[exact]), <[&str; 0]>::default());
    }
}
