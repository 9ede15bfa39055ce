//! The data rate of the framesets on the network link of each host, compared with the link's rate. Pure.
//!
//! A link carries both directions at the same time, each at its full rate.

use std::collections::BTreeMap;

use camrig::HostSpec;
use camrig::hosts::{FIRST, LinkPlan, StreamNeed};

use crate::codec::{DEFAULT_MBPS, WireCodec};
use crate::split::{Crossing, crossings_of, rate_megabits};

/// The part of a link's rate that frames can use, in percent: the rest is headers, TLS, answers, and a margin for bursts.
const USABLE_PERCENT: u64 = 90;

/// The codecs of the example in a message about a link that is too slow.
const LEAST: &str = "wire = { depth = \"delta\", color = \"jpeg:75\" }";

/// The rate below which streams are coded as in that example.
const LEAST_MBPS: u32 = 1;

/// The quality of that example.
const LEAST_QUALITY: u8 = 75;

/// Adds up the data rates of the streams that cross the link of each host.
///
/// # Errors
/// If the topology cannot be split.
pub(crate) fn network(
    text: &str,
    hosts: &[HostSpec],
    needs: &BTreeMap<String, Vec<StreamNeed>>,
) -> Result<Vec<LinkPlan>, String> {
    let crossings = crossings_of(text)?;
    let names = hosts.iter().map(Some).chain([None]);
    let links = names.flat_map(|host| ["in", "out"].map(|direction| (host, direction)));
    let plan = |(host, direction): (Option<&HostSpec>, &str)| {
        let name = host.map(|host| &host.name);
        let is_own = |crossing: &&Crossing| {
            let end = if direction == "in" { &crossing.to } else { &crossing.from };
            end.as_ref() == name
        };
        let own: Vec<_> = crossings.iter().filter(is_own).collect();
        (!own.is_empty()).then(|| link(host, direction, &own, hosts, needs))
    };
    Ok(links.filter_map(plan).collect())
}

fn link(
    host: Option<&HostSpec>,
    direction: &str,
    crossings: &[&Crossing],
    hosts: &[HostSpec],
    needs: &BTreeMap<String, Vec<StreamNeed>>,
) -> LinkPlan {
    let (mut raw, mut coded, mut least) = (0, 0, 0);
    let (mut actors, mut unknown) = (Vec::new(), Vec::new());
    for crossing in crossings {
        actors.push(crossing.actor.clone());
        let Some(needs) = needs.get(&crossing.actor) else {
            unknown.push(crossing.actor.clone());
            continue;
        };
        let rate = rate_megabits(crossing, hosts).unwrap_or(DEFAULT_MBPS);
        for need in needs {
            let named = crossing.codecs.get(&need.stream).and_then(|codec| codec.parse().ok());
            raw += WireCodec::Raw.estimated_bits(need);
            coded += named.unwrap_or_else(|| WireCodec::of_need(need, rate)).estimated_bits(need);
            least += match WireCodec::of_need(need, LEAST_MBPS) {
                WireCodec::Jpeg(_) => WireCodec::Jpeg(LEAST_QUALITY),
                codec => codec,
            }
            .estimated_bits(need);
        }
    }
    let [raw_megabits, need_megabits, least_megabits] =
        [raw, coded, least].map(|bits: u64| bits.div_ceil(1_000_000));
    let rate = host.and_then(|host| host.rate_megabits).map(u64::from);
    let usable_megabits = rate.map(|rate| rate * USABLE_PERCENT / 100);
    let name = host.map_or(FIRST, |host| host.name.as_str()).to_owned();
    let problem = rate.zip(usable_megabits).filter(|(_, usable)| need_megabits > *usable).map(|(rate, usable)| {
        let quoted: Vec<_> = actors.iter().map(|actor| format!("`{actor}`")).collect();
        let lower = if least_megabits <= usable {
            format!("with `{LEAST}` they need {least_megabits}")
        } else {
            format!(
                "with `{LEAST}` they need {least_megabits}, so sizes or rates have to be {} % of these as well",
                usable * 100 / least_megabits.max(1)
            )
        };
        format!(
            "the network link of host `{name}` needs {need_megabits} Mb/s {direction} for {}, but {usable} of its {rate} \
             are usable; {lower}",
            quoted.join(", ")
        )
    });
    let direction = direction.to_owned();
    LinkPlan { host: name, direction, actors, raw_megabits, need_megabits, usable_megabits, problem, unknown }
}

#[cfg(test)]
mod tests {
    use camrig_frame::{Format, PixelFormat};

    use super::*;

