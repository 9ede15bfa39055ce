//! Viewers get the same pictures of a camera on another host as of one here: over 127.0.0.1, in real processes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use libtest_mimic::Trial;
use rustix::process::Signal;
use serde_json::Value;

use crate::agents::{Program, WATCHDOG, agent, wait};
use crate::crossing::free_address;
use crate::same::on_one_host;
use crate::test;

/// Pictures that a viewer takes.
const PICTURES: usize = 20;

/// The least number of pictures of the same frameset that are compared: viewers get the newest ones, and may miss some.
const COMPARED_MIN: usize = 3;

/// A camera on another host, and two kinds of viewers of it here.
fn topology(folder: &Path, address: Option<&str>) -> String {
    let text = r#"
        [camera.there]
        driver  = "synthetic"
        host    = "arm"
        options = { model = "any", seed = 7, depth = "64x48@10", color = "64x48@10" }

        [processor.page]
        kind    = "view"
        inputs  = ["there"]
        wire    = { depth = "delta", color = "zstd" }
        options = { listen = "127.0.0.1:0" }

        [processor.live]
        kind    = "foxglove"
        inputs  = ["there"]
        wire    = { depth = "delta", color = "zstd" }
        options = { listen = "127.0.0.1:0" }
        "#;
    let text = match address {
        Some(address) => format!("[host.arm]\naddress = \"tcp/{address}\"\n{text}"),
        None => on_one_host(text),
    };
    let path = folder.join("rig.toml").display().to_string();
    std::fs::write(&path, text).unwrap();
    path
}

/// A client of a WebSocket.
struct Socket(BufReader<TcpStream>);

impl Socket {
    /// Connects to an address of the form `HOST:PORT/PATH`.
    fn open(address: &str, protocol: &str) -> Self {
        let (host, path) = address.split_once('/').unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        write!(
            stream,
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{protocol}\r\n"
        )
        .unwrap();
        let mut socket = Self(BufReader::new(stream));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(socket.bytes::<1>());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        socket
    }

    fn bytes<const COUNT: usize>(&mut self) -> [u8; COUNT] {
        let mut bytes = [0; COUNT];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Sends a text of fewer than 126 bytes, with a mask of zeros.
    fn send(&mut self, text: &str) {
        let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).unwrap();
        let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0][..], text.as_bytes()].concat();
        self.0.get_mut().write_all(&frame).unwrap();
    }

    /// Returns the next text or message; a text is JSON.
    fn receive(&mut self) -> Result<Value, Vec<u8>> {
        loop {
            let [kind, length] = self.bytes();
            let length = match length {
                126 => u64::from(u16::from_be_bytes(self.bytes())),
                127 => u64::from_be_bytes(self.bytes()),
                short => u64::from(short),
            };
            let mut content = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut content).unwrap();
            match kind {
                0x81 => return Ok(serde_json::from_slice(&content).unwrap()),
                0x82 => return Err(content),
                // A ping.
                0x89 => {}
                kind => panic!("a frame of kind {kind:#x}"),
            }
        }
    }
}

/// Returns the pictures of the page: color as JPEG and the units of depth, by the number of the frameset.
fn of_page(address: &str) -> BTreeMap<u64, Vec<u8>> {
    let mut socket = Socket::open(&format!("{address}socket"), "");
    let (mut shown, mut after) = (BTreeMap::new(), 0);
    while shown.len() < PICTURES {
        socket.send(&format!(
            r#"{{"ask":"frames","camera":0,"after":{after},"streams":["color"],"width":64,"depth":true}}"#
        ));
        let message = socket.receive().unwrap_err();
        let (length, rest) = message.split_at(4);
        let (text, parts) = rest.split_at(u32::from_le_bytes(length.try_into().unwrap()) as usize);
        let text: Value = serde_json::from_slice(text).unwrap();
        assert_eq!(text["parts"].as_array().map(Vec::len), Some(2), "{text}");
        after = text["count"].as_u64().unwrap();
        shown.insert(text["sequence"].as_u64().unwrap(), parts.to_vec());
    }
    shown
}

/// Returns the JPEG files that a viewer of Foxglove's protocol gets.
fn of_foxglove(address: &str) -> BTreeSet<Vec<u8>> {
    let mut socket = Socket::open(address, "Sec-WebSocket-Protocol: foxglove.sdk.v1\r\n");
    let mut pictures = BTreeSet::new();
    while pictures.len() < PICTURES {
        match socket.receive() {
            Ok(told) => {
                let channels = told["channels"].as_array().into_iter().flatten();
                for channel in channels.filter(|channel| channel["schemaName"] == "foxglove.CompressedImage")
                {
                    let channel = &channel["id"];
                    socket.send(&format!(
                        r#"{{"op":"subscribe","subscriptions":[{{"id":1,"channelId":{channel}}}]}}"#
                    ));
                }
            }
            Err(message) => {
                let begin = message.windows(3).position(|bytes| bytes == b"\xff\xd8\xff").unwrap();
                let end = message.windows(2).rposition(|bytes| bytes == b"\xff\xd9").unwrap();
                pictures.insert(message[begin..end].to_vec());
            }
        }
    }
    pictures
}

/// Returns the pictures that both viewers get of a rig, while it runs.
fn seen(folder: &Path, path: &str) -> (BTreeMap<u64, Vec<u8>>, BTreeSet<Vec<u8>>) {
    let mut run = Program::start(folder, "run", &["run", path]);
    let lines = run.lines();
    let address = |begin: &str| {
        let mut found = None;
        let find = || {
            found = lines.lock().unwrap().iter().find_map(|line| line.strip_prefix(begin).map(str::to_owned));
            found.is_some()
        };
        wait(begin, find, || run.stderr());
        found.unwrap_or_default()
    };
    let (page, live) = (address("page: http://"), address("live: ws://"));
    let of_page = std::thread::spawn(move || of_page(&page));
    let of_foxglove = of_foxglove(&live);
    let of_page = of_page.join().unwrap();
    run.signal(Signal::INT);
    assert_eq!(run.finish().0, Some(0), "{}", run.stderr());
    (of_page, of_foxglove)
}

fn same() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (page, live) = seen(folder, &topology(folder, None));
    let address = free_address();
    let _agent = agent(folder, "agent", &["--listen", &format!("tcp/{address}")]);
    let (far_page, far_live) = seen(folder, &topology(folder, Some(&address)));
    let common: Vec<_> = page.keys().filter(|sequence| far_page.contains_key(sequence)).collect();
    assert!(common.len() >= COMPARED_MIN, "{:?} and {:?}", page.keys(), far_page.keys());
    for sequence in common {
        assert_eq!(page[sequence], far_page[sequence], "frameset {sequence}");
    }
    // Its messages have no number, and each frameset has another picture.
    assert!(live.intersection(&far_live).count() >= COMPARED_MIN);
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "viewers::a_camera_of_another_host_looks_as_one_of_this_host", same);
}
