//! Workers, agents and first hosts that are killed, and cables that are cut, at random moments: framesets flow again, each is
//! accounted for across hosts, and no process is left.
//!
//! `just soak-hosts` runs it for a number of kills; the gate for a few.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use camrig_status::{RigStatus, socket};
use fastrand::Rng;
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};

use crate::agents::{Crossing, Program, WINDOW, agent, children, report, wait};
use crate::cable::Cable;
use crate::crossing::free_address;
use crate::test;

/// The environment variables with the number of kills, and the seed. Empty counts as unset.
const KILLS: &str = "CAMRIG_SOAK_KILLS";
const SEED: &str = "CAMRIG_SOAK_SEED";

/// Number of kills in the gate.
const KILLS_DEFAULT: usize = 6;

/// Maximum number of kills of each agent in a run: five are allowed.
const AGENT_KILLS: u32 = 4;

/// Number of kills in a run, after which its account is compared.
const RUN_KILLS: usize = 12;

/// The longest pause after a kill, and the longest cut of a cable.
const PAUSE_MILLIS: u64 = 400;
const CUT_MILLIS: u64 = 4000;

const HOSTS: [&str; 2] = ["arm", "base"];

/// The crossings: the sender and the receiver, as rows of the report name them.
const CROSSINGS: [(&str, &str); 4] =
    [("arm/left", "left"), ("base/right", "right"), ("base/right", "arm/right"), ("own", "arm/own")];

/// The links whose readers have to have framesets after each kill.
const LINKS: [(&str, &str); 4] =
    [("left", "near"), ("right", "near"), ("arm/right", "arm/far"), ("arm/own", "arm/far")];

/// A fault of one round.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A worker of the first host, or of a host, is killed.
    Worker(Option<usize>),
    Agent(usize),
    Cut(usize),
    /// The first host is killed.
    First,
}

/// A host: its agent behind a cable.
struct Host {
    listen: String,
    cable: Cable,
    agent: Program,
}

impl Host {
    fn new(folder: &Path, name: &str) -> Self {
        let address = free_address();
        let listen = format!("tcp/{address}");
        Self { agent: start(folder, name, &listen), cable: Cable::to(&address), listen }
    }
}

fn start(folder: &Path, name: &str, listen: &str) -> Program {
    agent(folder, name, &["--listen", listen, "--patience", "20"])
}

fn topology(folder: &Path, hosts: &[Host]) -> String {
    let addresses: Vec<_> = HOSTS
        .iter()
        .zip(hosts)
        .map(|(name, host)| format!("[host.{name}]\naddress = \"tcp/{}\"\n", host.cable.address))
        .collect();
    // No policy gives up an actor that is killed a hundred times.
    let common = "restart = { max = 1000, window = 1, backoff_millis = 1, backoff_max_millis = 20 }";
    let camera = |name: &str, host: &str| {
        format!(
            "[camera.{name}]\ndriver = 'synthetic'\n{host}\n{common}\n\
             options = {{ model = 'any', color = 'off', depth = '32x24@60' }}\n"
        )
    };
    let text = format!(
        "{}{}{}{}\
         [processor.near]\nkind = 'stats'\ninputs = ['left', 'right']\n{common}\nwire = {{ depth = 'delta' }}\n\
         [processor.far]\nkind = 'stats'\nhost = 'arm'\ninputs = ['own', 'right']\noverflow = 'block'\n{common}\n",
        addresses.concat(),
        camera("left", "host = 'arm'"),
        camera("right", "host = 'base'"),
        camera("own", ""),
    );
    let path = folder.join("rig.toml").display().to_string();
    std::fs::write(&path, text).unwrap();
    path
}

/// A run, with the framesets that its receivers had accounted for when the numbers of their senders began again.
struct Run {
    program: Program,
    bases: [u64; CROSSINGS.len()],
    agent_kills: [u32; HOSTS.len()],
}

impl Run {
    fn start(folder: &Path, path: &str) -> Self {
        let report_file = folder.join("report.json").display().to_string();
        let program = Program::start(folder, "run", &["run", path, "--report", &report_file]);
        Self { program, bases: [0; CROSSINGS.len()], agent_kills: [0; HOSTS.len()] }
    }

    fn status(&self) -> Option<RigStatus> {
        let pid = format!("-{}-", self.program.child.id());
        let names = socket::names().ok()?;
        socket::read(names.iter().find(|name| name.contains(&pid))?).ok()
    }

    fn delivered(&self) -> BTreeMap<(String, String), u64> {
        let status = self.status().unwrap_or_default();
        status.links.into_iter().map(|link| ((link.from, link.to), link.delivered)).collect()
    }

    /// Waits until each reader has framesets.
    fn flows(&self, hosts: &[Host], event: &str) {
        for (from, to) in LINKS {
            let link = (from.to_owned(), to.to_owned());
            let mut least = None;
            let has_more = || {
                let Some(&count) = self.delivered().get(&link) else { return false };
                let least = least.get_or_insert(count);
                // An agent that was restarted begins again.
                *least = count.min(*least);
                count > *least + 1
            };
            let context = || self.context(hosts);
            wait(&format!("framesets from `{from}` to `{to}` after {event}"), has_more, context);
        }
    }

    fn context(&self, hosts: &[Host]) -> String {
        let agents = hosts.iter().map(|host| host.agent.stderr());
        format!("{:#?}\n{}{}", self.status(), self.program.stderr(), agents.collect::<Vec<_>>().join("---\n"))
    }

