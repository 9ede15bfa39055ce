//! The requests of a first host to agents, and their answers: JSON in queries of Zenoh.
//!
//! Each begins with the version of this protocol and of the program, which have to be the same on both sides.

use std::collections::BTreeMap;

use camrig::frame::{DeviceProfile, one_line};
use camrig::hosts::{Declaration, HostDevices, HostPlan};
use camrig::status::{RigStatus, control};
use camrig::{RelayedCamera, Report};
use serde::{Deserialize, Serialize};

use crate::streams;

/// The version of requests and answers.
pub(crate) const VERSION: u32 = 10;

/// The version of this program.
pub(crate) const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// The keys of an agent. A session with an agent that listens has no other agent; one with a router has all that are connected
/// to it, so there the keys have the name of the host.
#[derive(Clone, Debug)]
pub(crate) struct AgentKeys {
    prefix: String,
}

impl AgentKeys {
    /// Returns the keys of an agent; `name` is that of its host if it is connected to a router.
    pub(crate) fn of(name: Option<&str>) -> Self {
        let prefix = name.map_or_else(|| "camrig/agent".to_owned(), |name| format!("camrig/host/{name}"));
        Self { prefix }
    }

    /// Returns the key at which the agent answers.
    pub(crate) fn ask(&self) -> String {
        format!("{}/ask", self.prefix)
    }

    /// Returns the key at which the agent answers for its host's monotonic time.
    pub(crate) fn clock(&self) -> String {
        format!("{}/clock", self.prefix)
    }

    /// Returns the key of the liveliness of the agent.
    pub(crate) fn alive(&self) -> String {
        format!("{}/alive", self.prefix)
    }

    /// Returns the key at which the agent publishes the lines of its log.
    pub(crate) fn log(&self) -> String {
        format!("{}/log", self.prefix)
    }

    /// Returns the beginning of the keys of the liveliness of runs.
    pub(crate) fn runs(&self) -> String {
        format!("{}/run/", self.prefix)
    }
}

/// Maximum size of a request or answer, in bytes.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A request or answer, with the versions of its sender.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Versioned<T> {
    /// [`VERSION`].
    pub(crate) camrig_hosts: u32,
    /// [`PROGRAM`].
    pub(crate) program: String,
    pub(crate) content: T,
}

/// The versions of a message whose content may be of another version.
#[derive(Deserialize)]
struct Versions {
    camrig_hosts: u32,
    program: String,
}

/// A part of a rig.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartRequest {
    /// The name of the run.
    pub(crate) run: String,
    /// The name of the topology in messages.
    pub(crate) name: String,
    /// The topology of the part.
    pub(crate) text: String,
    /// The number of framesets after which each camera stops.
    pub(crate) framesets: Option<u64>,
    /// The keys of the crossings whose readers take framesets before its cameras start.
    pub(crate) awaited: Vec<String>,
}

/// A request to an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum HostRequest {
    /// The drivers and kinds of its program.
    Hello,
    /// Whether its part can be run.
    Check(PartRequest),
    /// The properties of the framesets of the actors of its part.
    Declare(PartRequest),
    /// To run its part.
    Start(PartRequest),
    /// To stop the cameras of the part of a run; those that relay framesets of another host continue until that has no more.
    Drain { run: String },
    /// To stop the part of a run in order, without the framesets that would still arrive from other hosts.
    Stop { run: String },
    /// To end the part of a run immediately.
    Interrupt { run: String },
    /// The state of the part of a run.
    Status { run: String },
    /// Its devices, for a first host that calls it `host`.
    Devices { host: String },
    /// The USB bandwidth of its part.
    Plan(PartRequest),
    /// A request to the rig of the part of a run. Only those that run only drivers and kinds are answered.
    Rig { run: String, request: control::Request },
}

/// The drivers and kinds of an agent's program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) pid: u32,
    pub(crate) drivers: Vec<String>,
    pub(crate) kinds: Vec<String>,
    /// The program that synchronises the system's clock.
    #[serde(default)]
    pub(crate) synchronized_by: Option<String>,
}

/// The properties of the framesets of an actor, as texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Declared {
    /// By name, each with its format and profile.
    pub(crate) streams: BTreeMap<String, String>,
    /// Each with the name of its clock, if that is known.
    pub(crate) cameras: Vec<(String, Option<String>)>,
}

impl Declared {
    /// Returns the declaration as texts; without streams if one of them cannot be a text.
    pub(crate) fn of(declaration: &Declaration) -> Self {
        let text = |it: &DeviceProfile| Some((it.stream.name().to_owned(), streams::text(it)?));
        let streams: Option<_> = declaration.streams.iter().map(text).collect();
        let camera = |it: &RelayedCamera| (it.name.clone(), it.clock.map(|clock| clock.name().to_owned()));
        Self {
            streams: streams.unwrap_or_default(),
            cameras: declaration.cameras.iter().map(camera).collect(),
        }
    }

