//! The effects of keys: a key and the selected actor decide the next mode. It does not depend on a terminal or a rig.

use camrig_status::control::{Attach, Edit, Edits, Request};
use camrig_status::{ActorRole, ActorState, ActorStatus, RigStatus};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The kind of the processor that records.
const RECORD: &str = "record";

/// The kind of the processor that writes pictures.
const SNAPSHOT: &str = "snapshot";

/// Its interval, so that it writes those of the first frameset of each input only.
const EVERY: &str = "1000000000";

/// Framesets that may wait for the disk at each input of a recorder.
const QUEUE: &str = "8";

/// The maximum number of characters that can be typed.
const TYPED_MAX: usize = 200;

/// The keys, while nothing is typed.
pub(crate) const HELP: &str = "r restarts the selected actor, p pauses or resumes a camera, s sets an option, m records it and w \
                               writes its pictures, or those of all cameras if none is selected, x stops a recording or removes an \
                               actor; q quits, the rig keeps running";

/// The meaning of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Selecting actors.
    #[default]
    Browse,
    /// Reading about the keys.
    Help,
    /// Typing a setting of an actor.
    Set { actor: String, typed: String },
    /// Confirming the removal of an actor.
    Remove { actor: String },
    /// Reading the outcome of a request.
    Said(String),
}

impl Mode {
    /// Returns the line that the mode shows, if it has one.
    pub(crate) fn line(&self) -> Option<String> {
        match self {
            Self::Browse => None,
            Self::Help => Some(HELP.to_owned()),
            Self::Set { actor, typed } => {
                Some(format!("set {actor}, such as exposure=8500 (Enter sets, Esc cancels): {typed}_"))
            }
            Self::Remove { actor } => Some(format!("remove {actor}? y removes it, any other key cancels")),
            Self::Said(text) => Some(text.clone()),
        }
    }
}

/// The effect of a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    Nothing,
    Quit,
    /// Selects the next row, or the previous one.
    Step {
        down: bool,
    },
    /// Sends a request to the rig.
    Ask(Request),
    /// Adds a processor, and removes it when it has taken a frameset of each input.
    Once(Attach),
}

/// The rig in front of which a key is pressed.
pub(crate) struct View<'a> {
    pub(crate) status: &'a RigStatus,
    pub(crate) selected: Option<&'a ActorStatus>,
    /// The program that asks, for the log and the report.
    pub(crate) by: &'a str,
    /// The time, as it is in the name of a recording.
    pub(crate) now: &'a str,
}

/// Returns the mode after a key, and the key's effect.
pub(crate) fn pressed(mode: Mode, key: KeyEvent, view: &View<'_>) -> (Mode, Effect) {
    if let KeyCode::Char(letter) = key.code
        && key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT)
    {
        return chord(mode, letter, key.modifiers);
    }
    match (mode, key.code) {
        (Mode::Set { .. }, KeyCode::Esc) => (Mode::Browse, Effect::Nothing),
        (Mode::Set { actor, typed }, KeyCode::Enter) => view.set(actor, &typed),
        (Mode::Set { actor, typed }, code) => {
            (Mode::Set { actor, typed: typing(typed, code) }, Effect::Nothing)
        }
        (Mode::Remove { actor }, KeyCode::Char('y')) => view.ask_edit(vec![Edit::Remove { name: actor }]),
        (Mode::Remove { .. }, _) | (Mode::Help | Mode::Said(_), KeyCode::Esc) => {
            (Mode::Browse, Effect::Nothing)
        }
        (_, code) => view.browse(code),
    }
}

/// Returns the mode after a letter with Ctrl or Alt, and its effect: as a shell's line has them, and otherwise none.
fn chord(mode: Mode, letter: char, modifiers: KeyModifiers) -> (Mode, Effect) {
    let is_control = modifiers == KeyModifiers::CONTROL;
    match (mode, letter) {
        (mode, 'c') if is_control => (mode, Effect::Quit),
        (Mode::Set { actor, mut typed }, 'u' | 'w' | 'h') if is_control => {
            let left = match letter {
                'u' => 0,
                'w' => typed.trim_end().rfind(char::is_whitespace).map_or(0, |space| space + 1),
                _ => typed.char_indices().next_back().map_or(0, |(last, _)| last),
            };
            typed.truncate(left);
            (Mode::Set { actor, typed }, Effect::Nothing)
        }
        (mode, _) => (mode, Effect::Nothing),
    }
}

