//! The JSON schema of a whole topology, with which editors complete and check one.
//!
//! It describes the keys that `parse` reads: tests compare them. Relations between keys, such as an input without an
//! actor of that name, are checked by `camrig check` only. It is of draft 7, which most editors support.

use std::collections::BTreeMap;

use camrig_ipc::{CPUS_MAX, MAX_SLOTS};
use camrig_usb::{Budgets, MEGABITS_MAX};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::hosts::RATE_MEGABITS_MAX;
use super::{
    BACKOFF_MAX_MILLIS_DEFAULT, BACKOFF_MILLIS_DEFAULT, CAMERA_STALL_MILLIS_DEFAULT,
    DEVICE_TIMEOUT_MILLIS_DEFAULT, INPUTS_MAX, MATCH_QUEUE_DEFAULT, MATCH_WINDOW_MILLIS_MAX,
    PROCESSOR_STALL_MILLIS_DEFAULT, QUEUE_DEFAULT, QUEUE_MAX, RESTARTS_DEFAULT, RESTARTS_MAX, SLOTS_MIN,
    START_MILLIS_DEFAULT, TIME_MILLIS_MAX, WINDOW_SECONDS_DEFAULT,
};
use crate::ids::NAME_BYTES_MAX;
use crate::registry::Registry;
use crate::schema::schema_of;

/// The cameras and processors of a rig, and the process of each of them.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // Only its shape matters, as of all types here.
struct File {
    /// The process of actors that name none: each has a process of its own, or all are in this one.
    #[schemars(extend("default" = "multi-process"))]
    placement: Option<Placement>,
    /// The file with the poses of the cameras, which `camrig calibrate` writes.
    calibration: Option<String>,
    /// The bandwidth that USB controllers have, for `camrig plan`.
    usb: Option<Usb>,
    /// An HTTP server for the rig's numbers.
    metrics: Option<Metrics>,
    /// The other hosts, on which agents run actors, by name.
    host: Option<BTreeMap<String, Host>>,
    /// The processes that another program runs, or that the kernel runs otherwise, by name.
    process: Option<BTreeMap<String, Process>>,
    /// The cameras by name.
    camera: BTreeMap<String, CameraKeys>,
    /// The processors by name.
    processor: Option<BTreeMap<String, Processor>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code)]
enum Placement {
    MultiProcess,
    InProcess,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Usb {
    /// The bandwidth that nearly any controller carries over a link of 5 Gb/s.
    #[schemars(range(min = 1, max = MEGABITS_MAX), extend("default" = Budgets::default().cautious_megabits, "x-unit" = "Mb/s"))]
    cautious_megabits: Option<u32>,
    /// The bandwidth that a good controller carries over a link of 5 Gb/s.
    #[schemars(range(min = 1, max = MEGABITS_MAX), extend("default" = Budgets::default().optimistic_megabits, "x-unit" = "Mb/s"))]
    optimistic_megabits: Option<u32>,
}

#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Metrics {
    /// The address and port, such as `127.0.0.1:9464`.
    listen: String,
    /// A secret that is needed where other machines can reach `listen`.
    token: Option<String>,
}

/// One other host: its agent, which `camrig join` starts.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Host {
    /// Where its agent listens, such as `tls/10.0.0.12:7447`, or the router, such as `quic/10.0.0.20:7447`.
    address: String,
    /// Whether the address and the fingerprint are those of a router, to which its agent connects under this name.
    #[schemars(extend("default" = false))]
    router: Option<bool>,
    /// The public key of its agent, which `camrig join --new-identity` prints.
    #[schemars(regex(pattern = r"^ed25519:[A-Za-z0-9_-]{43}$"))]
    fingerprint: Option<String>,
    /// Whether a connection of another machine may be without TLS.
    #[schemars(extend("default" = false))]
    insecure: Option<bool>,
    /// The rate of the network link to it.
    #[schemars(range(min = 1, max = RATE_MEGABITS_MAX), extend("x-unit" = "Mb/s"))]
    rate_megabits: Option<u32>,
}

