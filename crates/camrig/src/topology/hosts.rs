//! The tables `[host.NAME]`, and the keys `host` and `wire` of actors: the other hosts of a rig.

use std::collections::BTreeMap;
use std::net::IpAddr;

use toml::Spanned;
use toml::de::DeTable;

use super::Span;
use super::draft::Draft;
use super::problem::{Problems, did_you_mean, quote};
use super::processes::ProcessDraft;
use super::section::Section;
use crate::hosts::{FIRST, HostSpec, is_codec};
use crate::registry::Registry;

pub(super) const HOST_KEYS: &[&str] = &["address", "router", "fingerprint", "insecure", "rate_megabits"];

/// Maximum number of other hosts.
pub(crate) const HOSTS_MAX: usize = 32;

/// Maximum rate of the network link to a host: 400 Gb/s.
pub(crate) const RATE_MEGABITS_MAX: u32 = 400_000;

/// The beginning of the fingerprint of a host's identity.
const FINGERPRINT_BEGIN: &str = "ed25519:";

/// The number of characters of a public key of 32 bytes as base64.
const KEY_CHARACTERS: usize = 43;

/// The table of one host.
pub(super) struct HostDraft {
    spec: HostSpec,
}

impl HostDraft {
    pub(super) fn into_spec(self) -> HostSpec {
        self.spec
    }
}

pub(super) fn draft_hosts(
    tables: Vec<(String, Span, DeTable<'_>)>,
    registry: &Registry,
    problems: &mut Problems,
) -> Vec<HostDraft> {
    if let Some((name, span, _)) = tables.first().filter(|_| !registry.has_hosts()) {
        let title = format!("this program cannot reach host {}", quote(name));
        problems.add(span.clone(), title, "it was built without the feature `hosts`");
    }
    if let Some((_, span, _)) = tables.get(HOSTS_MAX) {
        let title = format!("topology has {} hosts", tables.len());
        problems.add(span.clone(), title, format!("it can have at most {HOSTS_MAX}"));
    }
    let draft = |(name, span, table): (String, Span, _)| {
        let subject = Some(format!("host {}", quote(&name)));
        let mut section = Section { subject, span, table, problems };
        let spec = host(name, &mut section);
        section.finish(HOST_KEYS);
        HostDraft { spec }
    };
    tables.into_iter().map(draft).collect()
}

fn host(name: String, section: &mut Section<'_, '_>) -> HostSpec {
    if name == FIRST {
        let label = "it is the host where the rig is started: give this one another name";
        section.problems.add(
            section.span.clone(),
            format!("a host cannot be called {}", quote(FIRST)),
            label,
        );
    }
    let address = section.required("address", || "such as `address = \"tls/10.0.0.12:7447\"`".to_owned());
    let router = section.flag("router").unwrap_or(false);
    let fingerprint = section.optional("fingerprint");
    let insecure = section.flag("insecure").unwrap_or(false);
    let rate_megabits = section.number("rate_megabits", 1..=RATE_MEGABITS_MAX as usize);
    let fact = address.as_ref().and_then(|address| {
        let fact = refused_address(address.get_ref(), router, fingerprint.is_some(), insecure);
        fact.map(|fact| (address.span(), fact))
    });
    if let Some((span, (fact, label))) = fact {
        let title = format!("{} {fact}", section.describe("address"));
        section.problems.add(span, title, label);
    }
    if let Some(written) = fingerprint.as_ref().filter(|written| !is_fingerprint(written.get_ref())) {
        let title = format!("{} is not a fingerprint", section.describe("fingerprint"));
        section.problems.add(
            written.span(),
            title,
            "expected `ed25519:` and 43 characters, as `camrig join --new-identity` prints them",
        );
    }
    HostSpec {
        name,
        address: address.map(Spanned::into_inner).unwrap_or_default(),
        fingerprint: fingerprint.map(Spanned::into_inner),
        router,
        rate_megabits: rate_megabits.and_then(|rate| u32::try_from(rate).ok()),
    }
}

/// Returns the fact and the choices, if an agent or a router cannot be reached at an address, or not safely.
fn refused_address(
    address: &str,
    router: bool,
    has_fingerprint: bool,
    insecure: bool,
) -> Option<(&'static str, &'static str)> {
    let (form, expected) = if router {
        let choices = "expected `quic/HOST:PORT`, such as `quic/10.0.0.20:7447`";
        (("is not the address of a router", choices), "expected `quic/HOST:PORT`")
    } else {
        let choices = "expected `tls/HOST:PORT`, such as `tls/10.0.0.12:7447`";
        (("is not the address of an agent", choices), "expected `tls/HOST:PORT`")
    };
    let Some((protocol, place)) = address.split_once('/') else { return Some(form) };
    let Some((host, port)) = place.rsplit_once(':') else { return Some(form) };
    let is_host = |host: &str| {
        let is_in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]%".contains(&byte);
        !host.is_empty() && host.bytes().all(is_in_host)
    };
    if !is_host(host) || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Some(form);
    }
    match protocol {
        "tls" if router => Some(("uses `tls`, which a router cannot", expected)),
        "quic" if !router => {
            Some(("uses `quic`, which agents do not", "expected `tls/HOST:PORT`, or `router = true`"))
        }
        "tls" | "quic" if !has_fingerprint => Some((
            "uses TLS, but the host has no `fingerprint`",
            "`camrig join --new-identity` prints it on that host",
        )),
        "tcp" if has_fingerprint => Some(("does not use TLS, so its `fingerprint` is not checked", expected)),
        "tcp" if !insecure && !is_loopback(host) => Some((
            "is not encrypted",
            if router {
                "expected `quic/HOST:PORT`, or `insecure = true`"
            } else {
                "expected `tls/HOST:PORT`, or `insecure = true`"
            },
        )),
        "tls" | "quic" | "tcp" => None,
        _ => Some(form),
    }
}

