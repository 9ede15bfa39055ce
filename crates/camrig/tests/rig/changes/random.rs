//! Random changes of a running rig: all is accounted for after each, and the supervisor keeps no more than rows.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use camrig_status::control::Answer;
use rustix::process::{Signal, kill_process};

use super::{apply, ask, check, socket, sum, wait_for_flow};
use crate::harness::{Placement, Plan, Report, Rig};
use crate::soak::{requested, resident_bytes, resources, seeded};

/// Number of random changes without the environment variable.
const CHANGES: u64 = 60;

/// Resources that are the same after this time have settled: a thread looks once a second whether readers have ended.
const SETTLING: Duration = Duration::from_millis(1500);

/// Memory of the supervisor for a row of the report, and for the records of an ended link, actor and process.
const LINK_BYTES: u64 = 1 << 10;
const ACTOR_BYTES: u64 = 2 << 10;
const PROCESS_BYTES: u64 = 1 << 10;
const CHANGE_BYTES: u64 = 1 << 10;

/// Maximum growth of a supervisor beside its rows, with one arena of its allocator. With an arena for each thread that
/// serves requests it keeps more, all of it unused.
const KEPT_BYTES: u64 = 2 << 20;

/// The environment variable with the number of random changes.
const CHANGES_VARIABLE: &str = "CAMRIG_SOAK_CHANGES";

/// The processors of a random topology: name, process, inputs.
type Actors = BTreeMap<String, (String, Vec<String>)>;

/// Returns a topology with these exposures of its six cameras, and these processors.
fn random_text(exposures: [u32; 6], actors: &Actors) -> String {
    let mut text = String::new();
    for (camera, exposure) in (1..).zip(exposures) {
        write!(
            text,
            "[camera.c{camera}]\ndriver = 'synthetic'\nprocess = 'c{camera}'\n\
             options = {{ model = 'any', color = 'off', depth = '{}x24@60', exposure = {exposure} }}\n",
            30 + 2 * camera,
        )
        .unwrap();
    }
    text += "[processor.check]\nkind = 'verify'\nprocess = 'check'\noverflow = 'block'\n\
             inputs = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6']\n";
    for (name, (process, inputs)) in actors {
        write!(
            text,
            "[processor.{name}]\nkind = 'observer'\nprocess = '{process}'\ninputs = {inputs:?}\n\
             restart = {{ max = 1000, window = 1, backoff_millis = 1, backoff_max_millis = 20 }}\n"
        )
        .unwrap();
    }
    text
}

/// The end of an attached processor.
#[derive(Clone, Copy, Debug)]
enum AttachedEnd {
    /// Its time is over.
    Time,
    /// The command that attached it is killed.
    CommandKilled,
    /// Its process is killed, and then its time is over.
    WorkerKilled,
}

/// Attaches a processor as from another terminal, and waits until it has left.
fn attach_for_a_while(rig: &mut Rig, camera: &str, end: AttachedEnd) {
    let time = if matches!(end, AttachedEnd::CommandKilled) { "1h" } else { "100ms" };
    let pid = rig.supervisor().as_raw_nonzero().to_string();
    let arguments = ["attach", &pid, "observer", "--inputs", camera, "--for", time];
    let mut command = rig.command(&arguments).spawn().unwrap();
    let name = format!("observer-{}", command.id());
    let state = |rig: &mut Rig| {
        let status = rig.status();
        check(&status);
        status.actors.iter().find(|actor| actor.name == name).map(|actor| actor.state)
    };
    match end {
        AttachedEnd::Time => {}
        AttachedEnd::CommandKilled => {
            rig.wait_for("the attached processor", |rig| state(rig));
            command.kill().unwrap();
        }
        AttachedEnd::WorkerKilled => {
            let worker = |rig: &mut Rig| rig.children().into_iter().find(|worker| worker.process == name);
            // It may have left already.
            let found = rig.wait_for("its process", |rig| {
                let is_over = command.try_wait().unwrap().is_some();
                worker(rig).map(Some).or(is_over.then_some(None))
            });
            let _ = found.map(|worker| kill_process(worker.pid, Signal::KILL));
        }
    }
    let ended = command.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    if matches!(end, AttachedEnd::Time) {
        assert!(ended.status.success(), "{stderr}");
    }
    rig.wait_for("the end of the attached processor", |rig| {
        state(rig).is_none_or(camrig_status::ActorState::has_ended).then_some(())
    });
}

/// Checks that the memory of a supervisor has grown by no more than the rows of its report and their records.
fn check_memory(report: &Report, grown: u64) {
    let rows = [
        (report.links.len(), LINK_BYTES),
        (report.actors.len(), ACTOR_BYTES),
        (report.processes.len(), PROCESS_BYTES),
        (report.changes_of_run.len(), CHANGE_BYTES),
    ];
    let kept: u64 = rows.iter().map(|&(count, bytes)| count as u64 * bytes).sum();
    eprintln!(
        "changes: the supervisor has {} KiB more than before; rows and their bytes: {rows:?}",
        grown >> 10
    );
    assert!(grown <= KEPT_BYTES + kept, "{grown} bytes; rows and their bytes: {rows:?}");
}

