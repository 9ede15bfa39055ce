//! Runs the program as a user does, and sends it requests over HTTP.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

#[path = "../../testing.rs"]
mod testing;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use testing::program;

/// Sends a request, and returns status line and body.
fn ask(address: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn the_server_shows_the_rig_stops_it_and_ends_with_it() {
    let mut program =
        program(env!("CARGO_BIN_EXE_embed-http")).arg("rig.toml").stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("http://").unwrap().to_owned();
    loop {
        let (head, body) = ask(&address, "GET /status");
        assert_eq!(head, "HTTP/1.1 200 OK");
        let status: serde_json::Value = serde_json::from_str(&body).unwrap();
        let names: Vec<_> = status["processes"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
        assert_eq!(names, ["main", "left", "right", "rates"]);
        if status["links"].as_array().unwrap().iter().all(|link| link["delivered"].as_u64() > Some(0)) {
            break;
        }
    }
    assert_eq!(ask(&address, "POST /stop").0, "HTTP/1.1 200 OK");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.lines().last(), Some("stopped as asked"), "{rest}");
    assert_eq!(program.wait().unwrap().code(), Some(0));
}
