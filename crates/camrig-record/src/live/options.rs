//! The options of `foxglove`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use camrig::frame::StreamInfo;
use camrig::{Declared, ProcessorOptions, WrongOptions};
use camrig_http::{Access, AccessError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The port on which viewers look for a server.
const PORT: u16 = 8765;

/// The options of `foxglove`, checked.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "OptionsAsWritten")]
#[schemars(with = "OptionsAsWritten")]
pub(crate) struct Options {
    pub(super) listen: SocketAddr,
    pub(super) access: Access,
    /// `None` for raw color.
    pub(super) jpeg_quality: Option<u8>,
    pub(super) frame_time: Duration,
}

/// Coding of color.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Color {
    /// As JPEG
    #[default]
    Jpeg,
    /// As it is
    Raw,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OptionsAsWritten {
    /// The address and port that serve viewers; port 0 is any free one.
    listen: String,
    /// A secret that viewers give in the address; it is needed where other machines can reach `listen`, and for viewers in
    /// pages of other hosts.
    token: Option<String>,
    /// Coding of color.
    color: Color,
    /// The quality of color as JPEG.
    #[schemars(range(min = 1, max = 100))]
    jpeg_quality: u8,
    /// The highest rate of each camera's framesets at each viewer.
    #[schemars(range(min = 1, max = 1000), extend("x-unit" = "frames/s"))]
    frames_per_second: u32,
}

impl Default for OptionsAsWritten {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).to_string(),
            token: None,
            color: Color::Jpeg,
            jpeg_quality: 80,
            frames_per_second: 60,
        }
    }
}

impl OptionsAsWritten {
    fn address(&self) -> Result<(SocketAddr, Access), AccessError> {
        let (listen, access) = Access::parse(&self.listen, self.token.as_deref(), PORT)?;
        Ok((listen, access.for_viewers()))
    }
}

impl ProcessorOptions for OptionsAsWritten {
    fn check(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        if let Err(error) = self.address() {
            wrong.add(error.options().iter().copied(), error.to_string());
        }
        if !(1..=100).contains(&self.jpeg_quality) {
            let quality = self.jpeg_quality;
            wrong.add(["jpeg_quality"], format!("`jpeg_quality` is {quality}; choose 1 to 100"));
        }
        if !(1..=1000).contains(&self.frames_per_second) {
            let rate = self.frames_per_second;
            wrong.add(["frames_per_second"], format!("`frames_per_second` is {rate}; choose 1 to 1000"));
        }
        wrong.or_ok()
    }

    /// Declares no streams: it publishes nothing.
    fn declare(&self, _: &[StreamInfo]) -> Declared {
        Ok(Some(Vec::new()))
    }
}

impl TryFrom<OptionsAsWritten> for Options {
    type Error = String;

    fn try_from(written: OptionsAsWritten) -> Result<Self, String> {
        written.check().map_err(|wrong| wrong.to_string())?;
        let (listen, access) = written.address().map_err(|error| error.to_string())?;
        Ok(Self {
            listen,
            access,
            jpeg_quality: matches!(written.color, Color::Jpeg).then_some(written.jpeg_quality),
            frame_time: Duration::from_secs(1) / written.frames_per_second,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_make_no_sense_are_refused() {
        let parse = |text: &str| toml::from_str::<Options>(text);
        let options = parse("").unwrap();
        assert_eq!((options.listen.to_string().as_str(), options.jpeg_quality), ("127.0.0.1:8765", Some(80)));
        assert_eq!(parse("color = 'raw'").unwrap().jpeg_quality, None);
        for (text, message) in [
            (
                "listen = '8765'",
                "`listen` is `8765`; it must be an address and a port, such as `127.0.0.1:8765`",
            ),
            (
                "listen = '0.0.0.0:8765'",
                "`listen` is 0.0.0.0:8765, which others can reach: `token` is needed, a secret of 8 to \
                 128 letters, digits, `-` and `_`",
            ),
            ("jpeg_quality = 0", "`jpeg_quality` is 0; choose 1 to 100"),
            ("frames_per_second = 0", "`frames_per_second` is 0; choose 1 to 1000"),
        ] {
            assert_eq!(parse(text).unwrap_err().message(), message);
        }
    }
}
