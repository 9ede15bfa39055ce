//! The HTTP API, which changes a running rig as the commands do: each call is one request to the rig's control socket.
//!
//! [`OPENAPI`] describes it for other programs. Access is decided before a call arrives here; on a server whose topology does
//! not permit control, each call is answered with that reason.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request as HttpRequest;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, any, get, on};
use camrig_status::control::{self, Answer, Apply, Edit, Edits, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The description of the API in `OpenAPI` 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

/// The maximum size of a request, in bytes: a topology file of the maximum size, with the escapes that files have.
const BODY_BYTES_MAX: usize = 2 << 20;

/// The time for the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum number of calls under way: fewer than the control socket serves, so that commands are answered too.
const CALLS_MAX: usize = 8;

/// The name of a topology without one in the request.
const UNNAMED: &str = "request";

/// Makes the request of a call from its parts.
type Make = fn(&Call<'_>) -> Result<Request, String>;

const CALLS: &[(MethodFilter, &str, Make)] = &[
    (MethodFilter::GET, "/api/topology", |_| Ok(Request::Topology)),
    (MethodFilter::GET, "/api/options", options),
    (MethodFilter::POST, "/api/apply", apply),
    (MethodFilter::POST, "/api/set", set),
    (MethodFilter::POST, "/api/add", add),
    (MethodFilter::POST, "/api/remove", remove),
    (MethodFilter::POST, "/api/move", move_actors),
    (MethodFilter::POST, "/api/restart", restart),
    (MethodFilter::POST, "/api/pause", |call| pause(call, true)),
    (MethodFilter::POST, "/api/resume", |call| pause(call, false)),
    (MethodFilter::POST, "/api/preset", preset),
];

/// The parts of a call.
struct Call<'c> {
    query: Option<&'c str>,
    body: &'c [u8],
    /// The caller, for the log and the report.
    by: String,
}

impl Call<'_> {
    fn body<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(self.body).map_err(|error| format!("the body is wrong: {error}"))
    }

    fn parameter(&self, wanted: &str) -> Result<String, String> {
        let mut pairs = form_urlencoded::parse(self.query.unwrap_or_default().as_bytes());
        let found = pairs.find(|(name, _)| name == wanted);
        found
            .map(|(_, value)| value.into_owned())
            .ok_or_else(|| format!("the parameter `{wanted}` is missing"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApplyBody {
    text: String,
    name: Option<String>,
    #[serde(default)]
    restarts: Vec<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetBody {
    actor: String,
    settings: Map<String, Value>,
    #[serde(default)]
    live: bool,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddBody {
    name: String,
    kind: String,
    #[serde(default)]
    inputs: Vec<String>,
    process: Option<String>,
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActorsBody {
    actors: Vec<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveBody {
    actors: Vec<String>,
    process: String,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseBody {
    cameras: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresetBody {
    camera: String,
    file: String,
}

fn options(call: &Call<'_>) -> Result<Request, String> {
    Ok(Request::Controls { camera: call.parameter("camera")?, to_set: false })
}

fn apply(call: &Call<'_>) -> Result<Request, String> {
    let ApplyBody { text, name, restarts, dry_run } = call.body()?;
    let name = name.unwrap_or_else(|| UNNAMED.to_owned());
    Ok(Request::Apply(Apply { name, text, restarts, base: None, live: false, dry_run, by: call.by.clone() }))
}

fn set(call: &Call<'_>) -> Result<Request, String> {
    let SetBody { actor, settings, live, dry_run } = call.body()?;
    let edits = vec![Edit::Set { name: actor, settings: texts(&settings)? }];
    Ok(Request::Edit(Edits { edits, restarts: Vec::new(), live, dry_run, by: call.by.clone() }))
}

fn add(call: &Call<'_>) -> Result<Request, String> {
    let AddBody { name, kind, inputs, process, settings, dry_run } = call.body()?;
    let mut settings = texts(&settings)?;
    if let Some(process) = process {
        settings.insert(0, ("process".to_owned(), toml_text(&process.into())?));
    }
    Ok(edit(call, vec![Edit::Add { name, kind, inputs, settings }], dry_run))
}

fn remove(call: &Call<'_>) -> Result<Request, String> {
    let ActorsBody { actors, dry_run } = call.body()?;
    Ok(edit(call, actors.into_iter().map(|name| Edit::Remove { name }).collect(), dry_run))
}

fn move_actors(call: &Call<'_>) -> Result<Request, String> {
    let MoveBody { actors, process, dry_run } = call.body()?;
    let settings = vec![("process".to_owned(), toml_text(&process.into())?)];
    let edits = actors.into_iter().map(|name| Edit::Set { name, settings: settings.clone() });
    Ok(edit(call, edits.collect(), dry_run))
}

fn restart(call: &Call<'_>) -> Result<Request, String> {
    let ActorsBody { actors, dry_run } = call.body()?;
    Ok(Request::Edit(Edits { restarts: actors, dry_run, by: call.by.clone(), ..Edits::default() }))
}

fn pause(call: &Call<'_>, paused: bool) -> Result<Request, String> {
    let PauseBody { cameras } = call.body()?;
    Ok(Request::Pause { cameras, paused, by: call.by.clone() })
}

fn preset(call: &Call<'_>) -> Result<Request, String> {
    let PresetBody { camera, file } = call.body()?;
    if !Path::new(&file).is_absolute() {
        return Err("`file` must be an absolute path of the rig's host".to_owned());
    }
    Ok(Request::Preset { camera, file })
}

fn edit(call: &Call<'_>, edits: Vec<Edit>, dry_run: bool) -> Request {
    Request::Edit(Edits { edits, dry_run, by: call.by.clone(), ..Edits::default() })
}

/// Returns each setting with the text that its value has in a topology.
fn texts(settings: &Map<String, Value>) -> Result<Vec<(String, String)>, String> {
    let text = |(key, value): (&String, &Value)| {
        let text = toml_text(value).map_err(|error| format!("setting `{key}`: {error}"))?;
        Ok((key.clone(), text))
    };
    settings.iter().map(text).collect()
}

/// Returns a value as TOML.
fn toml_text(value: &Value) -> Result<String, String> {
    match value {
        Value::Null => Err("`null` is not a value of a topology".to_owned()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        // TOML has the escapes of JSON, and requires one more.
        Value::String(_) => Ok(value.to_string().replace('\u{7f}', "\\u007f")),
        Value::Array(values) => {
            let texts: Result<Vec<_>, _> = values.iter().map(toml_text).collect();
            Ok(format!("[{}]", texts?.join(", ")))
        }
        Value::Object(values) => {
            let pair = |(key, value): (&String, &Value)| {
                Ok(format!("{} = {}", toml_text(&key.as_str().into())?, toml_text(value)?))
            };
            let pairs: Result<Vec<_>, String> = values.iter().map(pair).collect();
            Ok(format!("{{ {} }}", pairs?.join(", ")))
        }
    }
}

/// The data that all calls share.
struct Api {
    rig: String,
    server: String,
    calls: Arc<Semaphore>,
}

/// Returns the routes of the API of the rig whose status socket is `rig`. `server` names the server in the log and in the
/// report, such as `view`.
pub fn api(rig: &str, server: &str) -> Router {
    let (rig, server) = (rig.to_owned(), server.to_owned());
    let api = Arc::new(Api { rig, server, calls: Arc::new(Semaphore::new(CALLS_MAX)) });
    let description = || async { ([(header::CONTENT_TYPE, "application/json")], OPENAPI) };
    let router = Router::new().route("/api/openapi.json", get(description));
    let router = CALLS.iter().fold(router, |router, &(method, path, make)| {
        let api = Arc::clone(&api);
        let call = move |request: HttpRequest| {
            let api = Arc::clone(&api);
            async move { api.call(request, make).await.unwrap_or_else(|refused| refused) }
        };
        router.route(path, on(method, call))
    });
    router.route("/api/{*path}", any(|| async { error(StatusCode::NOT_FOUND, "the API has no such call") }))
}

/// Returns the routes of the API where the topology does not permit control: each answers `reason`.
pub fn no_api(reason: &'static str) -> Router {
    Router::new().route("/api/{*path}", any(move || async move { error(StatusCode::FORBIDDEN, reason) }))
}

impl Api {
    /// Sends the request of a call, and returns its answer.
    async fn call(&self, request: HttpRequest, make: Make) -> Result<Response, Response> {
        let (parts, body) = request.into_parts();
        let body = body_of(&parts, body).await?;
        let call = Call { query: parts.uri.query(), body: &body, by: self.caller(&parts.headers) };
        let request = make(&call).map_err(|message| error(StatusCode::BAD_REQUEST, &message))?;
        let busy =
            |_| error(StatusCode::SERVICE_UNAVAILABLE, "too many calls are under way; try again later");
        let permit = Arc::clone(&self.calls).try_acquire_owned().map_err(busy)?;
        let rig = self.rig.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            control::ask(&rig, &request)
        });
        Ok(response(asked.await.map_err(io::Error::other).flatten()))
    }

    /// Names the caller. Only a browser sends the header that identifies the page.
    fn caller(&self, headers: &HeaderMap) -> String {
        let is_page = headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin");
        format!("{} of `{}`", if is_page { "page" } else { "HTTP API" }, self.server)
    }
}

/// Returns the body of a call; empty for one that has none.
async fn body_of(parts: &Parts, body: Body) -> Result<Bytes, Response> {
    let is_json = |value: &header::HeaderValue| {
        let text = value.to_str().unwrap_or_default();
        text.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    };
    if parts.method == axum::http::Method::POST
        && !parts.headers.get(header::CONTENT_TYPE).is_some_and(is_json)
    {
        let fact = "the body is JSON: send `Content-Type: application/json`";
        return Err(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, fact));
    }
    match timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let fact = format!("the body has more than {BODY_BYTES_MAX} bytes, or ends early");
            Err(error(StatusCode::PAYLOAD_TOO_LARGE, &fact))
        }
        Err(_) => Err(error(StatusCode::REQUEST_TIMEOUT, "the body does not arrive in time")),
    }
}

fn response(answer: io::Result<Answer>) -> Response {
    let refused = StatusCode::UNPROCESSABLE_ENTITY;
    match answer {
        Ok(Answer::Topology { name, text }) => {
            answered(StatusCode::OK, &json!({ "name": name, "text": text }))
        }
        Ok(Answer::Changes(changes)) => answered(StatusCode::OK, &json!({ "changes": changes })),
        Ok(Answer::Controls(Ok(options))) => answered(StatusCode::OK, &json!({ "options": options })),
        Ok(Answer::Controls(Err(message))) => error(refused, &message),
        Ok(Answer::Refused { message, unavailable }) => {
            let code = if unavailable { StatusCode::SERVICE_UNAVAILABLE } else { refused };
            error(code, message.strip_prefix("error: ").unwrap_or(&message))
        }
        Ok(Answer::Failed { message }) => error(StatusCode::INTERNAL_SERVER_ERROR, &message),
        Err(fact) => error(StatusCode::SERVICE_UNAVAILABLE, &format!("the rig cannot be asked: {fact}")),
    }
}

fn error(code: StatusCode, message: &str) -> Response {
    answered(code, &json!({ "error": message }))
}

fn answered(code: StatusCode, content: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (code, headers, content.to_string()).into_response()
}

#[cfg(test)]
mod tests;