/// Returns whether an address is of this machine only.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// Returns whether this is the fingerprint of an identity.
fn is_fingerprint(text: &str) -> bool {
    text.strip_prefix(FINGERPRINT_BEGIN).is_some_and(|key| {
        key.len() == KEY_CHARACTERS
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    })
}

/// Takes the host of an actor; `None` for that where the rig is started.
pub(super) fn take_host(section: &mut Section<'_, '_>) -> Option<Spanned<String>> {
    section.optional("host").filter(|host| host.get_ref() != FIRST)
}

/// Takes the codecs of the streams that come from other hosts. Returns the streams.
pub(super) fn take_wire(section: &mut Section<'_, '_>) -> Vec<Spanned<String>> {
    let wanted = "a table, as in `wire = { depth = \"zstd\", color = \"jpeg:90\" }`";
    let Some(mut wire) = section.table("wire", wanted) else { return Vec::new() };
    let names = wire.table.keys();
    let streams: Vec<_> = names.map(|key| Spanned::new(key.span(), key.get_ref().to_string())).collect();
    for stream in streams.iter().map(Spanned::get_ref) {
        let Some(codec) = wire.optional(stream).filter(|codec| !is_codec(codec.get_ref())) else { continue };
        let title = format!("{} has unknown codec {}", wire.describe(stream), quote(codec.get_ref()));
        let label = "expected one of: `raw`, `zstd`, `delta`, `jpeg:QUALITY` with a quality of 1 to 100";
        wire.problems.add(codec.span(), title, label);
    }
    streams
}

