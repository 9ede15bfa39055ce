//! Entry points for fuzzing with any bytes: for `fuzz/`, and for the test that repeats its corpus.

use crate::registry::Registry;
use crate::stock;
use crate::synthetic::{self, Synthetic};
use crate::topology::{FILE_BYTES_MAX, Topology};

/// Parses the text of a topology and checks the result: problems have texts, and all references are valid.
///
/// # Panics
/// If a check fails.
pub fn topology(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if text.len() > FILE_BYTES_MAX {
        return;
    }
    let mut registry = Registry::default();
    registry.add_driver::<Synthetic>(synthetic::DRIVER);
    stock::register(&mut registry);
    match Topology::parse("rig.toml", text, None, &registry) {
        Ok(topology) => {
            let (actors, processes) = (topology.actors(), topology.processes());
            assert!(actors.iter().all(|actor| actor.process.index() < processes.len() && actor.slots > 0));
            assert!(topology.links().iter().all(|link| link.from != link.to && link.queue > 0));
            let ends = topology.links().iter().flat_map(|link| [link.from, link.to]);
            ends.for_each(|end| assert!(!topology.actor(end).name.is_empty()));
        }
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{read, read_dir};
    use std::path::Path;

    #[test]
    fn the_corpus_of_topologies() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/topology");
        let files: Vec<_> = read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in files {
            super::topology(&read(file).unwrap());
        }
    }
}
