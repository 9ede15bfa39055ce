//! Controls: options of an open device that are read, and mostly set, while it runs.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Fraction of a step by which a number may deviate from it: devices often have 32-bit numbers.
const STEP_TOLERANCE: f64 = 0.01;

/// An option of an open device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// Its name, such as `exposure`, or `color.exposure` where another sensor has that name.
    pub name: String,
    /// Its place in the camera's options of a topology, such as `set.exposure`; empty if it has none.
    pub key: String,
    /// A sentence about it; may be empty.
    pub description: String,
    /// The unit of its numbers, such as `us`; empty if there is none or it is not known.
    pub unit: String,
    /// Its possible values.
    pub range: ControlRange,
    /// The value before it is set.
    pub default: ControlValue,
    /// The present value; `None` if the device does not report it.
    pub value: Option<ControlValue>,
    /// Whether it cannot be set at present.
    pub read_only: bool,
    /// Whether it can be set while the camera streams; otherwise its value in the topology applies at the next start.
    pub live: bool,
}

/// The possible values of a [`Control`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ControlRange {
    /// On or off.
    Switch,
    /// Numbers.
    Number {
        /// The least one.
        min: f64,
        /// The greatest one.
        max: f64,
        /// The difference between successive values, from `min` on; 0 if every number is allowed.
        step: f64,
    },
    /// One of these names.
    Choice(Vec<String>),
    /// The path of a file, from which other options are set.
    File,
}

/// A value of a [`Control`]. In JSON it is `true`, `8500` or `"hand"`.
#[derive(Clone, Debug, PartialEq)]
pub enum ControlValue {
    /// On or off.
    Switch(bool),
    /// A number.
    Number(f64),
    /// A name.
    Name(String),
}

impl Control {
    /// Returns settings in the order in which a device takes them: files and names first, since they change others, and switches
    /// last, since a number that is set ends an automatic mode.
    pub fn in_order<'s>(
        settings: &'s [(String, ControlValue)],
        controls: &[Self],
    ) -> Vec<&'s (String, ControlValue)> {
        let rank = |name: &String| match controls.iter().find(|control| control.name == *name) {
            Some(Self { range: ControlRange::File, .. }) => 0,
            Some(Self { range: ControlRange::Choice(_), .. }) => 1,
            Some(Self { range: ControlRange::Switch, .. }) => 3,
            _ => 2,
        };
        let mut settings: Vec<_> = settings.iter().collect();
        settings.sort_by_key(|(name, _)| rank(name));
        settings
    }

    /// Returns the settings that give the controls `now` the values that they had `before`, in the order in which a device
    /// takes them.
    pub fn restored(before: &[Self], now: &[Self]) -> Vec<(String, ControlValue)> {
        let differs = |control: &&Self| {
            let now = now.iter().find(|now| now.name == control.name);
            control.live && !control.read_only && now.is_some_and(|now| now.value != control.value)
        };
        let settings = before.iter().filter(differs);
        let settings: Vec<_> =
            settings.filter_map(|control| Some((control.name.clone(), control.value.clone()?))).collect();
        Self::in_order(&settings, before).into_iter().cloned().collect()
    }

    /// Returns the value that this control takes for `value`: for a switch 0 and 1 are off and on, and names are written
    /// in any case.
    ///
    /// # Errors
    /// A message with the value and the choices, if the control cannot be set to `value`.
    pub fn accept(&self, value: &ControlValue) -> Result<ControlValue, String> {
        if self.read_only {
            return Err(format!("option `{}` is read-only", self.name));
        }
        if !self.live {
            return Err(format!("option `{}` cannot be set while the camera runs", self.name));
        }
        let accepted = match (&self.range, value) {
            (ControlRange::Switch, ControlValue::Switch(_)) | (ControlRange::File, ControlValue::Name(_)) => {
                Some(value.clone())
            }
            (ControlRange::Switch, ControlValue::Number(0.0)) => Some(ControlValue::Switch(false)),
            (ControlRange::Switch, ControlValue::Number(1.0)) => Some(ControlValue::Switch(true)),
            (ControlRange::Number { .. }, ControlValue::Number(number)) => {
                self.range.contains(*number).then(|| value.clone())
            }
            (ControlRange::Choice(names), ControlValue::Name(name)) => {
                let same = names.iter().find(|own| own.eq_ignore_ascii_case(name));
                same.map(|own| ControlValue::Name(own.clone()))
            }
            _ => None,
        };
        accepted.ok_or_else(|| format!("option `{}` is {value}: it must be {}", self.name, self.range))
    }
}