/// One process: the program that runs it, and how the kernel runs its threads.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Process {
    /// The program, which serves as a worker, and its arguments. Without a `/`, the program is looked up in `PATH`.
    #[schemars(length(min = 1))]
    command: Option<Vec<String>>,
    /// The CPUs that its threads may run on; all by default.
    #[schemars(length(min = 1), inner(range(max = CPUS_MAX - 1)))]
    cpus: Option<Vec<u32>>,
    /// The nice value of its threads: the smallest runs first.
    #[schemars(range(min = -20, max = 19))]
    nice: Option<i32>,
    /// The real-time priority of its threads by the policy `SCHED_FIFO`: the greatest runs first.
    #[schemars(range(min = 1, max = 99))]
    fifo: Option<u32>,
}

/// One camera.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Camera")]
#[allow(dead_code)]
struct CameraKeys {
    /// The driver that opens it.
    driver: String,
    /// The host that it is on; by default `main`, that where the rig is started.
    host: Option<String>,
    /// The process that it runs in; actors with the same word share one, and `main` is the supervisor's.
    process: Option<String>,
    /// The thread that it runs on: cameras, and processors that read only from their thread, share a thread by the same name.
    thread: Option<String>,
    /// Maximum number of its framesets in use at the same time; by default it depends on its readers.
    #[schemars(range(min = SLOTS_MIN, max = MAX_SLOTS))]
    slots: Option<u32>,
    restart: Option<Restart>,
    /// The longest time for opening its device, after which it fails; 0 for no limit.
    #[schemars(range(max = TIME_MILLIS_MAX), extend("default" = START_MILLIS_DEFAULT, "x-unit" = "ms"))]
    start_timeout_millis: Option<u64>,
    /// The longest time without a frameset, after which it is restarted; 0 never restarts it.
    #[schemars(range(max = TIME_MILLIS_MAX), extend("default" = CAMERA_STALL_MILLIS_DEFAULT, "x-unit" = "ms"))]
    stall_timeout_millis: Option<u64>,
    /// The longest time that its device may be missing.
    #[schemars(range(max = TIME_MILLIS_MAX), extend("default" = DEVICE_TIMEOUT_MILLIS_DEFAULT, "x-unit" = "ms"))]
    device_timeout_millis: Option<u64>,
    /// The options of its driver.
    options: Option<Map<String, Value>>,
}

/// One processor.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Processor {
    /// The kind of processor.
    kind: String,
    /// The host that it is on; by default `main`, that where the rig is started.
    host: Option<String>,
    /// The process that it runs in; actors with the same word share one, and `main` is the supervisor's.
    process: Option<String>,
    /// The thread that it runs on: cameras, and processors that read only from their thread, share a thread by the same name.
    thread: Option<String>,
    /// The cameras and processors whose framesets it gets.
    #[schemars(length(min = 1, max = INPUTS_MAX))]
    inputs: Vec<String>,
    /// The codecs of streams that come from another host: `raw`, `zstd`, `delta`, or `jpeg:` and a quality of 1 to 100.
    wire: Option<BTreeMap<String, String>>,
    /// The policy for framesets that arrive while its queue is full.
    #[schemars(extend("default" = "drop-oldest"))]
    overflow: Option<OverflowKey>,
    /// The most framesets that wait for it, per input.
    #[schemars(range(min = 1, max = QUEUE_MAX), extend("default" = QUEUE_DEFAULT))]
    queue: Option<u32>,
    r#match: Option<Match>,
    /// Maximum number of its framesets in use at the same time; by default it depends on its readers.
    #[schemars(range(min = SLOTS_MIN, max = MAX_SLOTS))]
    slots: Option<u32>,
    restart: Option<Restart>,
    /// The longest time for building it, after which it fails; 0 for no limit.
    #[schemars(range(max = TIME_MILLIS_MAX), extend("default" = START_MILLIS_DEFAULT, "x-unit" = "ms"))]
    start_timeout_millis: Option<u64>,
    /// The longest time in one call, after which it is replaced; 0 never replaces it.
    #[schemars(range(max = TIME_MILLIS_MAX), extend("default" = PROCESSOR_STALL_MILLIS_DEFAULT, "x-unit" = "ms"))]
    stall_timeout_millis: Option<u64>,
    /// The options of its kind.
    options: Option<Map<String, Value>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Overflow")]