    /// Returns the declaration; without streams if one of them is not known here.
    pub(crate) fn declaration(self) -> Declaration {
        let read = |(name, text): (&String, &String)| streams::read(name, text).ok();
        let streams: Option<_> = self.streams.iter().map(read).collect();
        let camera = |(name, clock): (String, Option<String>)| RelayedCamera {
            name,
            clock: clock.and_then(|clock| streams::clock(&clock)),
        };
        Declaration {
            cameras: self.cameras.into_iter().map(camera).collect(),
            streams: streams.unwrap_or_default(),
        }
    }
}

/// The state of the part of a run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PartState {
    /// It runs.
    Running(Box<RigStatus>),
    /// It has ended.
    Ended(Box<Report>),
    /// The agent has not started it: the agent was restarted.
    Unknown,
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Hello(Hello),
    Done,
    Part(PartState),
    Rig(control::Answer),
    Devices(Box<HostDevices>),
    Plan(Box<HostPlan>),
    /// By the names of actors.
    Declared(BTreeMap<String, Declared>),
    /// The reasons, one line each.
    Refused(Vec<String>),
}

/// Returns the bytes of a message.
pub(crate) fn write<T: Serialize>(content: T) -> Vec<u8> {
    let message = Versioned { camrig_hosts: VERSION, program: PROGRAM.to_owned(), content };
    // These types contain nothing that JSON cannot represent.
    serde_json::to_vec(&message).unwrap_or_default()
}

/// Reads a message of `sender`.
///
/// # Errors
/// If it is too large, of another version, or no message.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(sender: &str, bytes: &[u8]) -> Result<T, String> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        let length = bytes.len();
        return Err(format!("{sender} sent {length} bytes; at most {MESSAGE_BYTES_MAX} are read"));
    }
    let invalid = |error: serde_json::Error| {
        format!("{sender} sent something that is not a message of camrig: {}", one_line(error))
    };
    let Versions { camrig_hosts, program } = serde_json::from_slice(bytes).map_err(invalid)?;
    if camrig_hosts != VERSION || program != PROGRAM {
        return Err(format!(
            "{sender} is camrig {} with protocol {camrig_hosts}, and this is camrig {PROGRAM} with protocol {VERSION}: \
             install the same version on both",
            one_line(program)
        ));
    }
    let Versioned { content, .. } = serde_json::from_slice(bytes).map_err(invalid)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let request = HostRequest::Check(PartRequest {
            run: "r".to_owned(),
            name: "rig.toml".to_owned(),
            text: "[camera.a]\n".to_owned(),
            framesets: Some(30),
            awaited: vec!["camrig/r/a/main".to_owned()],
        });
        assert_eq!(read::<HostRequest>("it", &write(&request)).unwrap(), request);
    }

    #[test]
    fn another_version_is_refused_with_both_named() {
        let newer = br#"{"camrig_hosts":9,"program":"9.9.9","content":{"dance":{}}}"#;
        assert_eq!(
            read::<HostRequest>("host `arm`", newer).unwrap_err(),
            format!(
                "host `arm` is camrig 9.9.9 with protocol 9, and this is camrig {PROGRAM} with protocol {VERSION}: install \
                 the same version on both"
            )
        );
    }

    #[test]
    fn bytes_that_are_not_a_message_are_refused() {
        for bytes in [&b""[..], b"{}", b"\xff\xfe", b"[1,2]", b"{\"camrig_hosts\":1}"] {
            assert!(
                read::<HostRequest>("it", bytes)
                    .unwrap_err()
                    .starts_with("it sent something that is not a message of camrig")
            );
        }
        let unknown = format!(
            r#"{{"camrig_hosts":{VERSION},"program":"{PROGRAM}","content":{{"run":{{"command":"sh"}}}}}}"#
        );
        assert!(read::<HostRequest>("it", unknown.as_bytes()).unwrap_err().contains("unknown variant `run`"));
        // Names in a message are quoted, on one line and shortened.
        let head = format!(r#""camrig_hosts":{VERSION},"program":"{PROGRAM}""#);
        let field = format!(r#"{{{head},"content":"hello","a\nb{}":0}}"#, "x".repeat(5000));
        let refused = read::<HostRequest>("it", field.as_bytes()).unwrap_err();
        assert!(refused.contains("unknown field `a bx") && refused.len() < 1200, "{refused}");
        let program = format!(r#"{{"camrig_hosts":{VERSION},"program":"a\nb","content":0}}"#);
        assert!(
            read::<HostRequest>("it", program.as_bytes()).unwrap_err().starts_with("it is camrig a b with")
        );
        let large = vec![b' '; MESSAGE_BYTES_MAX + 1];
        assert!(read::<HostRequest>("it", &large).unwrap_err().ends_with("at most 16777216 are read"));
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_are_refused_or_read(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            is_request: bool,
        ) {
            let mut bytes = if is_request { write(HostRequest::Stop { run: "r".to_owned() }) } else { bytes };
            for (at, value) in changes {
                if !bytes.is_empty() {
                    let place = at.index(bytes.len());
                    bytes[place] = value;
                }
            }
            if let Err(refused) = read::<HostRequest>("it", &bytes) {
                prop_assert!(refused.starts_with("it ") && !refused.contains('\n'), "{}", refused);
            }
            let _ = read::<Answer>("it", &bytes);
        }
    }
}
