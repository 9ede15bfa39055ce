//! Memory: the available part compared with the needs of a rig's slots.

use crate::finding::{Finding, State};
use crate::root::Root;

const TOPIC: &str = "memory";

/// The share of the available memory above which a rig's slots are too many: programs need the rest.
const SHARE_PERCENT: u64 = 70;

/// Memory of a rig without a topology: six cameras with 1280x720 color and depth, four slots each, and their readers.
const TYPICAL_BYTES: u64 = 512 << 20;

pub(crate) fn examine(root: &Root, need: Option<u64>) -> Vec<Finding> {
    let mut findings = vec![available(root, need)];
    findings.extend(shm(root));
    findings
}

/// Compares the need with the memory that is available.
fn available(root: &Root, need: Option<u64>) -> Finding {
    let info = root.text("proc/meminfo").unwrap_or_default();
    let Some(free) = number(&info, "MemAvailable:").map(|kib| kib << 10) else {
        return Finding::new(
            TOPIC,
            State::Note,
            "the available memory is unknown: `/proc/meminfo` cannot be read",
        );
    };
    // `max` is not a number.
    let limit = root.number("sys/fs/cgroup/memory.max").and_then(|limit| u64::try_from(limit).ok());
    let current = root.number("sys/fs/cgroup/memory.current").and_then(|used| u64::try_from(used).ok());
    // The kernel gives up pages of files as soon as programs need memory. Those of slots are not among them.
    let stat = root.text("sys/fs/cgroup/memory.stat").unwrap_or_default();
    let of_files: u64 =
        ["inactive_file ", "active_file "].iter().filter_map(|name| number(&stat, name)).sum();
    let used = current.unwrap_or(0).saturating_sub(of_files);
    let of_container = limit.map(|limit| limit.saturating_sub(used));
    let free = free.min(of_container.unwrap_or(u64::MAX));
    let whose = if of_container == Some(free) { " to this container" } else { "" };
    let fact = match need {
        Some(need) => format!(
            "{} MiB are available{whose}; slots and queues take at most {} MiB",
            free >> 20,
            need.div_ceil(1 << 20)
        ),
        None => format!("{} MiB are available{whose}", free >> 20),
    };
    let need = need.unwrap_or(TYPICAL_BYTES);
    let advice = "fewer `slots`, smaller profiles, or `decimation`; `camrig check TOPOLOGY` prints the memory of a topology";
    if need > free {
        return Finding::new(TOPIC, State::Problem, fact).advise(advice);
    }
    if need > free / 100 * SHARE_PERCENT {
        return Finding::new(TOPIC, State::Warning, fact).advise(advice);
    }
    Finding::new(TOPIC, State::Ok, fact)
}

/// Reports the size of `/dev/shm`, which does not limit a rig.
fn shm(root: &Root) -> Option<Finding> {
    let mounts = root.text("proc/mounts")?;
    let options = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next()? == "/dev/shm").then(|| fields.nth(1))?
    })?;
    let size = options.split(',').find_map(|option| option.strip_prefix("size="))?;
    Some(Finding::new(
        TOPIC,
        State::Ok,
        format!(
            "`/dev/shm` has size={size}; camrig does not use it: its slots are sealed memory without a file"
        ),
    ))
}

/// Returns the value of the line that begins with `name`, such as `MemAvailable:    1234 kB`.
fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}
