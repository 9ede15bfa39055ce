//! Fault commands for cameras: one command per line, from the control port or a script.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::controls::SET_CUR;
use crate::descriptors::EXTENSION_UNIT;
use crate::device::{Effect, HARDWARE_MONITOR};
use crate::hwmon::VERSION;

/// Maximum number of cameras of an emulator, and so of one command.
pub const CAMERAS_MAX: usize = 15;

/// Longest duration that a command may specify.
const TIME_MAX: Duration = Duration::from_secs(3600);

/// A command of the control port.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Disconnects the camera until it is plugged in again.
    Unplug(usize),
    /// Disconnects the camera after this number of further control transfers: for example in the middle of an open.
    UnplugAfter(usize, u32),
    /// Disconnects the camera at the next control transfer of this kind, before its answer; `None`: not any more.
    UnplugAt(usize, Option<Moment>),
    /// Connects the camera: to its previous port, unless [`Action::Port`] has named another one.
    Plug(usize),
    /// Connects the camera to this port the next time, and from then on.
    Port(usize, u8),
    /// Gives the camera another serial number, as if another device had been plugged in.
    Serial(usize, String),
    /// Starts or ends a time in which the camera sends no frames.
    Freeze(usize, Frozen),
    /// Cuts the next frames in half.
    Tear(usize, u32),
    /// Delays the next frame by this time.
    Late(usize, Duration),
    /// Drops the next frames: their numbers are missing.
    Skip(usize, u32),
    /// Delays every hardware monitor command.
    MonitorDelay(usize, Duration),
    /// Lets every hardware monitor command fail with this error, or `None` succeed.
    MonitorError(usize, Option<i32>),
    /// Starts or ends a time in which calibration tables have a wrong checksum.
    BadCalibration(usize, bool),
    /// Gives the camera another firmware version.
    Firmware(usize, [u8; 4]),
    /// Sets how long a reset takes; `None`: the camera never comes back.
    ResetTime(usize, Option<Duration>),
    /// Disconnects several cameras at the same time, for this long.
    Brownout(Vec<usize>, Duration),
    /// Limits the data rate that all cameras share, in megabits per second; `None`: no limit.
    Megabits(Option<u64>),
    /// Prints the values of the camera's controls.
    Controls(usize),
    /// Prints counters of every camera.
    Stats,
    /// Waits; only scripts need it.
    Wait(Duration),
    /// Ends the emulator.
    Quit,
}

/// Whether a camera sends frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Frozen {
    /// It does.
    #[default]
    No,
    /// It does not.
    Yes,
    /// No frames until its streams are started again.
    UntilRestart,
    /// No frames until it is reset, or loses its power.
    UntilReset,
}

/// A kind of control transfer by which a program uses the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The version is read: librealsense opens the camera.
    Open,
    /// A control is set.
    Set,
    /// A stream starts.
    Start,
    /// A stream stops.
    Stop,
}

impl Moment {
    /// Returns the kind of a control transfer with this setup packet and effect.
    pub fn of(setup: [u8; 8], effect: Option<&Effect>) -> Option<Self> {
        let [kind, request, _, selector, _, entity, ..] = setup;
        match effect {
            Some(Effect::Monitor { operation: VERSION, .. }) => Some(Self::Open),
            Some(Effect::Start(_)) => Some(Self::Start),
            Some(Effect::Stop { .. }) => Some(Self::Stop),
            _ => {
                let is_set = (kind, request) == (0x21, SET_CUR) && entity != 0;
                (is_set && (entity, selector) != (EXTENSION_UNIT, HARDWARE_MONITOR)).then_some(Self::Set)
            }
        }
    }
}

/// Every command with its arguments, for help and errors.
pub const COMMANDS: &[&str] = &[
    "unplug CAMERA",
    "unplug-after CAMERA TRANSFERS",
    "unplug-at CAMERA open|set|start|stop|off",
    "plug CAMERA",
    "port CAMERA PORT",
    "serial CAMERA DIGITS",
    "freeze CAMERA on|off|until-restart|until-reset",
    "tear CAMERA FRAMES",
    "late CAMERA MILLIS",
    "skip CAMERA FRAMES",
    "monitor-delay CAMERA MILLIS",
    "monitor-error CAMERA NUMBER|off",
    "bad-calibration CAMERA on|off",
    "firmware CAMERA A.B.C.D",
    "reset-time CAMERA MILLIS|never",
    "brownout CAMERA,CAMERA,... MILLIS",
    "megabits NUMBER|off",
    "controls CAMERA",
    "stats",
    "wait MILLIS",
    "quit",
];

/// A line that is not a valid command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseActionError {
    /// No command has this name.
    Unknown(String),
    /// The arguments are not those of the command.
    Arguments(&'static str),
}