    /// Returns the number of framesets that a receiver has accounted for, once it no longer changes.
    fn accounted(&self, receiver: &str) -> u64 {
        let now = || {
            let status = self.status()?;
            let actor = status.actors.iter().find(|actor| actor.name == receiver)?;
            Some(actor.produced + actor.lost)
        };
        let mut last = (None, 0);
        let is_still = || {
            let now = now();
            last = (now, if now.is_some() && now == last.0 { last.1 + 1 } else { 0 });
            last.1 > 40
        };
        wait(&format!("an account of `{receiver}`"), is_still, || self.program.stderr());
        last.0.unwrap()
    }

    /// Kills an agent, and starts another one instead.
    fn restart_agent(&mut self, folder: &Path, hosts: &mut [Host], which: usize) {
        let (host, name) = (&mut hosts[which], HOSTS[which]);
        self.agent_kills[which] += 1;
        let _ = host.agent.child.kill();
        let _ = host.agent.child.wait();
        let before = format!("{name}/");
        for (index, (sender, receiver)) in CROSSINGS.iter().enumerate() {
            if receiver.starts_with(&before) {
                self.bases[index] = 0;
            } else if sender.starts_with(&before) {
                self.bases[index] = self.accounted(receiver);
            }
        }
        host.agent = start(folder, &format!("{name}-{}", fastrand::u32(..)), &host.listen);
    }

    /// Ends the run, and compares its accounts.
    fn finish(mut self, folder: &Path, hosts: &[Host]) {
        self.program.signal(Signal::INT);
        let context = self.context(hosts);
        assert_eq!(self.program.finish().0, Some(0), "{context}{}", self.program.stderr());
        let report = report(folder);
        assert_eq!(report["problems"].as_array().map(Vec::len), Some(0), "{report:#}{context}");
        for ((sender, receiver), base) in CROSSINGS.iter().zip(self.bases) {
            let crossing = Crossing::of(&report, sender, receiver);
            let whole = Crossing { delivered: crossing.delivered + base, ..crossing };
            // Hosts that read each other end with some on their way; one more waits for credit.
            assert!(
                whole.in_flight() <= WINDOW + 1,
                "{sender} to {receiver}, {base}: {crossing:?} {report:#}{context}"
            );
        }
    }
}

/// Returns the next event.
fn event(random: &mut Rng, run: &Run) -> Event {
    let host = random.usize(..HOSTS.len());
    match random.u32(..10) {
        0 | 1 if run.agent_kills[host] < AGENT_KILLS => Event::Agent(host),
        2 => Event::Cut(host),
        3 => Event::First,
        4..7 => Event::Worker(None),
        _ => Event::Worker(Some(host)),
    }
}

fn kill_a_worker(random: &mut Rng, program: &Program) {
    let workers = children(program);
    if let Some(&pid) = random.choice(&workers) {
        // It may just have ended.
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
}

fn soak() {
    let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let kills = value(KILLS).map_or(KILLS_DEFAULT, |kills| kills.parse().unwrap());
    let seed = value(SEED).map_or_else(|| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("soak: {SEED}={seed} {KILLS}={kills}");
    let mut random = Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut hosts: Vec<_> = HOSTS.iter().map(|name| Host::new(folder, name)).collect();
    let path = topology(folder, &hosts);
    let mut run = Run::start(folder, &path);
    let mut counts = BTreeMap::<&str, usize>::new();
    run.flows(&hosts, "the begin");
    for kill in 1..=kills {
        // The gate has one of each kind at least.
        let fixed =
            [Event::Worker(None), Event::Worker(Some(0)), Event::Agent(0), Event::Cut(1), Event::Agent(1)];
        let event = fixed.get(kill - 1).copied().unwrap_or_else(|| event(&mut random, &run));
        match event {
            Event::Worker(None) => kill_a_worker(&mut random, &run.program),
            Event::Worker(Some(host)) => kill_a_worker(&mut random, &hosts[host].agent),
            Event::Agent(host) => run.restart_agent(folder, &mut hosts, host),
            Event::Cut(host) => {
                hosts[host].cable.set_whole(false);
                std::thread::sleep(Duration::from_millis(random.u64(..CUT_MILLIS)));
                hosts[host].cable.set_whole(true);
            }
            Event::First => {
                let _ = run.program.child.kill();
                let _ = run.program.child.wait();
                run = Run::start(folder, &path);
            }
        }
        let kind = match event {
            Event::Worker(_) => "workers",
            Event::Agent(_) => "agents",
            Event::Cut(_) => "cuts",
            Event::First => "first hosts",
        };
        *counts.entry(kind).or_default() += 1;
        if random.bool() {
            std::thread::sleep(Duration::from_millis(random.u64(..PAUSE_MILLIS)));
        }
        run.flows(&hosts, &format!("{kill}: {event:?}"));
        if kill % RUN_KILLS == 0 && kill < kills {
            run.finish(folder, &hosts);
            run = Run::start(folder, &path);
            run.flows(&hosts, "another begin");
        }
    }
    run.finish(folder, &hosts);
    for host in &hosts {
        // Parts of first hosts that were killed end after the patience of their agents.
        wait("the end of all parts", || children(&host.agent).is_empty(), || host.agent.stderr());
    }
    println!("soak: {counts:?}, all accounted for");
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "soak::kills_and_cuts_lose_nothing_without_an_account", soak);
}
