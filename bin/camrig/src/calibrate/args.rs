//! The arguments of `calibrate`.

use std::path::PathBuf;
use std::time::Duration;

use camrig::{clap, parse_time};
use camrig_calib::{Board, RigCalibration};

use super::{CommandError, read};

#[derive(Debug, clap::Args)]
pub(super) struct CalibrateArgs {
    /// A recording of cameras to which a board was shown; or a topology file (.toml), which is run while the board is shown
    #[arg(required_unless_present = "attach")]
    pub(super) source: Option<PathBuf>,
    /// Capture from a running rig instead; without RIG the only one
    #[arg(long, value_name = "RIG", num_args = 0..=1, default_missing_value = "", conflicts_with = "source")]
    pub(super) attach: Option<String>,
    /// A board's description, as `board` wrote it; once for each of several boards that do not move against each other
    #[arg(long, value_name = "FILE", required = true)]
    board: Vec<PathBuf>,
    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = "rig.calib.toml")]
    pub(super) output: PathBuf,
    /// The camera whose coordinates all poses lead to; by default the first by name
    #[arg(long, value_name = "CAMERA")]
    pub(super) root: Option<String>,
    /// The cameras to calibrate; without it all
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub(super) cameras: Vec<String>,
    /// Use at most this many moments at which several cameras saw the board [default: 60 of a recording, 30 live]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(3..=1000))]
    pub(super) moments: Option<u32>,
    /// Find focal lengths, centers and distortion of the images as well, instead of keeping those of the factory calibration
    #[arg(long)]
    pub(super) refine_intrinsics: bool,
    /// Capture live for at most this time, such as 90s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    pub(super) time: Option<Duration>,
    /// Print JSON: live, a line whenever the state of the capture changes; the calibration at the end
    #[arg(long)]
    pub(super) json: bool,
}

impl CalibrateArgs {
    /// Reads the descriptions of the boards.
    pub(super) fn boards(&self) -> Result<Vec<Board>, CommandError> {
        let board = |path: &PathBuf| {
            Board::from_toml(&read(path)?).map_err(|error| {
                CommandError::Data(format!("`{}` describes no board: {error}", path.display()))
            })
        };
        self.board.iter().map(board).collect()
    }

    /// Returns the text to print of a result.
    pub(super) fn shown(&self, calibration: &RigCalibration, summary: String) -> String {
        if self.json { serde_json::json!({ "calibration": calibration }).to_string() } else { summary }
    }
}