/// Checks the hosts of actors, and that no process is of two hosts, nor run by a command on another one.
pub(super) fn check_hosts(
    hosts: &[HostDraft],
    drafts: &[Draft],
    processes: &[ProcessDraft],
    problems: &mut Problems,
) {
    for draft in drafts {
        let Some(host) = &draft.host else { continue };
        if !hosts.iter().any(|known| known.spec.name == *host.get_ref()) {
            let title = format!("actor {} is on unknown host {}", quote(&draft.name), quote(host.get_ref()));
            let names = hosts.iter().map(|host| host.spec.name.as_str());
            problems.add(host.span(), title, did_you_mean(host.get_ref(), names));
            continue;
        }
        let process = draft.process.as_ref().unwrap_or(&draft.name);
        if processes.iter().any(|own| own.is_run_by_command(process)) {
            let title = format!("process {} of host {} has a command", quote(process), quote(host.get_ref()));
            problems.add(host.span(), title, "an agent runs the drivers and kinds of its own program only");
        }
    }
    if let Some(first) = drafts.first()
        && drafts.iter().all(|draft| draft.host.is_some())
    {
        let title = "no actor is on the host where the rig is started".to_owned();
        problems.add(first.span.clone(), title, "at least one needs to have no `host`");
    }
    let mut host_of: BTreeMap<&str, &Draft> = BTreeMap::new();
    for draft in drafts {
        let Some(process) = draft.process.as_deref() else { continue };
        let first = *host_of.entry(process).or_insert(draft);
        if first.host_name() != draft.host_name() && process != super::MAIN {
            let (name, other) = (quote(&draft.name), quote(&first.name));
            let title = format!("{name} cannot share process {} with {other}", quote(process));
            problems.add(draft.span.clone(), title, "they are on different hosts");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_reached_safely_or_not_at_all() {
        for address in ["tls/10.0.0.12:7447", "tls/[fe80::1%eth0]:7447", "tls/arm.local:1"] {
            assert_eq!(refused_address(address, false, true, false), None, "{address}");
            assert!(refused_address(address, false, false, true).unwrap().0.contains("no `fingerprint`"));
        }
        for address in ["tcp/127.0.0.1:7447", "tcp/[::1]:7447", "tcp/localhost:7447"] {
            assert_eq!(refused_address(address, false, false, false), None, "{address}");
            assert!(refused_address(address, false, true, false).unwrap().0.contains("not checked"));
        }
        assert_eq!(refused_address("tcp/10.0.0.12:7447", false, false, false).unwrap().0, "is not encrypted");
        assert_eq!(refused_address("tcp/10.0.0.12:7447", false, false, true), None);
        for address in
            ["", "10.0.0.12:7447", "tls/10.0.0.12", "tls/:7447", "tls/a:0", "tls/a:65536", "udp/a:1"]
        {
            assert_eq!(
                refused_address(address, false, true, true).unwrap().0,
                "is not the address of an agent",
                "{address}"
            );
        }
        // A configuration of Zenoh cannot hide in an address.
        for address in ["tls/a:1#x=y", "tls/a?rel=0:1", "tls/a b:1", "tls/a/b:1"] {
            assert!(refused_address(address, false, true, true).is_some(), "{address}");
        }
    }

    #[test]
    fn a_router_is_reached_by_quic() {
        let refused = |address, has_fingerprint| refused_address(address, true, has_fingerprint, false);
        assert_eq!(refused("quic/10.0.0.20:7447", true), None);
        assert_eq!(refused("tcp/127.0.0.1:7447", false), None);
        for (address, has_fingerprint, fact) in [
            ("quic/10.0.0.20:7447", false, "uses TLS, but the host has no `fingerprint`"),
            ("tls/10.0.0.20:7447", true, "uses `tls`, which a router cannot"),
            ("tcp/10.0.0.20:7447", false, "is not encrypted"),
            ("10.0.0.20:7447", true, "is not the address of a router"),
        ] {
            let (found, choices) = refused(address, has_fingerprint).unwrap();
            assert_eq!(found, fact, "{address}");
            assert!(!choices.contains("tls/"), "{choices}");
        }
        let fact = refused_address("quic/10.0.0.12:7447", false, true, false).unwrap().0;
        assert_eq!(fact, "uses `quic`, which agents do not");
    }

    #[test]
    fn a_fingerprint_is_a_complete_key() {
        let key = "A".repeat(KEY_CHARACTERS);
        assert!(is_fingerprint(&format!("ed25519:{key}")));
        for text in ["", "ed25519:", &key, &format!("ed25519:{key}A"), &format!("sha256:{key}")] {
            assert!(!is_fingerprint(text), "{text}");
        }
        assert!(!is_fingerprint(&format!("ed25519:{}=", &key[1..])));
    }

    #[test]
    fn codecs_are_known() {
        assert!(["raw", "zstd", "delta", "jpeg:1", "jpeg:100"].into_iter().all(is_codec));
        assert!(!["", "Raw", "jpeg", "jpeg:", "jpeg:0", "jpeg:101", "lz4"].into_iter().any(is_codec));
    }
}
