//! `board`: a board to print, and its description.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use camrig::clap;
use camrig_calib::{Board, Sheet};

use super::{CommandError, write};

#[derive(Debug, clap::Args)]
pub(super) struct BoardArgs {
    /// Number of squares, or tags, in a row and in a column, such as 9x12
    #[arg(long, value_name = "COLUMNSxROWS", value_parser = size)]
    size: (u32, u32),
    /// Width of a square of a ChArUco board, such as 30mm
    #[arg(long, value_name = "LENGTH", value_parser = millimeters, required_unless_present = "tag")]
    square: Option<f64>,
    /// Width of a marker; by default three quarters of that of a square
    #[arg(long, value_name = "LENGTH", value_parser = millimeters)]
    marker: Option<f64>,
    /// The markers' dictionary; by default the smallest of 4x4 bits that has enough
    #[arg(long, value_name = "NAME")]
    dictionary: Option<String>,
    /// Width of a tag of an AprilGrid instead, such as 30mm
    #[arg(long, value_name = "LENGTH", value_parser = millimeters, conflicts_with_all = ["square", "marker", "dictionary"])]
    tag: Option<f64>,
    /// Distance between the tags, as a share of their width
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, requires = "tag")]
    spacing: f64,
    /// Number of the first tag, of 587
    #[arg(long, value_name = "N", default_value_t = 0, requires = "tag")]
    first_tag: u32,
    /// The drawing; its description is written beside it, with the extension `.toml`
    #[arg(short, long, value_name = "FILE.pdf|FILE.svg", value_parser = drawing)]
    output: PathBuf,
}

/// Parses `9x12`.
fn size(text: &str) -> Result<(u32, u32), &'static str> {
    let numbers =
        text.split_once('x').and_then(|(columns, rows)| Some((columns.parse().ok()?, rows.parse().ok()?)));
    numbers.ok_or("expected two numbers such as 9x12")
}

/// Parses a length; a number without a unit is in millimetres.
fn millimeters(text: &str) -> Result<f64, &'static str> {
    let units = [("mm", 1.0), ("cm", 10.0), ("m", 1000.0), ("", 1.0)];
    let length = units.into_iter().find_map(|(unit, millimeters)| {
        let number: f64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        // In thousandths, so that 3.3 cm is 33 mm and not 32.99999.
        Some((number * millimeters * 1000.0).round() / 1000.0)
    });
    length.filter(|length| length.is_finite()).ok_or("expected a length such as 30mm or 3cm")
}

fn drawing(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    let known = path.extension().is_some_and(|extension| extension == "pdf" || extension == "svg");
    known.then_some(path).ok_or("expected a file with the extension `.pdf` or `.svg`")
}

pub(super) fn board(args: &BoardArgs) -> Result<String, CommandError> {
    let board = described(args).map_err(|error| CommandError::Data(error.to_string()))?;
    let sheet = Sheet::new(&board);
    let is_pdf = args.output.extension().is_some_and(|extension| extension == "pdf");
    let content = if is_pdf { sheet.to_pdf() } else { sheet.to_svg().into_bytes() };
    let description = args.output.with_extension("toml");
    check_replaced(&description)?;
    write(&args.output, &content)?;
    write(&description, board.to_toml().as_bytes())?;
    let [width, height] = sheet.size_millimeters();
    let paper = sheet.paper().map_or_else(|| format!("{width:.0} x {height:.0} mm"), str::to_owned);
    Ok(format!(
        "{}: {board}, on {paper}; print it at 100 %, and measure the ruler below it\n{}: its description, for \
         `calibrate --board`; write the measured sizes into it\n",
        args.output.display(),
        description.display(),
    ))
}

/// Refuses to replace a file that describes no board: it is not named, and may be the topology of a rig.
fn check_replaced(description: &Path) -> Result<(), CommandError> {
    let known = match std::fs::read_to_string(description) {
        Ok(text) => Board::from_toml(&text).is_ok(),
        Err(error) if error.kind() == ErrorKind::NotFound => true,
        // It is not text.
        Err(error) if error.kind() == ErrorKind::InvalidData => false,
        Err(error) => return Err(CommandError::Write { path: description.to_owned(), error }),
    };
    if known {
        return Ok(());
    }
    let fact = "it exists and describes no board; name the drawing otherwise";
    Err(CommandError::Write { path: description.to_owned(), error: std::io::Error::other(fact) })
}

fn described(args: &BoardArgs) -> Result<Board, camrig_calib::BoardError> {
    let (columns, rows) = args.size;
    if let Some(tag) = args.tag {
        return Board::april_grid(columns, rows, tag, args.spacing)?.with_first_tag(args.first_tag);
    }
    let mut board = Board::new(columns, rows, args.square.unwrap_or_default())?;
    if let Some(name) = &args.dictionary {
        board = board.with_dictionary(name)?;
    }
    match args.marker {
        Some(millimeters) => board.with_markers(millimeters),
        None => Ok(board),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_description_of_a_board_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rig.toml");
        assert!(check_replaced(&path).is_ok());
        std::fs::write(&path, Board::new(5, 7, 30.0).unwrap().to_toml()).unwrap();
        assert!(check_replaced(&path).is_ok());
        std::fs::write(&path, "[camera.left]\ndriver = 'synthetic'\n").unwrap();
        let error = check_replaced(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("rig.toml`: it exists and describes no board; name the drawing otherwise"),
            "{error}"
        );
    }

    #[test]
    fn lengths_have_units() {
        for (text, expected) in [("30mm", 30.0), ("3.3cm", 33.0), ("0.03 m", 30.0), ("25.4", 25.4)] {
            assert_eq!(millimeters(text), Ok(expected), "{text}");
        }
        for text in ["", "mm", "30in", "inf", "x"] {
            assert!(millimeters(text).is_err(), "{text}");
        }
        assert_eq!(size("9x12"), Ok((9, 12)));
        assert!(size("9").is_err() && size("9x").is_err() && size("-1x3").is_err());
    }
}
