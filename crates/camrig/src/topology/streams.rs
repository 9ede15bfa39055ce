//! The streams that actors publish, as far as drivers and kinds declare it before the first frameset.

use std::collections::BTreeSet;

use camrig_frame::{DeviceProfile, Format, PixelFormat, Stream, StreamInfo, StreamProfile};

use super::draft::Draft;
use super::problem::{Problems, did_you_mean, quote};
use super::section::Options;
use super::{LinkSpec, Role};
use crate::registry::{KindEntry, Registry};

/// The streams that an actor publishes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum PublishedStreams {
    /// It depends on the first frameset.
    #[default]
    Unknown,
    /// No framesets.
    Nothing,
    /// The streams of each camera whose framesets it publishes.
    Cameras(Vec<Vec<StreamInfo>>),
}

/// Returns the streams that each actor publishes. Reports inputs that publish nothing, or lack a stream that their reader
/// needs.
pub(super) fn declared_streams(
    drafts: &[Draft],
    links: &[LinkSpec],
    registry: &Registry,
    problems: &mut Problems,
) -> Vec<PublishedStreams> {
    let mut declared: Vec<Option<PublishedStreams>> = vec![None; drafts.len()];
    // Each round completes at least one actor, until only circles are left, which are problems of their own.
    loop {
        let before = declared.iter().flatten().count();
        for (id, draft) in drafts.iter().enumerate() {
            let inputs = links.iter().filter(|link| link.to.index() == id);
            let inputs = inputs.map(|link| Some((link.from.index(), declared[link.from.index()].clone()?)));
            let (None, Some(inputs)) = (&declared[id], inputs.collect::<Option<Vec<_>>>()) else { continue };
            declared[id] = Some(match &draft.role {
                Role::Camera { .. } => camera_streams(&draft.options),
                Role::Processor { kind } => {
                    let kind = registry.kind(kind).map(AsRef::as_ref);
                    derived(draft, kind, drafts, &inputs, problems)
                }
            });
        }
        if declared.iter().flatten().count() == before {
            return declared.into_iter().map(Option::unwrap_or_default).collect();
        }
    }
}

/// Returns the streams of an actor that publishes framesets of one camera, if their profiles determine them; otherwise none.
pub(super) fn profiles(published: &PublishedStreams) -> Vec<DeviceProfile> {
    let PublishedStreams::Cameras(cameras) = published else { return Vec::new() };
    let [streams] = &cameras[..] else { return Vec::new() };
    let profile = |info: &StreamInfo| {
        let it = DeviceProfile::of(info)?;
        let same = StreamInfo::with_profile(it.stream, it.format, it.profile)?;
        (same.role == info.role && same.payload == info.payload).then_some(it)
    };
    streams.iter().map(profile).collect::<Option<_>>().unwrap_or_default()
}

/// Returns the streams of a camera.
fn camera_streams(options: &Options) -> PublishedStreams {
    let Some(options) = &options.camera else { return PublishedStreams::Unknown };
    let info = |it: DeviceProfile| StreamInfo::with_profile(it.stream, it.format, it.profile);
    match options.streams().into_iter().map(info).collect::<Option<Vec<_>>>() {
        Some(streams) if !streams.is_empty() => PublishedStreams::Cameras(vec![streams]),
        _ => PublishedStreams::Unknown,
    }
}

/// Returns the declaration of a processor for its inputs.
fn derived(
    reader: &Draft,
    kind: Option<&dyn KindEntry>,
    drafts: &[Draft],
    inputs: &[(usize, PublishedStreams)],
    problems: &mut Problems,
) -> PublishedStreams {
    let mut all = Some(Vec::new());
    for (input, published) in inputs {
        let name = quote(&drafts[*input].name);
        let at = || {
            let written = reader.inputs.iter().find(|written| *written.get_ref() == drafts[*input].name);
            written.map_or_else(|| reader.span.clone(), toml::Spanned::span)
        };
        match (published, kind, &reader.options.text) {
            (PublishedStreams::Nothing, ..) => {
                let title =
                    format!("processor {} reads {name}, which publishes nothing", quote(&reader.name));
                problems.add(at(), title, "");
                all = None;
            }
            (PublishedStreams::Cameras(cameras), Some(kind), Some(options)) => {
                for streams in cameras {
                    let declared = kind.declare(options, streams).unwrap_or_else(|lack| {
                        let title = format!("{} cannot read {name}: {lack}", quote(&reader.name));
                        problems.add(at(), title, "");
                        None
                    });
                    all = all.zip(declared).map(|(mut all, declared)| {
                        all.push(declared);
                        all
                    });
                }
            }
            _ => all = None,
        }
    }
    check_wire(reader, inputs, problems);
    match all {
        Some(all) if !all.is_empty() && all.iter().all(Vec::is_empty) => PublishedStreams::Nothing,
        Some(all) => PublishedStreams::Cameras(all),
        None if kind.zip(reader.options.text.as_ref()).is_some_and(publishes_nothing) => {
            PublishedStreams::Nothing
        }
        None => PublishedStreams::Unknown,
    }
}

/// Reports codecs for streams that no input has, if the streams of all inputs are known.
fn check_wire(reader: &Draft, inputs: &[(usize, PublishedStreams)], problems: &mut Problems) {
    let mut known = BTreeSet::new();
    for (_, published) in inputs {
        let PublishedStreams::Cameras(cameras) = published else { return };
        known.extend(cameras.iter().flatten().map(|info| info.stream.to_string()));
    }
    for stream in &reader.wire {
        if !known.contains(stream.get_ref()) {
            let (reader, name) = (quote(&reader.name), quote(stream.get_ref()));
            let title = format!("`wire` of processor {reader} has stream {name}, which no input publishes");
            let label = did_you_mean(stream.get_ref(), known.iter().map(String::as_str));
            problems.add(stream.span(), title, label);
        }
    }
}

/// Returns whether a kind publishes nothing for any inputs: it declares no streams for common ones.
fn publishes_nothing((kind, options): (&dyn KindEntry, &String)) -> bool {
    let Ok(profile) = StreamProfile::new(640, 480, 30) else { return false };
    let common = [(Stream::COLOR, PixelFormat::Rgb8), (Stream::DEPTH, PixelFormat::Z16)];
    let common =
        common.map(|(stream, format)| StreamInfo::with_profile(stream, Format::from(format), profile));
    let common = common.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default();
    matches!(kind.declare(options, &common), Ok(Some(streams)) if streams.is_empty())
}