    /// Returns the needs of a camera of depth and color, 848x480 at 30 framesets per second.
    fn camera() -> Vec<StreamNeed> {
        let need = |stream: &str, format: PixelFormat| {
            let pixels_per_second = 848 * 480 * 30;
            StreamNeed {
                stream: stream.to_owned(),
                role: Format::from(format).role(),
                format: Some(format),
                pixels_per_second,
                bytes_per_second: pixels_per_second * u64::from(format.bytes_per_pixel()),
            }
        };
        vec![need("depth", PixelFormat::Z16), need("color", PixelFormat::Rgb8)]
    }

    /// Returns the estimated rate of a stream of this format with the default codec for a gigabit, in Mb/s.
    fn default_megabits(format: PixelFormat) -> u64 {
        let [_, color] = &camera()[..] else { panic!() };
        let bytes_per_second = color.pixels_per_second * u64::from(format.bytes_per_pixel());
        let need = StreamNeed { format: Some(format), bytes_per_second, ..color.clone() };
        WireCodec::of_need(&need, 1000).estimated_bits(&need).div_ceil(1_000_000)
    }

    /// No JPEG is made of other formats: they cross as `delta`.
    #[test]
    fn only_formats_that_become_jpeg_are_planned_so() {
        let jpeg = default_megabits(PixelFormat::Rgb8);
        assert_eq!((default_megabits(PixelFormat::Bgr8), default_megabits(PixelFormat::Y8)), (jpeg, jpeg));
        assert!(default_megabits(PixelFormat::Yuyv) > 5 * jpeg);
        assert!(default_megabits(PixelFormat::Rgba8) > 10 * jpeg);
    }

    /// Returns the plan of `cameras` on host `arm`, whose readers are on the first host.
    fn planned(cameras: usize, rate: Option<u32>, wire: &str) -> Vec<LinkPlan> {
        let names: Vec<_> = (0..cameras).map(|number| format!("c{number}")).collect();
        let tables = names.iter().map(|name| format!("[camera.{name}]\ndriver = 'd'\nhost = 'arm'\n"));
        let text: String = tables.collect();
        let inputs: Vec<_> =
            names.iter().chain([&"own".to_owned()]).map(|name| format!("'{name}'")).collect();
        let text = format!(
            "{text}[camera.own]\ndriver = 'd'\n[processor.p]\nkind = 'k'\ninputs = [{}]\n{wire}",
            inputs.join(", ")
        );
        let arm = HostSpec {
            name: "arm".to_owned(),
            address: "tcp/127.0.0.1:7447".to_owned(),
            fingerprint: None,
            router: false,
            rate_megabits: rate,
        };
        let needs = names.into_iter().map(|name| (name, camera())).collect();
        network(&text, &[arm], &needs).unwrap()
    }

    #[test]
    fn six_cameras_fit_a_gigabit_with_the_default_codecs() {
        let links = planned(6, Some(1000), "");
        let [arm, first] = &links[..] else { panic!("two links: {links:?}") };
        assert_eq!((arm.host.as_str(), arm.direction.as_str(), arm.actors.len()), ("arm", "out", 6));
        assert_eq!((arm.raw_megabits, arm.need_megabits), (2931, 291));
        assert_eq!((arm.usable_megabits, arm.assessment()), (Some(900), "fits"));
        assert_eq!((first.host.as_str(), first.direction.as_str(), first.need_megabits), ("main", "in", 291));
        // The topology does not say the rate of the first host's own link.
        assert_eq!((first.usable_megabits, first.assessment()), (None, "-"));
    }

    #[test]
    fn a_link_that_is_too_slow_names_codecs_that_fit() {
        let raw = "wire = { depth = 'raw', color = 'raw' }";
        assert_eq!(
            planned(2, Some(1000), raw)[0].problem.as_deref(),
            Some(
                "the network link of host `arm` needs 977 Mb/s out for `c0`, `c1`, but 900 of its 1000 are usable; with \
                 `wire = { depth = \"delta\", color = \"jpeg:75\" }` they need 87"
            )
        );
        let problem = planned(6, Some(100), "")[0].problem.clone().unwrap();
        assert!(
            problem.ends_with("they need 261, so sizes or rates have to be 34 % of these as well"),
            "{problem}"
        );
        // 10 Gb/s need no codec.
        let links = planned(6, Some(10_000), "");
        assert_eq!((links[0].need_megabits, links[0].assessment()), (2931, "fits"));
    }

    #[test]
    fn an_actor_of_unknown_streams_is_named() {
        let text = "[camera.a]\ndriver = 'd'\nhost = 'arm'\n[processor.p]\nkind = 'k'\ninputs = ['a']\n";
        let links = network(text, &[], &BTreeMap::new()).unwrap();
        assert_eq!((links[0].need_megabits, &links[0].unknown), (0, &vec!["a".to_owned()]));
    }
}