fn typing(mut typed: String, code: KeyCode) -> String {
    match code {
        KeyCode::Backspace => drop(typed.pop()),
        KeyCode::Char(letter) if typed.chars().count() < TYPED_MAX => typed.push(letter),
        _ => {}
    }
    typed
}

impl View<'_> {
    fn browse(&self, code: KeyCode) -> (Mode, Effect) {
        let nothing = |mode| (mode, Effect::Nothing);
        match code {
            KeyCode::Char('q') | KeyCode::Esc => (Mode::Browse, Effect::Quit),
            KeyCode::Up | KeyCode::Char('k') => (Mode::Browse, Effect::Step { down: false }),
            KeyCode::Down | KeyCode::Char('j') => (Mode::Browse, Effect::Step { down: true }),
            KeyCode::Char('?') => nothing(Mode::Help),
            KeyCode::Char('m') => self.record(),
            KeyCode::Char('w') => self.snapshot(),
            KeyCode::Char(key @ ('r' | 'p' | 's' | 'x')) => match self.selected {
                Some(actor) => self.change(key, actor),
                None => nothing(Mode::Said("select an actor first, with up and down".to_owned())),
            },
            _ => nothing(Mode::Browse),
        }
    }

    fn change(&self, key: char, actor: &ActorStatus) -> (Mode, Effect) {
        // Requests name it as the topology does, also where it runs on another host, or passes on framesets of one.
        let (name, origin) = (actor.plain_name().to_owned(), self.status.origin(actor));
        match key {
            'r' => {
                let edits = Edits { restarts: vec![name], by: self.by.to_owned(), ..Edits::default() };
                (waiting(), Effect::Ask(Request::Edit(edits)))
            }
            'p' if origin.role == ActorRole::Camera => {
                let paused = origin.state != ActorState::Paused;
                let request = Request::Pause { cameras: vec![name], paused, by: self.by.to_owned() };
                (waiting(), Effect::Ask(request))
            }
            'p' => (Mode::Said(format!("{name} is not a camera: only cameras pause")), Effect::Nothing),
            's' => (Mode::Set { actor: name, typed: String::new() }, Effect::Nothing),
            _ if actor.kind == RECORD => self.ask_edit(vec![Edit::Remove { name }]),
            _ => (Mode::Remove { actor: name }, Effect::Nothing),
        }
    }

    /// Sets the typed option.
    fn set(&self, actor: String, typed: &str) -> (Mode, Effect) {
        match typed.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                let settings = vec![(key.trim().to_owned(), value.trim().to_owned())];
                self.ask_edit(vec![Edit::Set { name: actor, settings }])
            }
            _ => (Mode::Said(format!("`{typed}` is not KEY=VALUE, such as exposure=8500")), Effect::Nothing),
        }
    }

    /// Records the selected actor, or all cameras.
    fn record(&self) -> (Mode, Effect) {
        let what = self.selected.map_or("rig", ActorStatus::plain_name);
        let (name, file) = (self.named(RECORD), quoted(&format!("{what}-{}.mcap", self.now)));
        let settings = settings(&[("process", &quoted(&name)), ("queue", QUEUE), ("file", &file)]);
        self.ask_edit(vec![Edit::Add { name, kind: RECORD.to_owned(), inputs: self.inputs(), settings }])
    }

    /// Writes the pictures of one frameset of the selected actor, or of all cameras.
    fn snapshot(&self) -> (Mode, Effect) {
        let settings = settings(&[("folder", "\".\""), ("every", EVERY), ("depth16", "true")]);
        let (name, inputs, by) = (self.named(SNAPSHOT), self.inputs(), self.by.to_owned());
        let attach = Attach { name, kind: SNAPSHOT.to_owned(), inputs, settings, program: Vec::new(), by };
        (waiting(), Effect::Once(attach))
    }

    /// Returns the name of a processor of this kind.
    fn named(&self, kind: &str) -> String {
        format!("{kind}-{}", self.now)
    }

    /// Returns the name of the selected actor, or those of all cameras.
    fn inputs(&self) -> Vec<String> {
        match self.selected {
            Some(actor) => vec![actor.plain_name().to_owned()],
            None => self.status.cameras().map(|camera| camera.plain_name().to_owned()).collect(),
        }
    }

    fn ask_edit(&self, edits: Vec<Edit>) -> (Mode, Effect) {
        (waiting(), Effect::Ask(self.edits(edits)))
    }

    fn edits(&self, edits: Vec<Edit>) -> Request {
        Request::Edit(Edits { edits, by: self.by.to_owned(), ..Edits::default() })
    }
}

