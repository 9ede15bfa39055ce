//! The properties of framesets of actors whose driver or kind only an agent has: asked of the agents before the topology is
//! split.

use std::collections::{BTreeMap, BTreeSet};

use camrig::HostSpec;
use camrig::hosts::{Declaration, HostPart, WholeTopology};

use super::request;
use crate::protocol::PartRequest;
use crate::split::crossings_of;

/// The declarations of the actors of a part.
pub(super) type Declarations = BTreeMap<String, Declaration>;

/// Returns a topology with the declarations that its agents have. `split` returns the parts of a topology, and `ask` the
/// declarations of a host's part.
///
/// # Errors
/// Lines that name the host.
pub(super) fn completed(
    topology: &WholeTopology,
    run: &str,
    split: impl Fn(&WholeTopology) -> Result<Vec<HostPart>, String>,
    mut ask: impl FnMut(&HostSpec, PartRequest) -> Result<Declarations, Vec<String>>,
) -> Result<WholeTopology, Vec<String>> {
    let mut topology = topology.clone();
    let crossings =
        crossings_of(&topology.text).map_err(|fact| vec![format!("{}: {fact}", topology.name)])?;
    // Each time at least one actor becomes known, by which readers of it may become so.
    for _ in 0..=topology.hosts.len() {
        let is_unknown = |actor: &String| {
            topology.declarations.get(actor).is_none_or(|declaration| declaration.streams.is_empty())
        };
        let unknown: Vec<_> = crossings.iter().filter(|crossing| is_unknown(&crossing.actor)).collect();
        let hosts: BTreeSet<_> = unknown.iter().filter_map(|crossing| crossing.from.as_ref()).collect();
        if hosts.is_empty() {
            break;
        }
        let parts = split(&topology).map_err(|fact| vec![format!("{}: {fact}", topology.name)])?;
        let mut found = Declarations::new();
        for part in parts {
            let is_asked =
                |spec: &&HostSpec| Some(&spec.name) == part.host.as_ref() && hosts.contains(&spec.name);
            let Some(spec) = topology.hosts.iter().find(is_asked) else { continue };
            let asked = request(run, &topology.name, &spec.name, part.text, topology.framesets);
            let own = |actor: &String| {
                unknown
                    .iter()
                    .any(|crossing| crossing.actor == *actor && crossing.from.as_ref() == Some(&spec.name))
            };
            found.extend(ask(spec, asked)?.into_iter().filter(|(actor, _)| own(actor)));
        }
        found.retain(|actor, declaration| topology.declarations.get(actor) != Some(declaration));
        if found.is_empty() {
            break;
        }
        topology.declarations.extend(found);
    }
    Ok(topology)
}

#[cfg(test)]
mod tests {
    use camrig_frame::{DeviceProfile, PixelFormat, Stream};

    use super::*;
    use crate::split::split;

    fn declaration(streams: bool) -> Declaration {
        let depth = DeviceProfile {
            stream: Stream::DEPTH,
            format: PixelFormat::Z16.into(),
            profile: "64x48@30".parse().unwrap(),
        };
        Declaration { cameras: Vec::new(), streams: if streams { vec![depth] } else { Vec::new() } }
    }

    fn topology(text: &str) -> WholeTopology {
        let host = |name: &str| HostSpec {
            name: name.to_owned(),
            address: "tcp/127.0.0.1:7447".to_owned(),
            router: false,
            fingerprint: None,
            rate_megabits: None,
        };
        WholeTopology {
            name: "rig.toml".to_owned(),
            text: text.to_owned(),
            hosts: vec![host("arm"), host("base")],
            declarations: BTreeMap::new(),
            framesets: None,
        }
    }

    fn parts(topology: &WholeTopology) -> Result<Vec<HostPart>, String> {
        split(&topology.text, &topology.hosts, &topology.declarations, "r")
    }

    /// `arm` has the driver of `eye`; `base` passes its framesets on to the first host.
    const CHAIN: &str = "[camera.eye]\ndriver = 'd'\nhost = 'arm'\n\
                         [processor.twice]\nkind = 'k'\nhost = 'base'\ninputs = ['eye']\n\
                         [processor.end]\nkind = 'k'\ninputs = ['twice']\n";

    #[test]
    fn agents_declare_what_the_first_host_does_not_know() {
        let mut asked = Vec::new();
        let ask = |spec: &HostSpec, part: PartRequest| {
            asked.push(spec.name.clone());
            let knows = spec.name == "arm" || part.text.contains("z16 64x48@30");
            let actors = if spec.name == "arm" { ["eye"].as_slice() } else { &["twice", "eye"] };
            Ok(actors.iter().map(|actor| ((*actor).to_owned(), declaration(knows))).collect())
        };
        let completed = completed(&topology(CHAIN), "r", parts, ask).unwrap();
        assert_eq!(asked, ["arm", "base", "base"]);
        let known: Vec<_> = completed.declarations.keys().collect();
        assert_eq!(known, ["eye", "twice"]);
        assert!(parts(&completed).unwrap()[0].text.contains("streams = { depth = \"z16 64x48@30\" }"));
    }

    #[test]
    fn agents_are_not_asked_for_what_is_known() {
        let mut known = topology(CHAIN);
        known.declarations = ["eye", "twice"].map(|actor| (actor.to_owned(), declaration(true))).into();
        let ask = |spec: &HostSpec, _: PartRequest| -> Result<Declarations, Vec<String>> {
            panic!("{} is asked", spec.name)
        };
        assert_eq!(completed(&known, "r", parts, ask).unwrap().declarations.len(), 2);
        // An actor whose streams its agent does not know either is asked for once.
        let mut asked = 0;
        let ask = |_: &HostSpec, _: PartRequest| {
            asked += 1;
            Ok(Declarations::new())
        };
        completed(&topology(CHAIN), "r", parts, ask).unwrap();
        assert_eq!(asked, 2);
        let refuse = |_: &HostSpec, _: PartRequest| Err(vec!["host `arm`: no".to_owned()]);
        assert_eq!(completed(&topology(CHAIN), "r", parts, refuse).unwrap_err(), ["host `arm`: no"]);
    }
}
