//! Power and heat: the power mode of a Jetson, clocks of the CPUs, temperatures.

use crate::finding::{Finding, State};
use crate::machine::Machine;
use crate::root::Root;

const TOPIC: &str = "power";

/// Maximum number of thermal zones, cooling devices and clock domains that are read.
const ENTRIES_MAX: usize = 256;

/// Distance to a zone's lowest trip point, in thousandths of a degree, below which it is nearly too hot.
const MARGIN_MILLIDEGREES: i64 = 5_000;

pub(crate) fn examine(root: &Root, machine: &Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    if machine.tegra.is_some() {
        findings.push(power_mode(root));
    }
    findings.push(clocks(root));
    findings.push(temperature(root));
    findings
}

/// A power mode of `/etc/nvpmodel.conf`.
#[derive(Debug, PartialEq, Eq)]
struct PowerMode {
    number: u32,
    name: String,
}

impl PowerMode {
    /// Returns its rank: modes without a limit (`MAXN`) first, then by watts.
    fn rank(&self) -> (bool, u32) {
        let digits: String =
            self.name.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        (self.name.starts_with("MAXN"), digits.parse().unwrap_or(0))
    }
}

/// Parses lines such as `< POWER_MODEL ID=0 NAME=MAXN >`.
fn power_modes(text: &str) -> Vec<PowerMode> {
    let mode = |line: &str| {
        let fields = line.trim().strip_prefix('<')?.strip_suffix('>')?.trim().strip_prefix("POWER_MODEL")?;
        let field = |name: &str| fields.split_whitespace().find_map(|field| field.strip_prefix(name));
        Some(PowerMode { number: field("ID=")?.parse().ok()?, name: field("NAME=")?.to_owned() })
    };
    text.lines().filter_map(mode).take(ENTRIES_MAX).collect()
}

/// Checks the power mode of a Jetson.
fn power_mode(root: &Root) -> Finding {
    let status = root.text("var/lib/nvpmodel/status").unwrap_or_default();
    let number = status.rsplit(':').next().and_then(|digits| digits.parse::<u32>().ok());
    let modes = power_modes(&root.text("etc/nvpmodel.conf").unwrap_or_default());
    let present = number.and_then(|number| modes.iter().find(|mode| mode.number == number));
    let (Some(present), Some(best)) = (present, modes.iter().max_by_key(|mode| mode.rank())) else {
        return Finding::new(TOPIC, State::Note, "the power mode is unknown")
            .advise("`sudo nvpmodel -q` shows it");
    };
    let fact = format!(
        "power mode {} of {}",
        present.name,
        modes.iter().map(|mode| mode.name.as_str()).collect::<Vec<_>>().join(", ")
    );
    if present == best {
        return Finding::new(TOPIC, State::Ok, fact);
    }
    Finding::new(TOPIC, State::Warning, fact)
        .advise(format!("`sudo nvpmodel -m {}` chooses {}", best.number, best.name))
}

/// Checks whether the CPUs may run at their full speed.
fn clocks(root: &Root) -> Finding {
    let folder = "sys/devices/system/cpu/cpufreq";
    let policies: Vec<_> =
        root.names(folder).into_iter().filter(|name| name.starts_with("policy")).take(ENTRIES_MAX).collect();
    if policies.is_empty() {
        return Finding::new(TOPIC, State::Note, "the system does not show the clocks of its CPUs");
    }
    let text = |policy: &str, name: &str| root.text(&format!("{folder}/{policy}/{name}")).unwrap_or_default();
    let megahertz =
        |policy: &str, name: &str| root.number(&format!("{folder}/{policy}/{name}")).map(|khz| khz / 1000);
    let mut governors: Vec<_> = policies.iter().map(|policy| text(policy, "scaling_governor")).collect();
    governors.sort();
    governors.dedup();
    let limited = policies.iter().find_map(|policy| {
        let (allowed, possible) =
            (megahertz(policy, "scaling_max_freq")?, megahertz(policy, "cpuinfo_max_freq")?);
        (allowed < possible).then_some((allowed, possible))
    });
    if let Some((allowed, possible)) = limited {
        let fact = format!("CPUs are limited to {allowed} of {possible} MHz");
        return Finding::new(TOPIC, State::Warning, fact).advise(
            "a power mode, a battery or a setting below `/sys/devices/system/cpu/cpufreq` limits them",
        );
    }
    let fact = format!("CPUs run by the governor {}", governors.join(", "));
    // With these two drivers, `powersave` still raises the clock under load.
    let driver = text(&policies[0], "scaling_driver");
    let scales = driver.starts_with("intel_pstate") || driver.starts_with("amd-pstate");
    if governors.iter().any(|name| name == "powersave") && !scales {
        return Finding::new(
            TOPIC,
            State::Warning,
            format!("{fact}, which keeps them at their lowest clock"),
        )
        .advise("`echo schedutil | sudo tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor`");
    }
    Finding::new(TOPIC, State::Ok, fact)
}

