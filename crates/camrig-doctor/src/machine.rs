//! The machine: its model, its system, its processors.

use crate::finding::{Finding, State};
use crate::root::Root;

/// The properties of a machine on which other checks depend.
pub(crate) struct Machine {
    /// Its model, such as `NVIDIA Jetson Orin Nano Developer Kit`; empty if unknown.
    model: String,
    /// The major version of Linux for Tegra, such as 36; `None` if the machine is not a Jetson.
    pub(crate) tegra: Option<u32>,
    /// Version of Linux for Tegra as text, such as `36.3.0`.
    tegra_version: String,
    /// Version of the kernel.
    kernel: String,
    cpus: usize,
    pub(crate) container: bool,
}

impl Machine {
    pub(crate) fn read(root: &Root) -> Self {
        let release = root.text("etc/nv_tegra_release").unwrap_or_default();
        let (major, revision) = tegra_release(&release);
        let model = ["proc/device-tree/model", "sys/class/dmi/id/product_name"];
        let stat = root.text("proc/stat").unwrap_or_default();
        let is_cpu = |line: &&str| {
            line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        Self {
            model: model.iter().find_map(|file| root.text(file)).unwrap_or_default(),
            tegra: major,
            tegra_version: major.map(|major| format!("{major}.{revision}")).unwrap_or_default(),
            kernel: root.text("proc/sys/kernel/osrelease").unwrap_or_default(),
            cpus: stat.lines().filter(is_cpu).count(),
            container: root.exists(".dockerenv")
                || root.exists("run/.containerenv")
                || root.text("run/systemd/container").is_some(),
        }
    }

    /// Returns the version of `JetPack` that belongs to the version of Linux for Tegra.
    fn jetpack(&self) -> Option<u32> {
        match self.tegra? {
            32 => Some(4),
            34 | 35 => Some(5),
            36 => Some(6),
            38 => Some(7),
            _ => None,
        }
    }

    pub(crate) fn finding(&self) -> Finding {
        let mut parts = Vec::new();
        if !self.model.is_empty() {
            parts.push(self.model.clone());
        }
        match self.jetpack() {
            Some(jetpack) => {
                parts.push(format!("JetPack {jetpack} (Linux for Tegra {})", self.tegra_version));
            }
            None if self.tegra.is_some() => parts.push(format!("Linux for Tegra {}", self.tegra_version)),
            None => {}
        }
        if self.container {
            parts.push("in a container".to_owned());
        }
        if !self.kernel.is_empty() {
            parts.push(format!("kernel {}", self.kernel));
        }
        match self.cpus {
            0 => {}
            1 => parts.push("1 CPU".to_owned()),
            count => parts.push(format!("{count} CPUs")),
        }
        if parts.is_empty() {
            return Finding::new(
                "machine",
                State::Note,
                "neither model nor kernel is known: `/proc` cannot be read",
            );
        }
        Finding::new("machine", State::Ok, parts.join(", "))
    }
}

/// Parses `# R36 (release), REVISION: 3.0, ...`.
fn tegra_release(text: &str) -> (Option<u32>, String) {
    let Some(rest) = text.strip_prefix("# R") else { return (None, String::new()) };
    let major = rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    let revision =
        rest.split_once("REVISION: ").map(|(_, after)| after.split(',').next().unwrap_or_default());
    (major, revision.unwrap_or("?").trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_of_tegra_is_parsed() {
        let release = "# R36 (release), REVISION: 3.0, GCID: 36191598, BOARD: generic, EABI: aarch64";
        assert_eq!(tegra_release(release), (Some(36), "3.0".to_owned()));
        assert_eq!(tegra_release("# R38"), (Some(38), "?".to_owned()));
        assert_eq!(tegra_release("# Release"), (None, "?".to_owned()));
        assert_eq!(tegra_release(""), (None, String::new()));
    }
}