impl ControlRange {
    /// Returns whether a number is within the range and on a step.
    pub fn contains(&self, number: f64) -> bool {
        match self {
            Self::Switch => [0.0, 1.0].contains(&number),
            Self::Number { min, max, step } => {
                let steps = (number - min) / step;
                (*min..=*max).contains(&number)
                    && (*step <= 0.0 || (steps - steps.round()).abs() <= STEP_TOLERANCE)
            }
            Self::Choice(_) | Self::File => false,
        }
    }
}

/// Formats a range as the rest of a sentence: `1 to 165000 in steps of 1`.
impl fmt::Display for ControlRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("`true` or `false`"),
            Self::Number { min, max, step } if *step > 0.0 => write!(f, "{min} to {max} in steps of {step}"),
            Self::Number { min, max, .. } => write!(f, "{min} to {max}"),
            Self::Choice(names) => {
                let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
                write!(f, "one of {}", names.join(", "))
            }
            Self::File => f.write_str("the path of a file"),
        }
    }
}

impl ControlValue {
    /// Reads a value as it is typed: `true`, `8500`, `hand` or `"hand"`.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        match (text, text.parse::<f64>()) {
            ("true", _) => Self::Switch(true),
            ("false", _) => Self::Switch(false),
            (_, Ok(number)) if number.is_finite() => Self::Number(number),
            _ => Self::Name(text.trim_matches(['"', '\'']).to_owned()),
        }
    }
}

/// Formats as in a topology.
impl fmt::Display for ControlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => on.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => write!(f, "\"{name}\""),
        }
    }
}

/// For formats in which a value has its type.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Plain {
    Switch(bool),
    Number(f64),
    Name(String),
}

/// For the other formats.
#[derive(Serialize, Deserialize)]
enum Tagged {
    Switch(bool),
    Number(f64),
    Name(String),
}

