//! Which hosts start their cameras after those that read them.

use std::collections::BTreeSet;

/// A host that has framesets of its own read, and one that reads them; `None` is the first host.
pub(super) type Pair = (Option<String>, Option<String>);

/// Returns those of these pairs whose sender waits at its start until the reader has started. Where hosts would wait for each
/// other, one of them does not: the first host if it is among them.
pub(super) fn waiting(pairs: impl IntoIterator<Item = Pair>) -> BTreeSet<Pair> {
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort_by_key(|(from, to)| (from.is_none(), from.clone(), to.clone()));
    let mut waiting = BTreeSet::new();
    for pair in pairs {
        if !is_awaited(&waiting, &pair) {
            waiting.insert(pair);
        }
    }
    waiting
}

/// Returns whether the reader of a pair waits for its sender, or for a host that does.
fn is_awaited(waiting: &BTreeSet<Pair>, (from, to): &Pair) -> bool {
    let (mut reached, mut next) = (vec![to], 0);
    while let Some(host) = reached.get(next).copied() {
        for (_, reader) in waiting.iter().filter(|(sender, _)| sender == host) {
            if !reached.contains(&reader) {
                reached.push(reader);
            }
        }
        next += 1;
    }
    reached.contains(&from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the pairs that wait, each as `a>b`; `-` is the first host.
    fn of(pairs: &[&str]) -> Vec<String> {
        let host = |name: &str| Some(name.to_owned()).filter(|name| name != "-");
        let pair = |text: &&str| {
            let (from, to) = text.split_once('>').unwrap();
            (host(from), host(to))
        };
        let text = |(from, to): Pair| {
            let [from, to] = [from, to].map(|host| host.unwrap_or_else(|| "-".to_owned()));
            format!("{from}>{to}")
        };
        waiting(pairs.iter().map(pair)).into_iter().map(text).collect()
    }

    #[test]
    fn every_sender_waits_where_none_reads_its_reader() {
        assert_eq!(of(&[]), [""; 0]);
        assert_eq!(of(&["->a", "->b", "a>b"]), ["->a", "->b", "a>b"]);
        assert_eq!(of(&["a>-", "b>-", "a>b"]), ["a>-", "a>b", "b>-"]);
        assert_eq!(of(&["a>-", "->b", "a>-"]), ["->b", "a>-"]);
    }

    #[test]
    fn in_a_circle_the_first_host_waits_for_none_of_it() {
        assert_eq!(of(&["->a", "a>-"]), ["a>-"]);
        assert_eq!(of(&["->a", "a>b", "b>-", "->c"]), ["->c", "a>b", "b>-"]);
    }

    #[test]
    fn one_of_other_hosts_in_a_circle_does_not_wait() {
        assert_eq!(of(&["a>b", "b>a"]), ["a>b"]);
        assert_eq!(of(&["a>b", "b>c", "c>a", "c>-", "->a"]), ["a>b", "b>c", "c>-"]);
    }

    /// All pairs of 33 hosts, the most of a rig.
    #[test]
    fn no_host_waits_for_itself() {
        let hosts: Vec<_> = std::iter::once(None).chain((0..32).map(|n| Some(format!("h{n:02}")))).collect();
        let with =
            |from: &Option<String>| hosts.iter().cloned().map(|to| (from.clone(), to)).collect::<Vec<_>>();
        let pairs: Vec<_> = hosts.iter().flat_map(with).filter(|(from, to)| from != to).collect();
        let all = waiting(pairs);
        assert_eq!(all.len(), 33 * 32 / 2);
        assert!(all.iter().all(|(from, _)| from.is_some()));
    }
}