#[allow(dead_code)]
enum OverflowKey {
    /// The oldest frameset in the queue is dropped.
    DropOldest,
    /// The new frameset is dropped.
    DropNewest,
    /// The producer waits.
    Block,
}

/// Restart policy: the number of restarts of a failed actor, and the pauses before them.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Restart {
    /// The most restarts within the window; 0 makes every failure final.
    #[schemars(range(max = RESTARTS_MAX), extend("default" = RESTARTS_DEFAULT))]
    max: Option<u32>,
    /// The window in which restarts count.
    #[schemars(range(min = 1, max = TIME_MILLIS_MAX / 1_000), extend("default" = WINDOW_SECONDS_DEFAULT, "x-unit" = "s"))]
    window: Option<u64>,
    /// The pause before the first restart; it doubles with each restart in a row.
    #[schemars(range(min = 1, max = TIME_MILLIS_MAX), extend("default" = BACKOFF_MILLIS_DEFAULT, "x-unit" = "ms"))]
    backoff_millis: Option<u64>,
    /// The longest pause.
    #[schemars(range(min = 1, max = TIME_MILLIS_MAX), extend("default" = BACKOFF_MAX_MILLIS_DEFAULT, "x-unit" = "ms"))]
    backoff_max_millis: Option<u64>,
}

/// Calls the processor with framesets of several cameras that were taken at the same instant.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Match {
    /// The largest time from the earliest frameset of a match to its latest.
    #[schemars(range(min = 1, max = MATCH_WINDOW_MILLIS_MAX), extend("x-unit" = "ms"))]
    window_millis: u64,
    /// The cameras that a match waits for; all of them if it is not given.
    wait: Option<Vec<String>>,
    /// Whether a match without one of these cameras is dropped, or delivered without it.
    #[schemars(extend("default" = "drop"))]
    missing: Option<Missing>,
    /// The clock of the timestamps; by default one that all cameras have, or `estimated`.
    clock: Option<Clock>,
    /// The most framesets of each camera that wait for the others.
    #[schemars(range(min = 1, max = QUEUE_MAX), extend("default" = MATCH_QUEUE_DEFAULT))]
    queue: Option<u32>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code)]
enum Missing {
    Drop,
    Partial,
}

#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code)]
enum Clock {
    Global,
    Hardware,
    System,
    Estimated,
}

