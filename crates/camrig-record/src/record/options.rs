//! Options of the recorder and their validation.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use camrig::{ProcessorOptions, WrongOptions, probe_folder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::compression::Compression;

/// Limits of the memory: a frameset of a common camera must fit several times.
const MEMORY_MIB: std::ops::RangeInclusive<u64> = 16..=65_536;

/// The options of `record`, checked. `camrig list` shows them with their defaults.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "OptionsAsWritten")]
#[schemars(with = "OptionsAsWritten")]
pub(crate) struct RecordOptions {
    pub(crate) file: PathBuf,
    pub(crate) files: Files,
    /// `None` for raw pixels.
    pub(crate) jpeg_quality: Option<u8>,
    pub(crate) compression: Compression,
    pub(crate) split_bytes: Option<u64>,
    pub(crate) split_nanos: Option<u64>,
    pub(crate) memory_bytes: usize,
    /// All options with their defaults, as JSON, for the metadata of the recording.
    pub(crate) written: String,
}

/// The cameras that share a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Files {
    /// All cameras.
    Rig,
    /// Each camera has a file of its own: `rig-front.mcap`, `rig-rear.mcap`.
    Camera,
}

/// Coding of color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Color {
    /// Unchanged pixels.
    Raw,
    /// Compressed with loss.
    Jpeg,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OptionsAsWritten {
    /// The recording, `NAME.mcap`. No file is overwritten: a second one is `NAME-2.mcap`.
    file: PathBuf,
    /// Whether all cameras share a file.
    #[serde(default = "OptionsAsWritten::default_files")]
    files: Files,
    /// Coding of color; depth and infrared are recorded without one.
    #[serde(default = "OptionsAsWritten::default_color")]
    color: Color,
    /// The quality of color in JPEG.
    #[schemars(range(min = 1, max = 100), extend("default" = DEFAULT_JPEG_QUALITY))]
    jpeg_quality: Option<u8>,
    /// Lossless compression of the file; by default `zstd` if color is JPEG, and `none` otherwise.
    compression: Option<Compression>,
    /// Starts a new file when the last one has this size.
    #[schemars(extend("x-unit" = "MiB"))]
    split_mib: Option<NonZeroU64>,
    /// Starts a new file when the last one has this duration.
    #[schemars(extend("x-unit" = "s"))]
    split_seconds: Option<NonZeroU64>,
    /// Memory for framesets that wait for the disk. A frameset that does not fit is left out, and noted in the recording.
    #[serde(default = "OptionsAsWritten::default_memory_mib")]
    #[schemars(range(min = *MEMORY_MIB.start(), max = *MEMORY_MIB.end()), extend("x-unit" = "MiB"))]
    memory_mib: u64,
}

impl OptionsAsWritten {
    const fn default_files() -> Files {
        Files::Rig
    }

    const fn default_color() -> Color {
        Color::Raw
    }

    /// Returns memory for more than one second of six cameras of 848x480 with color as JPEG.
    const fn default_memory_mib() -> u64 {
        256
    }
}

impl ProcessorOptions for OptionsAsWritten {
    fn check(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        if self.file.extension().is_none_or(|extension| extension != "mcap") {
            let file = self.file.display();
            wrong.add(["file"], format!("`file` is `{file}`; the name of a recording ends with .mcap"));
        }
        match (self.color, self.jpeg_quality) {
            (Color::Raw, Some(_)) => {
                wrong.add(["jpeg_quality", "color"], "`jpeg_quality` is given, but `color` is not \"jpeg\"");
            }
            (_, Some(quality)) if !(1..=100).contains(&quality) => {
                wrong.add(["jpeg_quality"], format!("`jpeg_quality` is {quality}; it must be 1 to 100"));
            }
            _ => {}
        }
        if !MEMORY_MIB.contains(&self.memory_mib) {
            let (least, most) = (MEMORY_MIB.start(), MEMORY_MIB.end());
            wrong.add(
                ["memory_mib"],
                format!("`memory_mib` is {}; it must be {least} to {most}", self.memory_mib),
            );
        }
        wrong.or_ok()
    }

    fn probe(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        let folder = self.file.parent().unwrap_or(Path::new(""));
        if let Err(reason) = probe_folder(folder) {
            let file = self.file.display();
            wrong.add(["file"], format!("recording `{file}` cannot be written: {reason}"));
        }
        wrong.or_ok()
    }
}

/// High enough that the loss is not visible.
const DEFAULT_JPEG_QUALITY: u8 = 90;

/// Returns the compression if none is given. Disks are faster than compressors, but JPEG is chosen for small files:
/// zstd makes depth a quarter of its size.
const fn default_compression(color: Color) -> Compression {
    match color {
        Color::Raw => Compression::None,
        Color::Jpeg => Compression::Zstd,
    }
}

impl TryFrom<OptionsAsWritten> for RecordOptions {
    type Error = String;

    fn try_from(mut written: OptionsAsWritten) -> Result<Self, String> {
        written.check().map_err(|wrong| wrong.to_string())?;
        let compression = *written.compression.get_or_insert(default_compression(written.color));
        let text = serde_json::to_string(&written).map_err(|error| error.to_string())?;
        let OptionsAsWritten { file, files, color, jpeg_quality, .. } = written;
        Ok(Self {
            file,
            files,
            jpeg_quality: (color == Color::Jpeg).then_some(jpeg_quality.unwrap_or(DEFAULT_JPEG_QUALITY)),
            compression,
            split_bytes: written.split_mib.map(|mib| mib.get().saturating_mul(1 << 20)),
            split_nanos: written.split_seconds.map(|seconds| seconds.get().saturating_mul(1_000_000_000)),
            memory_bytes: (written.memory_mib << 20) as usize,
            written: text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_make_no_sense_are_refused() {
        let parse = |text: &str| toml::from_str::<RecordOptions>(text);
        let options = parse("file = 'a/rig.mcap'\ncolor = 'jpeg'").unwrap();
        assert_eq!((options.files, options.jpeg_quality), (Files::Rig, Some(90)));
        assert!(options.written.contains(r#""compression":"zstd""#), "{}", options.written);
        for (text, compression) in [
            ("color = 'jpeg'", Compression::Zstd),
            ("", Compression::None),
            ("compression = 'lz4'\ncolor = 'jpeg'", Compression::Lz4),
        ] {
            let options = parse(&format!("file = 'rig.mcap'\n{text}")).unwrap();
            assert_eq!(options.compression, compression, "{text}");
        }
        for (text, message) in [
            ("", "missing field `file`"),
            ("file = 'rig'", "`file` is `rig`; the name of a recording ends with .mcap"),
            ("file = 'a.mcap'\njpeg_quality = 80", "`jpeg_quality` is given, but `color` is not \"jpeg\""),
            ("file = 'a.mcap'\ncolor = 'jpeg'\njpeg_quality = 0", "`jpeg_quality` is 0; it must be 1 to 100"),
            ("file = 'a.mcap'\nmemory_mib = 1", "`memory_mib` is 1; it must be 16 to 65536"),
            ("file = 'a.mcap'\nsplit_mib = 0", "invalid value: integer `0`, expected a nonzero u64"),
        ] {
            assert_eq!(parse(text).map(|_| ()).unwrap_err().message(), message);
        }
    }
}