/// Checks whether a thermal zone slows the machine down.
fn temperature(root: &Root) -> Finding {
    let topic = "temperature";
    let thermal = "sys/class/thermal";
    let zones =
        root.names(thermal).into_iter().filter(|name| name.starts_with("thermal_zone")).take(ENTRIES_MAX);
    let zones = zones.filter_map(|zone| Zone::read(root, &format!("{thermal}/{zone}")));
    // The zone that is nearest to its limit, or the hottest.
    let Some(zone) = zones.max_by_key(|zone| (zone.margin().map(|margin| -margin), zone.millidegrees)) else {
        return Finding::new(topic, State::Note, "the system shows no temperature");
    };
    let Zone { name, millidegrees, .. } = &zone;
    let fact = format!("{name} has {} degrees Celsius", millidegrees / 1000);
    match (zone.margin(), zone.trip) {
        (Some(..=0), Some(trip)) => {
            Finding::new(topic, State::Problem, format!("{fact}: at {} the machine slows down", trip / 1000))
                .advise("cool it: a fan, more air, fewer cameras or lower rates")
        }
        (Some(..MARGIN_MILLIDEGREES), Some(trip)) => {
            Finding::new(topic, State::Warning, format!("{fact}: at {} the machine slows down", trip / 1000))
                .advise("cool it before a long run")
        }
        (_, Some(trip)) => {
            Finding::new(topic, State::Ok, format!("{fact}, and slows down at {}", trip / 1000))
        }
        (_, None) => Finding::new(topic, State::Ok, fact),
    }
}

/// A thermal zone.
struct Zone {
    name: String,
    millidegrees: i64,
    /// Its lowest trip point at which clocks are lowered, or the machine is switched off.
    trip: Option<i64>,
}

impl Zone {
    fn read(root: &Root, folder: &str) -> Option<Self> {
        let slows = |number: &usize| {
            let kind = root.text(&format!("{folder}/trip_point_{number}_type"));
            matches!(kind.as_deref(), Some("passive" | "hot" | "critical"))
        };
        let exists = |number: &usize| root.exists(&format!("{folder}/trip_point_{number}_type"));
        let trips = (0..ENTRIES_MAX).take_while(exists).filter(slows);
        let trips = trips.filter_map(|number| root.number(&format!("{folder}/trip_point_{number}_temp")));
        Some(Self {
            name: root.text(&format!("{folder}/type"))?,
            // A zone without power has no temperature; a value below zero is invalid.
            millidegrees: root.number(&format!("{folder}/temp")).filter(|&degrees| degrees > 0)?,
            trip: trips.filter(|&trip| trip > 0).min(),
        })
    }

    fn margin(&self) -> Option<i64> {
        Some(self.trip? - self.millidegrees)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_power_mode_has_no_limit_or_most_watts() {
        let text = "# comment\n< PARAM TYPE=FILE NAME=CPU_ONLINE >\nCORE_0 /sys/x\n< POWER_MODEL ID=0 NAME=15W >\n\
                    CPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=7W >\n< PM_CONFIG DEFAULT=1 >";
        let modes = power_modes(text);
        let named: Vec<_> = modes.iter().map(|mode| (mode.number, mode.name.as_str())).collect();
        assert_eq!(named, [(0, "15W"), (1, "7W")]);
        assert_eq!(modes.iter().max_by_key(|mode| mode.rank()).unwrap().name, "15W");
        let super_mode = power_modes("< POWER_MODEL ID=0 NAME=15W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >");
        assert_eq!(super_mode.iter().max_by_key(|mode| mode.rank()).unwrap().number, 2);
    }
}
