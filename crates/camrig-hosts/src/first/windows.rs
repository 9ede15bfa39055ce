//! Finds matches over several hosts whose window is too narrow for the uncertainty of the hosts' clocks. Pure.

use std::collections::{BTreeMap, BTreeSet};

use camrig::hosts::FIRST;

use crate::split::Crossing;

/// Returns the hosts whose clocks matter for a match.
pub(super) fn hosts_of(crossings: &[Crossing]) -> BTreeSet<&String> {
    let matched = crossings.iter().filter(|crossing| crossing.window_millis.is_some());
    matched.flat_map(|crossing| [&crossing.from, &crossing.to]).flatten().collect()
}

/// Returns a line for each crossing whose readers match within less than twice the uncertainty of the clocks of its hosts.
/// `uncertainties` has those against the first host's clock, in nanoseconds; a host without one is not judged.
pub(super) fn too_narrow(crossings: &[Crossing], uncertainties: &BTreeMap<String, u64>) -> Vec<String> {
    let line = |crossing: &Crossing| {
        let window_millis = crossing.window_millis?;
        let ends = [&crossing.from, &crossing.to];
        let known = ends.into_iter().flatten().map(|host| uncertainties.get(host).copied());
        let uncertainty_nanos = known.sum::<Option<u64>>()?;
        let least_nanos = uncertainty_nanos.saturating_mul(2);
        let window_nanos = u64::try_from(window_millis).unwrap_or_default().saturating_mul(1_000_000);
        (window_nanos < least_nanos).then(|| {
            let name = |host: &Option<String>| host.as_deref().unwrap_or(FIRST).to_owned();
            format!(
                "`{}` of host `{}` is matched on host `{}` within {window_millis} ms, but twice the uncertainty of their clocks \
                 is {:.1} ms: widen `window_millis`, or use a network with less delay",
                crossing.actor,
                name(&crossing.from),
                name(&crossing.to),
                least_nanos as f64 / 1e6
            )
        })
    };
    crossings.iter().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::crossings_of;

    /// Returns the lines about a camera of `arm` that is matched on `place`, with these uncertainties of the clocks of both.
    fn lines(place: &str, matching: &str, [arm, base]: [u64; 2]) -> Vec<String> {
        let text = format!(
            "[camera.left]\ndriver = 'd'\nhost = 'arm'\n[camera.own]\ndriver = 'd'\n\
             [processor.pairs]\nkind = 'match'\n{place}\ninputs = ['left']\nmatch = {{ {matching} }}\n"
        );
        let uncertainties = [("arm".to_owned(), arm), ("base".to_owned(), base)].into();
        too_narrow(&crossings_of(&text).unwrap(), &uncertainties)
    }

    #[test]
    fn a_window_is_at_least_twice_the_uncertainty() {
        let matching = "window_millis = 17";
        assert_eq!(lines("", matching, [8_500_000, 0]), [""; 0]);
        assert_eq!(
            lines("", matching, [8_600_000, 0]),
            [
                "`left` of host `arm` is matched on host `main` within 17 ms, but twice the uncertainty of their clocks is \
              17.2 ms: widen `window_millis`, or use a network with less delay"
            ]
        );
        // Both hosts' clocks are compared through that of the first host.
        assert_eq!(lines("host = 'base'", matching, [5_000_000, 3_000_000]), [""; 0]);
        assert_eq!(lines("host = 'base'", matching, [5_000_000, 4_000_000]).len(), 1);
    }

    #[test]
    fn a_clock_that_the_cameras_share_is_not_that_of_hosts() {
        assert_eq!(lines("", "window_millis = 1, clock = 'hardware'", [1_000_000_000, 0]), [""; 0]);
        assert_eq!(lines("", "window_millis = 1, clock = 'system'", [1_000_000_000, 0]).len(), 1);
    }

    #[test]
    fn only_hosts_of_matches_are_compared() {
        let text =
            "[camera.left]\ndriver = 'd'\nhost = 'arm'\n[processor.p]\nkind = 'stats'\ninputs = ['left']\n";
        assert!(hosts_of(&crossings_of(text).unwrap()).is_empty());
        let text = format!("{text}match = {{ window_millis = 3 }}\n");
        assert_eq!(hosts_of(&crossings_of(&text).unwrap()), ["arm".to_owned()].iter().collect());
    }
}