fn settings(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    settings.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn waiting() -> Mode {
    Mode::Said("waiting for the rig".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::example;

    fn press(mode: Mode, keys: &str, selected: Option<usize>) -> (Mode, Effect) {
        let mut status = example();
        status.actors[1].state = ActorState::Paused;
        let selected = selected.map(|index| &status.actors[index]);
        let view = View { status: &status, selected, by: "a test", now: "T" };
        keys.chars().fold((mode, Effect::Nothing), |(mode, _), key| {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{8}' => KeyCode::Backspace,
                '\u{1b}' => KeyCode::Esc,
                key => KeyCode::Char(key),
            };
            pressed(mode, KeyEvent::new(code, KeyModifiers::NONE), &view)
        })
    }

    fn edits(edits: Vec<Edit>, restarts: &[&str]) -> Effect {
        let restarts = restarts.iter().map(|&name| name.to_owned()).collect();
        Effect::Ask(Request::Edit(Edits { edits, restarts, by: "a test".to_owned(), ..Edits::default() }))
    }

    #[test]
    fn keys_change_the_selected_actor() {
        let pause = |camera: &str, paused| {
            Effect::Ask(Request::Pause { cameras: vec![camera.to_owned()], paused, by: "a test".to_owned() })
        };
        let said = |text: &str| (Mode::Said(text.to_owned()), Effect::Nothing);
        let asked = |effect| (waiting(), effect);
        assert_eq!(press(Mode::Browse, "r", Some(0)), asked(edits(Vec::new(), &["left"])));
        assert_eq!(press(Mode::Browse, "p", Some(0)), asked(pause("left", true)));
        assert_eq!(press(Mode::Browse, "p", Some(1)), asked(pause("right", false)));
        assert_eq!(press(Mode::Browse, "p", Some(2)), said("view is not a camera: only cameras pause"));
        let remove = vec![Edit::Remove { name: "view".to_owned() }];
        assert_eq!(press(Mode::Browse, "xy", Some(2)), asked(edits(remove, &[])));
        assert_eq!(press(Mode::Browse, "xn", Some(2)), (Mode::Browse, Effect::Nothing));
        assert_eq!(press(Mode::Browse, "x", None), said("select an actor first, with up and down"));
    }

    #[test]
    fn a_setting_is_typed() {
        let typed = |keys| press(Mode::Browse, keys, Some(0));
        let set = |key: &str, value: &str| {
            let settings = vec![(key.to_owned(), value.to_owned())];
            (waiting(), edits(vec![Edit::Set { name: "left".to_owned(), settings }], &[]))
        };
        // Keys of other modes are letters here.
        assert_eq!(typed("sqrx=1\u{8}25\n"), set("qrx", "25"));
        assert_eq!(typed("s a = \"b=c\" \n"), set("a", "\"b=c\""));
        let shown = "set left, such as exposure=8500 (Enter sets, Esc cancels): ga_";
        assert_eq!(typed("sga").0.line().unwrap(), shown);
        assert_eq!(typed("sgain\u{1b}"), (Mode::Browse, Effect::Nothing));
        let wrong = Mode::Said("`gain` is not KEY=VALUE, such as exposure=8500".to_owned());
        assert_eq!(typed("sgain\n"), (wrong, Effect::Nothing));
    }

    /// Ctrl-P is "line up" in many programs, and Ctrl-X Ctrl-Y is no answer to a question.
    #[test]
    fn letters_with_ctrl_or_alt_are_not_those_letters() {
        let status = example();
        let view = View { status: &status, selected: Some(&status.actors[0]), by: "a test", now: "T" };
        let press = |mode: Mode, letter, modifiers| {
            pressed(mode, KeyEvent::new(KeyCode::Char(letter), modifiers), &view)
        };
        let (control, alt) = (KeyModifiers::CONTROL, KeyModifiers::ALT);
        for letter in "rpsmxwqjk?".chars() {
            for modifiers in [control, alt, control | alt] {
                assert_eq!(
                    press(Mode::Browse, letter, modifiers),
                    (Mode::Browse, Effect::Nothing),
                    "{letter}"
                );
            }
        }
        let remove = || Mode::Remove { actor: "view".to_owned() };
        assert_eq!(press(remove(), 'y', control), (remove(), Effect::Nothing));
        let set = |typed: &str| Mode::Set { actor: "left".to_owned(), typed: typed.to_owned() };
        for (letter, left) in [('u', ""), ('w', "a ="), ('h', "a = 8"), ('p', "a = 85")] {
            // Without the space that ends a word.
            let (mode, effect) = press(set("a = 85"), letter, control);
            let (Mode::Set { typed, .. }, Effect::Nothing) = (mode, effect) else { panic!() };
            assert_eq!(typed.trim_end(), left, "{letter}");
        }
        assert_eq!(press(set("a"), 'c', control), (set("a"), Effect::Quit));
        assert_eq!(press(set("a"), 'b', alt), (set("a"), Effect::Nothing));
    }

    #[test]
    fn one_camera_or_all_are_recorded_in_a_process_of_its_own() {
        let add = |inputs: &[&str], file: &str| {
            let settings = vec![
                ("process".to_owned(), "\"record-T\"".to_owned()),
                ("queue".to_owned(), QUEUE.to_owned()),
                ("file".to_owned(), format!("\"{file}\"")),
            ];
            let inputs = inputs.iter().map(|&input| input.to_owned()).collect();
            let (name, kind) = ("record-T".to_owned(), RECORD.to_owned());
            (waiting(), edits(vec![Edit::Add { name, kind, inputs, settings }], &[]))
        };
        assert_eq!(press(Mode::Browse, "m", None), add(&["left", "right"], "rig-T.mcap"));
        assert_eq!(press(Mode::Browse, "m", Some(0)), add(&["left"], "left-T.mcap"));
    }

    #[test]
    fn pictures_of_one_frameset_are_written() {
        let once = |inputs: &[&str]| {
            let settings = settings(&[("folder", "\".\""), ("every", EVERY), ("depth16", "true")]);
            let inputs = inputs.iter().map(|&input| input.to_owned()).collect();
            let (name, kind) = ("snapshot-T".to_owned(), SNAPSHOT.to_owned());
            let by = "a test".to_owned();
            let attach = Attach { name, kind, inputs, settings, program: Vec::new(), by };
            (waiting(), Effect::Once(attach))
        };
        assert_eq!(press(Mode::Browse, "w", None), once(&["left", "right"]));
        assert_eq!(press(Mode::Browse, "w", Some(0)), once(&["left"]));
    }

    /// Requests name actors of another host as the topology does.
    #[test]
    fn keys_change_actors_of_other_hosts() {
        let mut status = example();
        let camera = status.actors[0].clone();
        let relay = camrig_status::RELAY.to_owned();
        status.actors[0].kind = relay;
        status.actors.push(ActorStatus { name: "arm/left".to_owned(), state: ActorState::Paused, ..camera });
        let press = |key, selected: Option<usize>| {
            let selected = selected.map(|index| &status.actors[index]);
            let view = View { status: &status, selected, by: "a test", now: "T" };
            pressed(Mode::Browse, KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE), &view).1
        };
        // The row where it runs, and the one where its framesets are read.
        for row in [0, 3] {
            let request =
                Request::Pause { cameras: vec!["left".to_owned()], paused: false, by: "a test".to_owned() };
            assert_eq!(press('p', Some(row)), Effect::Ask(request));
            assert_eq!(press('r', Some(row)), edits(Vec::new(), &["left"]));
        }
        for (selected, expected) in [(Some(3), &["left"][..]), (None, &["right", "left"])] {
            let Effect::Once(Attach { inputs, .. }) = press('w', selected) else { panic!() };
            assert_eq!(inputs, expected);
        }
    }

    #[test]
    fn other_keys_look_and_leave() {
        for (keys, expected) in [
            ("q", (Mode::Browse, Effect::Quit)),
            ("\u{1b}", (Mode::Browse, Effect::Quit)),
            ("j", (Mode::Browse, Effect::Step { down: true })),
            ("?", (Mode::Help, Effect::Nothing)),
            ("?\u{1b}", (Mode::Browse, Effect::Nothing)),
            ("?q", (Mode::Browse, Effect::Quit)),
            ("z", (Mode::Browse, Effect::Nothing)),
        ] {
            assert_eq!(press(Mode::Browse, keys, None), expected, "{keys:?}");
        }
    }
}