impl Serialize for ControlValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_plain = serializer.is_human_readable();
        match self.clone() {
            Self::Switch(on) if is_plain => Plain::Switch(on).serialize(serializer),
            Self::Number(number) if is_plain => Plain::Number(number).serialize(serializer),
            Self::Name(name) if is_plain => Plain::Name(name).serialize(serializer),
            Self::Switch(on) => Tagged::Switch(on).serialize(serializer),
            Self::Number(number) => Tagged::Number(number).serialize(serializer),
            Self::Name(name) => Tagged::Name(name).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ControlValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Ok(match Plain::deserialize(deserializer)? {
                Plain::Switch(on) => Self::Switch(on),
                Plain::Number(number) => Self::Number(number),
                Plain::Name(name) => Self::Name(name),
            });
        }
        Ok(match Tagged::deserialize(deserializer)? {
            Tagged::Switch(on) => Self::Switch(on),
            Tagged::Number(number) => Self::Number(number),
            Tagged::Name(name) => Self::Name(name),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(range: ControlRange) -> Control {
        Control {
            name: "exposure".to_owned(),
            key: "set.exposure".to_owned(),
            description: String::new(),
            unit: "us".to_owned(),
            range,
            default: ControlValue::Number(1.0),
            value: None,
            read_only: false,
            live: true,
        }
    }

    #[test]
    fn a_value_outside_of_range_or_steps_is_refused_with_both_named() {
        let number = control(ControlRange::Number { min: 1.0, max: 101.0, step: 20.0 });
        let accept = |control: &Control, text: &str| {
            control.accept(&ControlValue::parse(text)).map(|value| value.to_string())
        };
        assert_eq!(accept(&number, "41"), Ok("41".to_owned()));
        for wrong in ["40", "121", "-1", "true", "\"high\""] {
            let message = format!("option `exposure` is {wrong}: it must be 1 to 101 in steps of 20");
            assert_eq!(accept(&number, wrong), Err(message));
        }
        let any = control(ControlRange::Number { min: 0.0, max: 1.0, step: 0.0 });
        assert_eq!(accept(&any, "0.123"), Ok("0.123".to_owned()));
        assert_eq!(accept(&any, "2"), Err("option `exposure` is 2: it must be 0 to 1".to_owned()));
        // Of 32 bits: 0.1 is not exact.
        let step = f64::from(0.1f32);
        let fine = control(ControlRange::Number { min: 0.0, max: 16.0, step });
        assert_eq!(accept(&fine, "15.9"), Ok("15.9".to_owned()));
        assert!(accept(&fine, "15.95").is_err());
    }

    #[test]
    fn a_switch_takes_numbers_and_a_choice_takes_any_case() {
        let switch = control(ControlRange::Switch);
        assert_eq!(switch.accept(&ControlValue::parse("1")), Ok(ControlValue::Switch(true)));
        assert_eq!(switch.accept(&ControlValue::parse("false")), Ok(ControlValue::Switch(false)));
        assert_eq!(
            switch.accept(&ControlValue::parse("2")).unwrap_err(),
            "option `exposure` is 2: it must be `true` or `false`"
        );
        let choice = control(ControlRange::Choice(vec!["Hand".to_owned(), "High Accuracy".to_owned()]));
        assert_eq!(choice.accept(&ControlValue::parse("hand")), Ok(ControlValue::Name("Hand".to_owned())));
        assert_eq!(
            choice.accept(&ControlValue::parse("foot")).unwrap_err(),
            "option `exposure` is \"foot\": it must be one of \"Hand\", \"High Accuracy\""
        );
        let file = control(ControlRange::File);
        let path = ControlValue::parse("presets/hand.json");
        assert_eq!(file.accept(&path), Ok(path));
        assert_eq!(
            file.accept(&ControlValue::parse("3")).unwrap_err(),
            "option `exposure` is 3: it must be the path of a file"
        );
    }

    #[test]
    fn settings_are_restored_in_the_order_of_devices() {
        let named = |name: &str, range, value| Control {
            name: name.to_owned(),
            value: Some(value),
            ..control(range)
        };
        let controls = |auto, exposure, preset: &str| {
            let numbers = ControlRange::Number { min: 0.0, max: 9.0, step: 1.0 };
            [
                named("auto", ControlRange::Switch, ControlValue::Switch(auto)),
                named("exposure", numbers.clone(), ControlValue::Number(exposure)),
                named("preset", ControlRange::Choice(Vec::new()), ControlValue::Name(preset.to_owned())),
                named("gain", numbers, ControlValue::Number(1.0)),
            ]
        };
        let mut now = controls(false, 5.0, "custom");
        now[3].read_only = true;
        let names: Vec<_> = Control::restored(&controls(true, 3.0, "hand"), &now)
            .into_iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        assert_eq!(names, ["preset \"hand\"", "exposure 3", "auto true"]);
    }

    #[test]
    fn controls_that_cannot_be_set_give_the_reason() {
        let read_only = Control { read_only: true, ..control(ControlRange::Switch) };
        let value = ControlValue::Switch(true);
        assert_eq!(read_only.accept(&value).unwrap_err(), "option `exposure` is read-only");
        let fixed = Control { live: false, ..control(ControlRange::Switch) };
        assert_eq!(
            fixed.accept(&value).unwrap_err(),
            "option `exposure` cannot be set while the camera runs"
        );
    }
}
