//! The options of `view`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use camrig::frame::StreamInfo;
use camrig::{Declared, ProcessorOptions, WrongOptions};
use camrig_http::{Access, AccessError};
use schemars::JsonSchema;
use serde::Deserialize;

/// The port of the example in errors.
const EXAMPLE_PORT: u16 = 8470;

/// The options of `view`, checked. `camrig list` shows them with their defaults.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "OptionsAsWritten")]
#[schemars(with = "OptionsAsWritten")]
pub struct ViewOptions {
    pub(crate) listen: SocketAddr,
    pub(crate) access: Access,
    pub(crate) signal_timeout: Duration,
    pub(crate) frame_time: Duration,
    pub(crate) quality: u8,
    pub(crate) control: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OptionsAsWritten {
    /// The address and port that serve the page; port 0 takes any free one.
    listen: String,
    /// A secret that clients send; required where other machines can reach `listen`.
    token: Option<String>,
    /// Shows NO SIGNAL after this time without a frameset.
    #[schemars(range(min = 50, max = 3_600_000), extend("x-unit" = "ms"))]
    signal_timeout_millis: u64,
    /// The highest rate of each camera's pictures on each page.
    #[schemars(range(min = 1, max = 120), extend("x-unit" = "frames/s"))]
    frames_per_second: u32,
    /// The quality of the pictures as JPEG.
    #[schemars(range(min = 1, max = 100))]
    quality: u8,
    /// Allows changes of the rig, on the page and over HTTP; it needs a `token`.
    control: bool,
}

impl Default for OptionsAsWritten {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).to_string(),
            token: None,
            signal_timeout_millis: 1000,
            frames_per_second: 15,
            quality: 80,
            control: false,
        }
    }
}

impl OptionsAsWritten {
    fn address(&self) -> Result<(SocketAddr, Access), AccessError> {
        Access::parse(&self.listen, self.token.as_deref(), EXAMPLE_PORT)
    }
}

impl ProcessorOptions for OptionsAsWritten {
    fn check(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        if let Err(error) = self.address() {
            wrong.add(error.options().iter().copied(), error.to_string());
        }
        if !(50..=3_600_000).contains(&self.signal_timeout_millis) {
            let millis = self.signal_timeout_millis;
            let message = format!("`signal_timeout_millis` is {millis}; choose 50 to 3600000");
            wrong.add(["signal_timeout_millis"], message);
        }
        if !(1..=120).contains(&self.frames_per_second) {
            let rate = self.frames_per_second;
            wrong.add(["frames_per_second"], format!("`frames_per_second` is {rate}; choose 1 to 120"));
        }
        if !(1..=100).contains(&self.quality) {
            wrong.add(["quality"], format!("`quality` is {}; choose 1 to 100", self.quality));
        }
        if self.control && self.token.is_none() {
            let message =
                "`control` needs a `token`: without one, every program of this machine could change the rig";
            wrong.add(["control"], message);
        }
        wrong.or_ok()
    }

    /// Declares no streams: it publishes nothing.
    fn declare(&self, _: &[StreamInfo]) -> Declared {
        Ok(Some(Vec::new()))
    }
}

impl TryFrom<OptionsAsWritten> for ViewOptions {
    type Error = String;

    fn try_from(written: OptionsAsWritten) -> Result<Self, String> {
        written.check().map_err(|wrong| wrong.to_string())?;
        let OptionsAsWritten { signal_timeout_millis, frames_per_second, quality, control, .. } = written;
        let (listen, access) = written.address().map_err(|error| error.to_string())?;
        Ok(Self {
            listen,
            access,
            signal_timeout: Duration::from_millis(signal_timeout_millis),
            frame_time: Duration::from_secs(1) / frames_per_second,
            quality,
            control,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_make_no_sense_are_refused() {
        let parse = |text: &str| toml::from_str::<ViewOptions>(text);
        let options = parse("").unwrap();
        assert_eq!((options.listen.to_string().as_str(), options.quality), ("127.0.0.1:0", 80));
        let local = parse("listen = 'localhost:8470'").unwrap();
        assert_eq!(local.listen.to_string(), "127.0.0.1:8470");
        for (text, message) in [
            (
                "listen = 'localhost'",
                "`listen` is `localhost`; it must be an address and a port, such as `127.0.0.1:8470`",
            ),
            (
                "listen = '0.0.0.0:8470'",
                "`listen` is 0.0.0.0:8470, which others can reach: `token` is needed, a secret of 8 to \
                 128 letters, digits, `-` and `_`",
            ),
            ("signal_timeout_millis = 1", "`signal_timeout_millis` is 1; choose 50 to 3600000"),
            ("frames_per_second = 0", "`frames_per_second` is 0; choose 1 to 120"),
            (
                "control = true",
                "`control` needs a `token`: without one, every program of this machine could change the rig",
            ),
            ("quality = 101", "`quality` is 101; choose 1 to 100"),
        ] {
            assert_eq!(parse(text).unwrap_err().message(), message);
        }
    }
}
