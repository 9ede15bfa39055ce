//! Hostile peers of an agent: without a certificate, with another's, with garbage on the port, and with malformed messages.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use camrig_hosts::session::{self, SessionOptions};
use libtest_mimic::Trial;
use rustix::process::Signal;
use serde_json::json;
use zenoh::{Config, Session, Wait};

use crate::agents::{Crossing, Program, WINDOW, agent, identity, report, topology, wait, whole_run};
use crate::crossing::free_address;
use crate::test;

/// Connections that send garbage.
const CONNECTIONS: usize = 60;

/// Connections that stay open and send nothing more.
const IDLE: usize = 40;

/// Malformed messages of each kind.
const MESSAGES: usize = 300;

/// Time in which an agent would have answered a pinned peer.
const NO_ANSWER: Duration = Duration::from_secs(3);

/// The key at which an agent answers.
const ASK: &str = "camrig/agent/ask";

/// Maximum growth of an agent's memory by messages of others, in kB.
const GROWTH_KB: u64 = 64 << 10;

/// Returns the first bytes that a first host sends to an agent.
fn handshake(folder: &Path, scheme: &str, host: &str) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("address = \"{scheme}/{}\"\n{host}", listener.local_addr().unwrap());
    let rig = topology(folder, &address);
    let _check = Program::start(folder, "handshake", &["check", &rig]);
    let mut bytes = vec![0; 4096];
    let count = listener.accept().unwrap().0.read(&mut bytes).unwrap();
    assert!(count > 8, "{count} bytes");
    bytes.truncate(count);
    bytes
}

/// Returns random bytes, or a handshake that is cut off and changed.
fn garbage(random: &mut fastrand::Rng, handshake: &[u8]) -> Vec<u8> {
    if random.u8(..3) == 0 {
        return (0..random.usize(..3000)).map(|_| random.u8(..)).collect();
    }
    let mut bytes = handshake.to_vec();
    for _ in 0..random.usize(1..6) {
        let place = random.usize(..bytes.len());
        bytes[place] = random.u8(..);
    }
    if random.bool() {
        bytes.truncate(random.usize(1..bytes.len()));
    } else {
        bytes.extend((0..random.usize(..500)).map(|_| random.u8(..)));
    }
    bytes
}

fn resident_kb(agent: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Garbage on the port, and silent connections, do not prevent a rig from running.
fn garbage_on_the_port(tls: bool) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (first, arm) = (identity(folder, "first.pem"), identity(folder, "arm.pem"));
    let (address, file) = (free_address(), folder.join("arm.pem").display().to_string());
    let scheme = if tls { "tls" } else { "tcp" };
    let listen = format!("{scheme}/{address}");
    let pinned = ["--listen", &listen, "--identity", &file, "--peer", &first];
    let agent = agent(folder, "agent", if tls { &pinned } else { &pinned[..4] });
    let fingerprint = if tls { format!("fingerprint = \"{arm}\"") } else { String::new() };
    let handshake = handshake(folder, scheme, &fingerprint);
    let before = resident_kb(&agent);
    let mut random = fastrand::Rng::with_seed(18);
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(&address).expect("the agent listens");
        // The agent may close it before it has read all.
        let _ = stream.write_all(&garbage(&mut random, &handshake));
    }
    let _idle: Vec<_> = (0..IDLE)
        .map(|index| {
            let mut stream = TcpStream::connect(&address).expect("the agent listens");
            let _ = stream.write_all(&handshake[..index % handshake.len()]);
            stream
        })
        .collect();
    let host = format!("address = \"{listen}\"\n{fingerprint}");
    let rig = topology(folder, &host);
    let answers = || Program::start(folder, "check", &["check", &rig]).finish().0 == Some(0);
    wait("an answer", answers, || agent.stderr());
    whole_run(&host, &agent, folder);
    let after = resident_kb(&agent);
    assert!(after < before + GROWTH_KB, "{before} kB before, {after} kB after");
}

/// Returns whether an agent answers this peer.
fn is_answered(config: Config) -> bool {
    let session = zenoh::open(config).wait().unwrap();
    let answers = (0..6).any(|_| asks(&session, b"{}", NO_ANSWER / 6).is_some());
    session.close().wait().unwrap();
    answers
}

/// Sends a request; returns the answer.
fn asks(session: &Session, request: &[u8], time: Duration) -> Option<String> {
    let replies = session.get(ASK).payload(request).timeout(time).wait().unwrap();
    let reply = replies.recv_timeout(time).ok().flatten();
    // Without a connection it fails immediately.
    if reply.is_none() {
        std::thread::sleep(time / 2);
    }
    let sample = reply?.into_result().ok()?;
    Some(String::from_utf8(sample.payload().to_bytes().into_owned()).unwrap())
}

