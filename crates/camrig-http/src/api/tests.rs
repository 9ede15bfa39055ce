use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use camrig_status::control::ControlSocket;
use camrig_status::socket::StatusSocket;

use super::*;
use crate::{Access, Server};

const TOKEN: &str = "secret-1";

/// A rig that answers each request with its text, and a server of the API for it.
struct Rig {
    _status: StatusSocket,
    _control: ControlSocket,
    server: Server,
}

impl Rig {
    fn start(answer: impl Fn(Request) -> Answer + Send + Sync + 'static) -> Self {
        let status = StatusSocket::open().unwrap();
        let control = ControlSocket::serve(status.name(), answer, |_| unreachable!()).unwrap();
        let server = serve(api(status.name(), "view"));
        Self { _status: status, _control: control, server }
    }

    fn words() -> Self {
        Self::start(|request| match request {
            Request::Topology => Answer::Topology { name: "t.toml".to_owned(), text: "# t\n".to_owned() },
            request => Answer::Changes(vec![format!("{request:?}")]),
        })
    }
}

fn serve(routes: Router) -> Server {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Server::start("test", listen, Access::new(listen, Some(TOKEN)).unwrap(), routes).unwrap()
}

/// Sends a request with additional header lines; returns the code and the content of the answer.
fn ask(server: &Server, call: &str, lines: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = body.len();
    write!(stream, "{call} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}Content-Length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, content) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), content.to_owned())
}

const BEARER: &str = "Authorization: Bearer secret-1\r\nContent-Type: application/json\r\n";

/// Returns the text of the request that a call makes.
fn request(rig: &Rig, path: &str, body: &str) -> String {
    let (code, content) = ask(&rig.server, &format!("POST {path}"), BEARER, body);
    let content: Value = serde_json::from_str(&content).unwrap();
    assert_eq!(code, 200, "{content}");
    content["changes"][0].as_str().unwrap().to_owned()
}

#[test]
fn each_call_is_the_request_of_its_command() {
    let rig = Rig::words();
    let edits = |edits: &str, more: &str| {
        format!("Edit(Edits {{ edits: [{edits}], {more}, by: \"HTTP API of `view`\" }})")
    };
    let plain = "restarts: [], live: false, dry_run: false";
    for (path, body, expected) in [
        (
            "/api/set",
            r#"{"actor":"left","settings":{"exposure":8500,"match":{"window_millis":5},"names":["a\"b",true]},"live":true}"#,
            edits(
                r#"Set { name: "left", settings: [("exposure", "8500"), ("match", "{ \"window_millis\" = 5 }"), ("names", "[\"a\\\"b\", true]")] }"#,
                "restarts: [], live: true, dry_run: false",
            ),
        ),
        (
            "/api/add",
            r#"{"name":"rec","kind":"record","inputs":["left"],"process":"rec","settings":{"file":"x.mcap"},"dry_run":true}"#,
            edits(
                r#"Add { name: "rec", kind: "record", inputs: ["left"], settings: [("process", "\"rec\""), ("file", "\"x.mcap\"")] }"#,
                "restarts: [], live: false, dry_run: true",
            ),
        ),
        ("/api/remove", r#"{"actors":["a","b"]}"#, edits(r#"Remove { name: "a" }, Remove { name: "b" }"#, plain)),
        (
            "/api/move",
            r#"{"actors":["a"],"process":"p"}"#,
            edits(r#"Set { name: "a", settings: [("process", "\"p\"")] }"#, plain),
        ),
        ("/api/restart", r#"{"actors":["a"]}"#, edits("", r#"restarts: ["a"], live: false, dry_run: false"#)),
        (
            "/api/pause",
            r#"{"cameras":["left"]}"#,
            r#"Pause { cameras: ["left"], paused: true, by: "HTTP API of `view`" }"#.to_owned(),
        ),
        (
            "/api/resume",
            r#"{"cameras":["left"]}"#,
            r#"Pause { cameras: ["left"], paused: false, by: "HTTP API of `view`" }"#.to_owned(),
        ),
        (
            "/api/preset",
            r#"{"camera":"left","file":"/data/left.json"}"#,
            r#"Preset { camera: "left", file: "/data/left.json" }"#.to_owned(),
        ),
        (
            "/api/apply",
            r#"{"text":"[camera.a]\n","restarts":["a"]}"#,
            r#"Apply(Apply { name: "request", text: "[camera.a]\n", restarts: ["a"], base: None, live: false, dry_run: false, by: "HTTP API of `view`" })"#
                .to_owned(),
        ),
    ] {
        assert_eq!(request(&rig, path, body), expected, "{path}");
    }
    let (code, content) = ask(&rig.server, "GET /api/options?camera=my%20left", BEARER, "");
    assert_eq!(
        (code, content.as_str()),
        (200, r#"{"changes":["Controls { camera: \"my left\", to_set: false }"]}"#)
    );
    let (code, content) = ask(&rig.server, "GET /api/topology", BEARER, "");
    assert_eq!((code, content.as_str()), (200, r##"{"name":"t.toml","text":"# t\n"}"##));
    // A browser says that its page is of the same origin.
    let page = format!("{BEARER}Sec-Fetch-Site: same-origin\r\n");
    let (_, content) = ask(&rig.server, "POST /api/pause", &page, r#"{"cameras":[]}"#);
    assert!(content.contains("by: \\\"page of `view`\\\""), "{content}");
}

#[test]
fn the_description_has_the_calls_of_the_server_and_no_others() {
    let described: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut described: Vec<_> = described["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (path.clone(), method.clone()))
        })
        .collect();
    let method = |filter| if filter == MethodFilter::GET { "get" } else { "post" };
    let mut served: Vec<_> =
        CALLS.iter().map(|&(filter, path, _)| (path.to_owned(), method(filter).to_owned())).collect();
    described.sort();
    served.sort();
    assert_eq!(described, served);
    let rig = Rig::words();
    assert_eq!(ask(&rig.server, "GET /api/openapi.json", BEARER, ""), (200, OPENAPI.to_owned()));
}

#[test]
fn a_call_needs_the_token_and_comes_from_no_other_origin() {
    let rig = Rig::start(|_| panic!("a refused call reaches the rig"));
    let json = "Content-Type: application/json\r\n";
    let body = r#"{"actors":["a"]}"#;
    for (lines, expected) in [
        (json.to_owned(), 401),
        (format!("{json}Authorization: Bearer secret-2\r\n"), 401),
        (format!("{BEARER}Origin: http://elsewhere.example\r\n"), 403),
        (format!("{BEARER}Origin: null\r\n"), 403),
        // A form of another page sends this type.
        ("Authorization: Bearer secret-1\r\nContent-Type: text/plain\r\n".to_owned(), 415),
    ] {
        for path in ["/api/restart", "/api/remove", "/api/apply", "/api/set", "/api/pause"] {
            assert_eq!(ask(&rig.server, &format!("POST {path}"), &lines, body).0, expected, "{path} {lines}");
        }
    }
    assert_eq!(ask(&rig.server, "GET /api/topology", "", "").0, 401);
}

#[test]
fn wrong_calls_are_refused_with_their_reason() {
    let rig = Rig::start(|request| match request {
        Request::Controls { .. } => Answer::Controls(Err("camera `left` is not open".to_owned())),
        Request::Topology => Answer::Refused { message: "error: no device".to_owned(), unavailable: true },
        Request::Pause { .. } => Answer::Failed { message: "it failed".to_owned() },
        _ => Answer::refused("error: no actor `a`"),
    });
    let error = |call: &str, body: &str| {
        let (code, content) = ask(&rig.server, call, BEARER, body);
        let content: Value = serde_json::from_str(&content).unwrap();
        (code, content["error"].as_str().unwrap().to_owned())
    };
    for (call, body, code, message) in [
        ("POST /api/restart", r#"{"actors":["a"]}"#, 422, "no actor `a`"),
        ("GET /api/options?camera=left", "", 422, "camera `left` is not open"),
        ("GET /api/options", "", 400, "the parameter `camera` is missing"),
        ("GET /api/topology", "", 503, "no device"),
        ("POST /api/pause", r#"{"cameras":[]}"#, 500, "it failed"),
        ("POST /api/erase", "{}", 404, "the API has no such call"),
        (
            "POST /api/set",
            r#"{"actor":"a","settings":{"gain":null}}"#,
            400,
            "setting `gain`: `null` is not a value of a topology",
        ),
        (
            "POST /api/restart",
            r#"{"actors":["a"],"force":true}"#,
            400,
            "the body is wrong: unknown field `force`, expected `actors` or `dry_run` at line 1 column 23",
        ),
        (
            "POST /api/preset",
            r#"{"camera":"left","file":"left.json"}"#,
            400,
            "`file` must be an absolute path of the rig's host",
        ),
        ("POST /api/restart", "", 400, "the body is wrong: EOF while parsing a value at line 1 column 0"),
    ] {
        assert_eq!(error(call, body), (code, message.to_owned()), "{call}");
    }
    let large = format!("{{\"text\":\"{}\"}}", "#".repeat(BODY_BYTES_MAX));
    assert_eq!(error("POST /api/apply", &large).0, 413);
    assert_eq!(ask(&rig.server, "GET /api/restart", BEARER, "").0, 405);
    // No rig is behind this one.
    let server = serve(api("nothing", "view"));
    let (code, content) = ask(&server, "GET /api/topology", BEARER, "");
    assert!(code == 503 && content.starts_with(r#"{"error":"the rig cannot be asked: "#), "{content}");
    let server = serve(no_api("there is no control"));
    for call in ["GET /api/topology", "POST /api/apply", "GET /api/openapi.json"] {
        assert_eq!(ask(&server, call, BEARER, "{}"), (403, r#"{"error":"there is no control"}"#.to_owned()));
    }
}