impl fmt::Display for ParseActionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                let names: Vec<_> = COMMANDS.iter().filter_map(|usage| usage.split(' ').next()).collect();
                write!(f, "unknown command `{name}`; expected one of: {}", names.join(", "))
            }
            Self::Arguments(usage) => write!(f, "usage: {usage}"),
        }
    }
}

impl std::error::Error for ParseActionError {}

impl FromStr for Action {
    type Err = ParseActionError;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words.first().copied().unwrap_or_default();
        let usage = COMMANDS
            .iter()
            .find(|usage| usage.split(' ').next() == Some(name))
            .ok_or_else(|| ParseActionError::Unknown(name.chars().take(40).collect()))?;
        parse(name, &words[1..]).ok_or(ParseActionError::Arguments(usage))
    }
}

/// Parses the arguments of the command `name`; returns `None` if they are invalid.
fn parse(name: &str, arguments: &[&str]) -> Option<Action> {
    Some(match (name, arguments) {
        ("unplug", [index]) => Action::Unplug(camera(index)?),
        ("unplug-after", [index, transfers]) => {
            Action::UnplugAfter(camera(index)?, transfers.parse().ok().filter(|&transfers| transfers > 0)?)
        }
        ("unplug-at", [index, "off"]) => Action::UnplugAt(camera(index)?, None),
        ("unplug-at", [index, moment]) => Action::UnplugAt(camera(index)?, Some(self::moment(moment)?)),
        ("plug", [index]) => Action::Plug(camera(index)?),
        ("port", [index, port]) => Action::Port(camera(index)?, camera(port)? as u8),
        ("serial", [index, digits]) => {
            let is_serial = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_digit());
            Action::Serial(camera(index)?, is_serial.then(|| (*digits).to_owned())?)
        }
        ("freeze", [index, state]) => Action::Freeze(camera(index)?, frozen(state)?),
        ("tear", [index, frames]) => Action::Tear(camera(index)?, frames.parse().ok()?),
        ("late", [index, time]) => Action::Late(camera(index)?, millis(time)?),
        ("skip", [index, frames]) => Action::Skip(camera(index)?, frames.parse().ok()?),
        ("monitor-delay", [index, time]) => Action::MonitorDelay(camera(index)?, millis(time)?),
        ("monitor-error", [index, "off"]) => Action::MonitorError(camera(index)?, None),
        ("monitor-error", [index, number]) => {
            Action::MonitorError(camera(index)?, Some(number.parse().ok().filter(|&number| number < 0)?))
        }
        ("bad-calibration", [index, state]) => Action::BadCalibration(camera(index)?, switch(state)?),
        ("firmware", [index, version]) => Action::Firmware(camera(index)?, firmware(version)?),
        ("reset-time", [index, "never"]) => Action::ResetTime(camera(index)?, None),
        ("reset-time", [index, time]) => Action::ResetTime(camera(index)?, Some(millis(time)?)),
        ("brownout", [cameras, time]) => {
            Action::Brownout(cameras.split(',').map(camera).collect::<Option<_>>()?, millis(time)?)
        }
        ("megabits", ["off"]) => Action::Megabits(None),
        ("megabits", [number]) => Action::Megabits(Some(number.parse().ok().filter(|&number| number > 0)?)),
        ("controls", [index]) => Action::Controls(camera(index)?),
        ("stats", []) => Action::Stats,
        ("wait", [time]) => Action::Wait(millis(time)?),
        ("quit", []) => Action::Quit,
        _ => return None,
    })
}

fn camera(text: &str) -> Option<usize> {
    text.parse().ok().filter(|&index| index < CAMERAS_MAX)
}

fn millis(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis).filter(|&time| time <= TIME_MAX)
}

