//! A rig over several hosts: its topology over all of them, and requests to it.
//!
//! A change is split like the topology: each host gets the new topology of its part, and changes like a rig of one host.
//! Every host has to agree before the first one changes. Hosts whose framesets others read change first, so that the
//! framesets sent to a reader that is removed arrive before its removal.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use camrig_status::control::{Answer, Edit, Edits, Request};

use super::RunControl as Rig;
use super::change::ChangeError;
use super::live::{Setting, WantedTopology, notes_of};
use crate::control::{DeviceAnswer, DeviceCall};
use crate::hosts::{HostPart, PartChange, RunningHosts, WholeTopology};
use crate::topology::Topology;

/// The parts of a rig on other hosts.
#[derive(Clone)]
// Only the program starts such rigs.
#[cfg_attr(not(any(test, feature = "program")), allow(dead_code))]
pub(crate) struct Others {
    hosts: Arc<dyn RunningHosts>,
    /// The topology over all hosts that runs.
    topology: Arc<Mutex<Arc<Topology>>>,
    /// The number of framesets after which each camera stops.
    framesets: Option<u64>,
}

impl Others {
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn new(hosts: Arc<dyn RunningHosts>, topology: Arc<Topology>, framesets: Option<u64>) -> Self {
        Self { hosts, topology: Arc::new(Mutex::new(topology)), framesets }
    }

    pub(crate) fn hosts(&self) -> &Arc<dyn RunningHosts> {
        &self.hosts
    }

    fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_topology(&self, topology: Arc<Topology>) {
        *self.topology.lock().unwrap_or_else(PoisonError::into_inner) = topology;
    }

    /// Returns the host that has an actor; `None` if this one has it, or none.
    pub(super) fn host_of(&self, actor: &str) -> Option<String> {
        let topology = self.topology();
        topology.find(actor).and_then(|id| topology.actor(id).host.clone())
    }

    /// Sets devices of other hosts. Returns the settings of this host's devices.
    fn set_far(&self, settings: Vec<Setting>, by: &str) -> Result<Vec<Setting>, ChangeError> {
        let mut own = Vec::new();
        for setting in settings {
            let Some(host) = self.host_of(&setting.camera) else {
                own.push(setting);
                continue;
            };
            let values = setting.values.iter().map(|(name, value)| (name.clone(), value.to_string()));
            let edits = vec![Edit::Set { name: setting.camera.clone(), settings: values.collect() }];
            let edits = Edits { edits, live: true, by: by.to_owned(), ..Edits::default() };
            self.ask(&host, Request::Edit(edits))?;
        }
        Ok(own)
    }

    /// Has the agent of a host answer, and returns the changes.
    fn ask(&self, host: &str, request: Request) -> Result<Vec<String>, ChangeError> {
        changes_of(host, self.hosts.ask(host, request))
    }
}

/// A topology over several hosts, with its parts.
struct Side {
    topology: Arc<Topology>,
    parts: Vec<HostPart>,
    /// The part of this host.
    own: Topology,
    /// Actors that restart although nothing differs.
    restarts: Vec<String>,
}

impl Side {
    fn part(&self, host: &str) -> Option<&HostPart> {
        self.parts.iter().find(|part| part.host.as_deref() == Some(host))
    }

    /// Returns those of its actors that restart which are on a host.
    fn restarts_on(&self, host: Option<&str>) -> Vec<String> {
        let is_there = |name: &&String| {
            self.topology.find(name).is_some_and(|id| self.topology.actor(id).host.as_deref() == host)
        };
        self.restarts.iter().filter(is_there).cloned().collect()
    }
}

impl Rig {
    /// Returns the topology that runs, over all hosts; `None` if the run is over.
    pub(crate) fn whole_topology(&self) -> Option<Arc<Topology>> {
        let own = self.topology()?;
        Some(self.others.as_ref().map_or(own, Others::topology))
    }