/// A peer without a certificate, or with one that the agent has not pinned, is not answered.
fn unknown_peers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (first, arm) = (identity(folder, "first.pem"), identity(folder, "arm.pem"));
    identity(folder, "other.pem");
    let (listen, file) = (format!("tls/{}", free_address()), folder.join("arm.pem").display().to_string());
    let agent = agent(folder, "agent", &["--listen", &listen, "--identity", &file, "--peer", &first]);
    let config = |identity: &str| {
        let options = SessionOptions {
            connect: vec![listen.clone()],
            identity: Some(folder.join(identity)),
            peers: vec![arm.clone()],
            ..SessionOptions::default()
        };
        session::config(&options).unwrap()
    };
    assert!(is_answered(config("first.pem")), "the peer that it knows: {}", agent.stderr());
    assert!(!is_answered(config("other.pem")));
    let mut without = config("first.pem");
    for (key, value) in [
        ("connect_private_key_base64", json!(null)),
        ("connect_certificate_base64", json!(null)),
        ("enable_mtls", json!(false)),
    ] {
        without.insert_json5(&format!("transport/link/tls/{key}"), &value.to_string()).unwrap();
    }
    assert!(!is_answered(without));
    whole_run(&format!("address = \"{listen}\"\nfingerprint = \"{arm}\""), &agent, folder);
}

/// Malformed messages of a pinned peer are refused, and a rig that runs meanwhile keeps its account.
fn malformed_messages() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let agent = agent(folder, "agent", &["--listen", &listen]);
    let path = folder.join("rig.toml").display().to_string();
    let text = format!(
        r#"
        [host.arm]
        address = "{listen}"

        [camera.there]
        driver  = "synthetic"
        host    = "arm"
        options = {{ model = "any", depth = "32x24@60", color = "off" }}

        [camera.here]
        driver  = "synthetic"
        options = {{ model = "any", depth = "32x24@60", color = "off" }}

        [processor.near]
        kind   = "stats"
        inputs = ["there"]

        [processor.far]
        kind   = "stats"
        host   = "arm"
        inputs = ["here"]
        "#
    );
    std::fs::write(&path, text).unwrap();
    let report_file = folder.join("report.json").display().to_string();
    let mut run = Program::start(folder, "run", &["run", &path, "--report", &report_file]);
    let lines = run.lines();
    let printed = || lines.lock().unwrap().iter().filter(|line| line.starts_with("stats: there")).count();
    let context = || run.stderr() + &agent.stderr();
    wait("framesets", || printed() > 0, context);

    let options = SessionOptions { connect: vec![listen.clone()], ..SessionOptions::default() };
    let session = session::open(&options).unwrap();
    let mut random = fastrand::Rng::with_seed(5);
    let program = env!("CARGO_PKG_VERSION");
    let stop = |version| {
        format!(r#"{{"camrig_hosts":{version},"program":"{program}","content":{{"stop":{{"run":"*"}}}}}}"#)
    };
    // The answer to another version names the agent's own: with that one, the rest of a request is read.
    let mut refused = None;
    let answered = || {
        refused = asks(&session, stop("0").as_bytes(), NO_ANSWER);
        refused.is_some()
    };
    wait("an answer", answered, context);
    let refused = refused.unwrap();
    let version = refused.split("with protocol ").last().unwrap().split(':').next().unwrap();
    let good = stop(version);
    let good = good.as_bytes();
    let answer = asks(&session, good, 10 * NO_ANSWER).unwrap();
    assert!(answer.contains("it runs no part of run `*`"), "{answer}");
    for _ in 0..MESSAGES {
        let answer = asks(&session, &garbage(&mut random, good), 10 * NO_ANSWER).expect("an answer");
        assert!(answer.contains("\"refused\""), "{answer}");
    }
    let large = vec![b' '; 17 << 20];
    assert!(asks(&session, &large, 10 * NO_ANSWER).unwrap().contains("at most 16777216 are read"));
    // The head of a frameset, whose rest is damaged, and an answer.
    let real = |what: &str| {
        let subscriber = session.declare_subscriber(format!("camrig/**/{what}")).wait().unwrap();
        let sample = subscriber.recv_timeout(10 * NO_ANSWER).unwrap().expect("a message of the rig");
        sample.payload().to_bytes().into_owned()
    };
    let (frameset, credit) = (real("data"), real("credit"));
    let head = &frameset[..8];
    assert!(head.starts_with(b"cmwi"), "{head:?}");
    for _ in 0..MESSAGES {
        let data = [head, &garbage(&mut random, &[7; 64])].concat();
        session.put("camrig/**/data", data).wait().unwrap();
        session.put("camrig/**/credit", garbage(&mut random, &credit)).wait().unwrap();
    }
    let before = printed();
    wait("framesets after garbage", || printed() > before + 1, context);
    run.signal(Signal::INT);
    let (code, _) = run.finish();
    assert_eq!(code, Some(0), "{}{}", run.stderr(), agent.stderr());
    let report = report(folder);
    assert_eq!(report["problems"].as_array().map(Vec::len), Some(0), "{report:#}");
    let crossing = Crossing::of(&report, "arm/there", "there");
    assert!(crossing.in_flight() <= WINDOW, "{report:#}");
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "hostile::garbage_on_the_port_of_tls_blocks_no_peer", || garbage_on_the_port(true));
    test(trials, "hostile::garbage_on_the_port_of_tcp_blocks_no_peer", || garbage_on_the_port(false));
    test(trials, "hostile::peers_without_a_known_certificate_are_not_answered", unknown_peers);
    test(trials, "hostile::malformed_messages_are_refused_while_a_rig_runs", malformed_messages);
}