fn switch(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn frozen(text: &str) -> Option<Frozen> {
    match text {
        "until-restart" => Some(Frozen::UntilRestart),
        "until-reset" => Some(Frozen::UntilReset),
        _ => Some(if switch(text)? { Frozen::Yes } else { Frozen::No }),
    }
}

fn moment(text: &str) -> Option<Moment> {
    match text {
        "open" => Some(Moment::Open),
        "set" => Some(Moment::Set),
        "start" => Some(Moment::Start),
        "stop" => Some(Moment::Stop),
        _ => None,
    }
}

/// Returns a firmware version such as `5.16.0.1`, most significant part first.
pub fn firmware(text: &str) -> Option<[u8; 4]> {
    let parts: Vec<u8> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// Faults of one camera that its frames and its hardware monitor show.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Whether frames are sent.
    pub frozen: Frozen,
    /// Number of upcoming frames to cut in half.
    pub torn: u32,
    /// Number of upcoming frames to drop.
    pub skipped: u32,
    /// Number of control transfers until the camera is unplugged; 0: it is not.
    pub unplug_after: u32,
    /// Kind of control transfer at which the camera is unplugged.
    pub unplug_at: Option<Moment>,
    /// Delay of the next frame.
    pub late: Duration,
    /// Delay of each hardware monitor reply.
    pub monitor_delay: Duration,
}

impl Faults {
    /// Counts a control transfer of this kind. Returns whether the camera is unplugged by it.
    pub fn unplugs_at(&mut self, moment: Option<Moment>) -> bool {
        let was_last = self.unplug_after == 1;
        self.unplug_after = self.unplug_after.saturating_sub(1);
        let is_moment = moment.is_some() && moment == self.unplug_at;
        if is_moment {
            self.unplug_at = None;
        }
        was_last || is_moment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_parsed() {
        let parse = |line: &str| line.parse::<Action>();
        assert_eq!(parse("unplug 2"), Ok(Action::Unplug(2)));
        assert_eq!(parse(" plug  14 "), Ok(Action::Plug(14)));
        assert_eq!(parse("serial 0 230000001009"), Ok(Action::Serial(0, "230000001009".to_owned())));
        assert_eq!(parse("freeze 0 off"), Ok(Action::Freeze(0, Frozen::No)));
        assert_eq!(parse("freeze 0 on"), Ok(Action::Freeze(0, Frozen::Yes)));
        assert_eq!(parse("freeze 0 until-restart"), Ok(Action::Freeze(0, Frozen::UntilRestart)));
        assert_eq!(parse("freeze 0 until-reset"), Ok(Action::Freeze(0, Frozen::UntilReset)));
        assert_eq!(parse("unplug-after 0 40"), Ok(Action::UnplugAfter(0, 40)));
        assert_eq!(parse("unplug-at 0 open"), Ok(Action::UnplugAt(0, Some(Moment::Open))));
        assert_eq!(parse("unplug-at 0 set"), Ok(Action::UnplugAt(0, Some(Moment::Set))));
        assert_eq!(parse("unplug-at 0 start"), Ok(Action::UnplugAt(0, Some(Moment::Start))));
        assert_eq!(parse("unplug-at 0 stop"), Ok(Action::UnplugAt(0, Some(Moment::Stop))));
        assert_eq!(parse("unplug-at 0 off"), Ok(Action::UnplugAt(0, None)));
        assert_eq!(parse("controls 2"), Ok(Action::Controls(2)));
        assert_eq!(parse("port 0 7"), Ok(Action::Port(0, 7)));
        assert_eq!(parse("megabits 100"), Ok(Action::Megabits(Some(100))));
        assert_eq!(parse("megabits off"), Ok(Action::Megabits(None)));
        assert_eq!(parse("tear 0 10"), Ok(Action::Tear(0, 10)));
        assert_eq!(parse("late 1 250"), Ok(Action::Late(1, Duration::from_millis(250))));
        assert_eq!(parse("skip 1 3"), Ok(Action::Skip(1, 3)));
        assert_eq!(parse("monitor-delay 0 1500"), Ok(Action::MonitorDelay(0, Duration::from_millis(1500))));
        assert_eq!(parse("monitor-error 0 -6"), Ok(Action::MonitorError(0, Some(-6))));
        assert_eq!(parse("monitor-error 0 off"), Ok(Action::MonitorError(0, None)));
        assert_eq!(parse("bad-calibration 0 on"), Ok(Action::BadCalibration(0, true)));
        assert_eq!(parse("firmware 0 5.10.3.0"), Ok(Action::Firmware(0, [5, 10, 3, 0])));
        assert_eq!(parse("reset-time 0 never"), Ok(Action::ResetTime(0, None)));
        assert_eq!(parse("reset-time 0 1000"), Ok(Action::ResetTime(0, Some(Duration::from_secs(1)))));
        assert_eq!(parse("brownout 0,3 500"), Ok(Action::Brownout(vec![0, 3], Duration::from_millis(500))));
        assert_eq!(parse("stats"), Ok(Action::Stats));
        assert_eq!(parse("wait 5"), Ok(Action::Wait(Duration::from_millis(5))));
        assert_eq!(parse("quit"), Ok(Action::Quit));
    }

    #[test]
    fn errors_name_the_choices() {
        let error = |line: &str| line.parse::<Action>().unwrap_err().to_string();
        assert_eq!(error("unplug 15"), "usage: unplug CAMERA");
        assert_eq!(error("serial 0 12"), "usage: serial CAMERA DIGITS");
        assert_eq!(error("monitor-error 0 6"), "usage: monitor-error CAMERA NUMBER|off");
        assert_eq!(error("late 0 3600001"), "usage: late CAMERA MILLIS");
        assert_eq!(error("firmware 0 5.16"), "usage: firmware CAMERA A.B.C.D");
        assert_eq!(
            error("pull 0"),
            "unknown command `pull`; expected one of: unplug, unplug-after, unplug-at, plug, port, serial, freeze, \
             tear, late, skip, monitor-delay, monitor-error, bad-calibration, firmware, reset-time, brownout, megabits, controls, \
             stats, wait, quit"
        );
    }
}