    /// Makes a call to the open device of a camera, on whichever host it is, and waits for the answer.
    pub(crate) fn call_device(&self, camera: &str, call: DeviceCall) -> DeviceAnswer {
        let far = self.others.as_ref().and_then(|others| Some((others, others.host_of(camera)?)));
        let Some((others, host)) = far else { return self.call_own_device(camera, call) };
        match call {
            DeviceCall::Controls | DeviceCall::ControlsToSet => {
                let to_set = call == DeviceCall::ControlsToSet;
                match others.hosts.ask(&host, Request::Controls { camera: camera.to_owned(), to_set }) {
                    Answer::Controls(answer) => answer,
                    answer => Err(match changes_of(&host, answer) {
                        Err(error) => error.to_string(),
                        Ok(_) => format!("host `{host}` has answered another request"),
                    }),
                }
            }
            _ => Err(format!("camera `{camera}` is on host `{host}`: ask for this there")),
        }
    }

    /// Stops the streams of cameras, or starts them again. Returns a line for each camera whose state changes.
    pub(crate) fn pause(
        &self,
        cameras: &[String],
        paused: bool,
        by: &str,
    ) -> Result<Vec<String>, ChangeError> {
        let Some(others) = &self.others else { return self.pause_own(cameras, paused, by) };
        let mut of_hosts: BTreeMap<Option<String>, Vec<String>> = BTreeMap::new();
        for camera in cameras {
            of_hosts.entry(others.host_of(camera)).or_default().push(camera.clone());
        }
        let mut lines = Vec::new();
        for (host, cameras) in of_hosts {
            let done = match host {
                None => self.pause_own(&cameras, paused, by),
                Some(host) => others.ask(&host, Request::Pause { cameras, paused, by: by.to_owned() }),
            };
            match done {
                Ok(done) => lines.extend(done),
                Err(ChangeError::Refused(fact)) if !lines.is_empty() => {
                    return Err(ChangeError::Failed(fact));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(lines)
    }

    /// Changes the parts of all hosts. `settings` are values of devices for which the topology has no place.
    pub(super) fn apply_over_hosts(
        &self,
        others: &Others,
        wanted: WantedTopology,
        settings: Vec<Setting>,
    ) -> Result<Vec<String>, ChangeError> {
        let WantedTopology { topology, restarts, base, live, dry_run, by } = wanted;
        let current = others.topology();
        if base.is_some_and(|base| base != current.running_text()) {
            let fact = "the topology that runs has changed meanwhile".to_owned();
            return Err(ChangeError::Refused(fact));
        }
        if let Some(unknown) = restarts.iter().find(|name| topology.find(name).is_none()) {
            return Err(ChangeError::Refused(format!("the rig has no actor `{unknown}`")));
        }
        let before = self.side(others, current, Vec::new())?;
        let after = self.side(others, Arc::new(topology), restarts)?;
        let hosts = order(others, &after);
        // Nothing changes unless every host agrees; a host that changes alone need not be asked before.
        if dry_run || needs_agreement(&hosts, &before, &after, settings.len()) {
            let mut lines: Vec<_> = settings.iter().flat_map(notes_of).collect();
            for host in &hosts {
                lines.extend(self.change_part(
                    others,
                    host.as_deref(),
                    &before,
                    &after,
                    (live, true),
                    &by,
                )?);
            }
            if dry_run {
                return Ok(lines);
            }
        }
        let own_settings = others.set_far(settings, &by)?;
        let mut own_settings = Some(own_settings);
        let (mut lines, mut failure) = (Vec::new(), None);
        for (index, host) in hosts.iter().enumerate() {
            let changed = match host {
                None => {
                    let wanted = own_wanted(&after, live, &by);
                    self.apply_own(wanted, own_settings.take().unwrap_or_default(), BTreeMap::new())
                }
                Some(host) => self.change_part(others, Some(host), &before, &after, (live, false), &by),
            };
            match changed {
                Ok(changes) => lines.extend(changes),
                // It has changed; so the others do.
                Err(error @ ChangeError::Failed(_)) => failure = failure.or(Some(error)),
                Err(error) => {
                    self.undo(others, &hosts[..index], &after, &before, &by);
                    return Err(error);
                }
            }
        }
        others.set_topology(after.topology);
        failure.map_or(Ok(lines), Err)
    }

    /// Splits a topology, and parses the part of this host.
    fn side(
        &self,
        others: &Others,
        topology: Arc<Topology>,
        restarts: Vec<String>,
    ) -> Result<Side, ChangeError> {
        let whole = WholeTopology {
            name: topology.name().to_owned(),
            text: topology.running_text(),
            hosts: topology.hosts().to_vec(),
            declarations: topology.declarations(),
            framesets: others.framesets,
        };
        let parts = others.hosts.split(&whole).map_err(ChangeError::Refused)?;
        let own = parts.iter().find(|part| part.host.is_none());
        let text = own.map(|part| part.text.as_str()).unwrap_or_default();
        let own = Topology::parse(topology.name(), text, None, &self.registry);
        Ok(Side { topology, parts, own: own.map_err(ChangeError::Problems)?, restarts })
    }

    /// Changes the part of one host, or with `dry_run` returns the changes.
    fn change_part(
        &self,
        others: &Others,
        host: Option<&str>,
        before: &Side,
        after: &Side,
        (live, dry_run): (bool, bool),
        by: &str,
    ) -> Result<Vec<String>, ChangeError> {
        let Some(host) = host else {
            let wanted = WantedTopology { dry_run, ..own_wanted(after, live, by) };
            return self.apply_own(wanted, Vec::new(), BTreeMap::new());
        };
        let spec = |side: &Side| side.topology.hosts().iter().find(|spec| spec.name == host).cloned();
        let spec = spec(after).or_else(|| spec(before));
        let spec = spec.ok_or_else(|| ChangeError::Refused(format!("the rig has no host `{host}`")))?;
        let change = PartChange {
            spec: &spec,
            name: after.topology.name(),
            part: after.part(host),
            restarts: after.restarts_on(Some(host)),
            live,
            dry_run,
            by,
        };
        changes_of(host, others.hosts.change(&change))
    }

    /// Restores the earlier parts of hosts that have changed.
    fn undo(&self, others: &Others, hosts: &[Option<String>], from: &Side, to: &Side, by: &str) {
        for host in hosts.iter().rev() {
            if let Err(error) = self.change_part(others, host.as_deref(), from, to, (false, false), by) {
                log::error!("a change is not undone: {error}");
            }
        }
    }
}

fn own_wanted(side: &Side, live: bool, by: &str) -> WantedTopology {
    let restarts = side.restarts_on(None);
    WantedTopology { restarts, live, ..WantedTopology::whole(Topology::clone(&side.own), by) }
}

/// Returns whether more than one of the hosts changes, or one and `settings` devices.
fn needs_agreement(hosts: &[Option<String>], before: &Side, after: &Side, settings: usize) -> bool {
    let text = |side: &Side, host: &Option<String>| {
        side.parts.iter().find(|part| part.host == *host).map(|part| part.text.clone())
    };
    let changes = |host: &&Option<String>| {
        text(before, host) != text(after, host) || !after.restarts_on(host.as_deref()).is_empty()
    };
    let changing = hosts.iter().filter(changes).count();
    changing > 0 && changing + settings > 1
}

/// Returns all hosts in the order in which they change; those that begin come last.
fn order(others: &Others, after: &Side) -> Vec<Option<String>> {
    let mut hosts = others.hosts.order();
    let new = after.parts.iter().map(|part| &part.host).filter(|host| !hosts.contains(host));
    let new: Vec<_> = new.cloned().collect();
    hosts.extend(new);
    hosts
}

/// Returns the changes of a host, each of which names it.
fn changes_of(host: &str, answer: Answer) -> Result<Vec<String>, ChangeError> {
    let named = |line: &str| match line.strip_prefix("error: ").unwrap_or(line) {
        line if line.starts_with("host `") => line.to_owned(),
        line => format!("host `{host}`: {line}"),
    };
    match answer {
        Answer::Changes(lines) => Ok(lines.iter().map(|line| named(line)).collect()),
        Answer::Refused { message, .. } => Err(ChangeError::Refused(named(&message))),
        Answer::Failed { message } => Err(ChangeError::Failed(named(&message))),
        Answer::Topology { .. } | Answer::Controls(_) => {
            Err(ChangeError::Refused(named("its agent answered another request")))
        }
    }
}