/// Adds, removes, moves, sets, restarts and attaches actors, and kills the processes of some in between.
pub(super) fn random_changes() {
    let changes = requested(CHANGES_VARIABLE).unwrap_or(CHANGES);
    let mut random = seeded();
    let mut exposures = [8500; 6];
    let text = random_text(exposures, &Actors::new());
    let mut rig = Plan::new(&text, Placement::Mixed).environment("MALLOC_ARENA_MAX", "1").start();
    let socket = socket(&mut rig);
    let flow: Vec<_> = ["c1", "c2", "c3", "c4", "c5", "c6"].map(|camera| (camera, "check")).to_vec();
    // Producers keep the slots, and processes the notifiers, that the largest topology so far has needed.
    let processes = ["main", "p1", "p2", "p3", "check", "c1"];
    let inputs: Vec<_> = flow.iter().map(|(camera, _)| (*camera).to_owned()).collect();
    let observer = |number: usize| (format!("w{number}"), (processes[number % 6].to_owned(), inputs.clone()));
    apply(&socket, &random_text(exposures, &(0..8).map(observer).collect()));
    wait_for_flow(&mut rig, &flow);
    apply(&socket, &random_text(exposures, &Actors::new()));
    wait_for_flow(&mut rig, &flow);
    let mut settled = resources(&rig);
    let baseline = rig.wait_for("the end of all processes that are left", |rig| {
        std::thread::sleep(SETTLING);
        let before = std::mem::replace(&mut settled, resources(rig));
        before.filter(|before| settled.as_ref() == Some(before))
    });
    let (mut actors, began) = (Actors::new(), Instant::now());
    let mut slowest = Duration::ZERO;
    let resident = resident_bytes(rig.supervisor());
    for number in 0..changes {
        let process = processes[random.usize(..processes.len())].to_owned();
        let names: Vec<_> = actors.keys().cloned().collect();
        let chosen = (!names.is_empty()).then(|| names[random.usize(..names.len())].clone());
        let mut restarts = Vec::new();
        match (random.u8(..10), &chosen) {
            (0..2, Some(name)) => drop(actors.remove(name)),
            (2..4, Some(name)) => actors.get_mut(name).unwrap().0 = process,
            (4, Some(name)) => restarts.push(name.as_str()),
            (5, _) => exposures[random.usize(..6)] = random.u32(1..=165_000),
            (6, _) => {
                let ends = [AttachedEnd::Time, AttachedEnd::CommandKilled, AttachedEnd::WorkerKilled];
                let end = ends[random.usize(..ends.len())];
                attach_for_a_while(&mut rig, &format!("c{}", 1 + number % 6), end);
            }
            _ => {
                let inputs = (1..=6).filter(|_| random.bool()).map(|camera| format!("c{camera}"));
                let mut inputs: Vec<_> = inputs.collect();
                inputs.push(format!("c{}", 1 + number % 6));
                inputs.sort();
                inputs.dedup();
                actors.insert(format!("w{}", number % 8), (process, inputs));
            }
        }
        if random.u8(..5) == 0 {
            // Only processes of observers: those of unchanged links continue.
            let workers: Vec<_> =
                rig.children().into_iter().filter(|worker| worker.process.starts_with('p')).collect();
            if !workers.is_empty() {
                // It may have ended already.
                let _ = kill_process(workers[random.usize(..workers.len())].pid, Signal::KILL);
            }
        }
        let asked = Instant::now();
        match ask(&socket, &random_text(exposures, &actors), &restarts) {
            // A process that was killed fails its actors, which are restarted.
            Answer::Changes(_) | Answer::Failed { .. } => {}
            answer => panic!("{answer:?}"),
        }
        slowest = slowest.max(asked.elapsed());
        check(&rig.status());
    }
    eprintln!(
        "changes: {changes} in {} ms, the slowest took {} ms",
        began.elapsed().as_millis(),
        slowest.as_millis()
    );
    match ask(&socket, &random_text(exposures, &Actors::new()), &[]) {
        Answer::Changes(_) => {}
        answer => panic!("{answer:?}"),
    }
    wait_for_flow(&mut rig, &flow);
    // Some of the baseline may have been on its way to its end.
    rig.wait_for("no more resources than before the changes", |rig| {
        let now = resources(rig)?;
        let is_kept = now.is_within(&baseline);
        if !is_kept {
            eprintln!("changes: not yet {baseline:?}, but {now:?}");
            std::thread::sleep(SETTLING);
        }
        is_kept.then_some(())
    });
    let names: Vec<_> = rig.status().processes.into_iter().map(|process| process.name).collect();
    assert_eq!(names, ["main", "c1", "c2", "c3", "c4", "c5", "c6", "check"]);
    let grown = resident_bytes(rig.supervisor()).saturating_sub(resident);
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    ended.assert_settled();
    let report = ended.report();
    check_memory(report, grown);
    for (camera, _) in flow {
        let produced = report.actor(camera).produced;
        assert_eq!(sum(report, camera, "check"), (produced, produced, 0, 1));
    }
    assert_eq!((report.actor("check").restarts, report.actor("check").errors.len()), (0, 0));
}
