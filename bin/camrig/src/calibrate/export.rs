//! `calibration`: a calibrated rig in the format of another program.

use std::path::PathBuf;

use camrig::clap::{self, ValueEnum, builder::PossibleValue};
use camrig::console::print_warning;
use camrig_calib::{ExportFormat, RigCalibration};

use super::{CommandError, read, write};

#[derive(Debug, clap::Args)]
pub(super) struct CalibrationArgs {
    /// The file that `calibrate` wrote
    file: PathBuf,
    /// The format
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// The file to write; without it, standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The error of a lens, in pixels, from which on a warning is printed.
const LENS_PIXELS: f64 = 0.1;

/// A format, as the command line names it.
#[derive(Clone, Copy, Debug)]
struct Format(ExportFormat);

/// Every format, in the order of the library's.
const FORMATS: [Format; ExportFormat::ALL.len()] = {
    let mut formats = [Format(ExportFormat::Urdf); ExportFormat::ALL.len()];
    let mut at = 0;
    while at < formats.len() {
        formats[at] = Format(ExportFormat::ALL[at].1);
        at += 1;
    }
    formats
};

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &FORMATS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, _) = ExportFormat::ALL.into_iter().find(|(_, format)| *format == self.0)?;
        Some(PossibleValue::new(name))
    }
}

pub(super) fn export(args: &CalibrationArgs) -> Result<String, CommandError> {
    let path = args.file.display();
    let calibration = RigCalibration::from_toml(&read(&args.file)?)
        .map_err(|error| CommandError::Data(format!("`{path}` is not a calibration: {error}")))?;
    let text = calibration.export(args.format.0);
    let format = args.format.to_possible_value();
    let format = format.as_ref().map_or("", PossibleValue::get_name);
    for (camera, pixels) in calibration.lens_errors(args.format.0).filter(|(_, pixels)| *pixels > LENS_PIXELS)
    {
        print_warning(format_args!(
            "camera `{camera}`: `{format}` cannot express its distortion, so its pixels are up to {pixels:.1} pixels off"
        ));
    }
    match &args.output {
        Some(output) => write(output, text.as_bytes()).map(|()| String::new()),
        None => Ok(text),
    }
}