/// Returns the schema of topologies of the drivers and kinds in `registry`.
pub(crate) fn schema(registry: &Registry) -> Value {
    let mut file = schema_of::<File>();
    file["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    file["title"] = json!("camrig topology");
    let drivers = registry.drivers().map(|(name, entry)| (name, entry.schema().into_json()));
    let kinds = registry.kinds().map(|(name, entry)| (name, entry.schema().into_json()));
    file["properties"]["host"]["propertyNames"] = names();
    file["properties"]["process"]["propertyNames"] = names();
    describe_actors(&mut file["properties"]["camera"], "driver", &drivers.collect::<Vec<_>>(), false);
    describe_actors(&mut file["properties"]["processor"], "kind", &kinds.collect::<Vec<_>>(), true);
    file
}

/// Returns the schema of the names of actors and processes.
fn names() -> Value {
    json!({ "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$", "maxLength": NAME_BYTES_MAX })
}

/// Describes the names of actors, and the options of each maker of actors. With `has_programs` the program of a process may have
/// more makers.
fn describe_actors(actors: &mut Value, key: &str, makers: &[(&str, Value)], has_programs: bool) {
    actors["propertyNames"] = names();
    let actor = &mut actors["additionalProperties"];
    let names: Vec<_> = makers.iter().map(|(name, _)| *name).collect();
    // Another program may have more: that of a process, or of the agent of another host.
    actor["properties"][key]["anyOf"] = json!([{ "enum": names }, {}]);
    let of_maker = |(name, options): (&str, Value)| {
        let mut then = json!({ "properties": { "options": options } });
        if options.get("required").is_some() {
            then["required"] = json!(["options"]);
        }
        json!({ "if": { "properties": { key: { "const": name } }, "required": [key] }, "then": then })
    };
    let mut all: Vec<_> = makers.iter().cloned().map(of_maker).collect();
    if !has_programs {
        all.push(
            json!({ "if": { "required": ["host"] }, "else": { "properties": { key: { "enum": names } } } }),
        );
    }
    actor["allOf"] = json!(all);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::parse::{CAMERA_KEYS, FILE_KEYS, PROCESSOR_KEYS, RESTART_KEYS, USB_KEYS};
    use crate::topology::tests::registry;
    use crate::topology::{hosts, matching, metrics, processes};

    /// Returns the keys of a table, in order.
    fn keys(table: &Value) -> Vec<&str> {
        let mut keys: Vec<_> = table["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys
    }

    fn sorted<'a>(keys: &[&'a str]) -> Vec<&'a str> {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn it_has_the_keys_that_are_read() {
        let file = schema(&registry());
        let camera = &file["properties"]["camera"]["additionalProperties"];
        let processor = &file["properties"]["processor"]["additionalProperties"];
        assert_eq!(keys(&file), sorted(FILE_KEYS));
        assert_eq!(keys(&file["properties"]["usb"]), sorted(USB_KEYS));
        assert_eq!(keys(&file["properties"]["metrics"]), sorted(metrics::METRICS_KEYS));
        assert_eq!(keys(&file["properties"]["host"]["additionalProperties"]), sorted(hosts::HOST_KEYS));
        assert_eq!(
            keys(&file["properties"]["process"]["additionalProperties"]),
            sorted(processes::PROCESS_KEYS)
        );
        assert_eq!(keys(camera), sorted(CAMERA_KEYS));
        assert_eq!(keys(processor), sorted(PROCESSOR_KEYS));
        assert_eq!(keys(&camera["properties"]["restart"]), sorted(RESTART_KEYS));
        assert_eq!(keys(&processor["properties"]["match"]), sorted(matching::KEYS));
    }

    #[test]
    fn options_are_those_of_the_driver() {
        let file = schema(&registry());
        let camera = &file["properties"]["camera"]["additionalProperties"];
        assert_eq!(camera["properties"]["driver"]["anyOf"][0]["enum"], json!(["even"]));
        // Only the agent of another host may have more drivers, and any process may have a program with more kinds.
        let known = &camera["allOf"][1];
        assert_eq!(known["else"]["properties"]["driver"]["enum"], json!(["even"]));
        assert_eq!(known["if"]["required"], json!(["host"]));
        let processor = &file["properties"]["processor"]["additionalProperties"];
        assert_eq!(processor["properties"]["kind"]["anyOf"][0]["enum"], json!(["idle"]));
        assert!(processor["allOf"].as_array().unwrap().iter().all(|rule| rule["else"].is_null()));
        // It depends on the cameras.
        assert!(processor["properties"]["match"]["properties"]["clock"]["default"].is_null());
        let even = &camera["allOf"][0];
        assert_eq!(even["if"]["properties"]["driver"]["const"], "even");
        assert_eq!(even["then"]["required"], json!(["options"]));
        assert_eq!(keys(&even["then"]["properties"]["options"]), ["mode", "serial"]);
    }
}
