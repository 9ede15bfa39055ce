//! Boards to print, as PDF and SVG: vectors in true scale, with a ruler to check the scale of the print.

use std::fmt::Write;

use crate::Board;

/// Paper sizes, in millimetres; a board gets the first that it fits on.
const PAPERS: [(&str, [f64; 2]); 5] = [
    ("A4", [210.0, 297.0]),
    ("A3", [297.0, 420.0]),
    ("A2", [420.0, 594.0]),
    ("A1", [594.0, 841.0]),
    ("A0", [841.0, 1189.0]),
];
/// The least white around a board, which detection needs and printers cannot print on, in millimetres.
const MARGIN: f64 = 8.0;
/// The space below a board for ruler and text, in millimetres.
const FOOTER: f64 = 14.0;
/// The ruler's longest length, in millimetres; a narrow board has a shorter one.
const RULER: f64 = 200.0;
/// The distance of the ruler's marks, in millimetres.
const MARK: f64 = 10.0;
/// Points of PDF per millimetre.
const POINTS: f64 = 72.0 / 25.4;

/// A board on paper.
#[derive(Debug)]
pub struct Sheet<'a> {
    board: &'a Board,
    paper: Option<&'static str>,
    /// Width and height, in millimetres.
    size: [f64; 2],
}

impl<'a> Sheet<'a> {
    /// Puts a board on the smallest paper from A4 to A0 that it fits on, upright or lying, or on a sheet of its own size.
    pub fn new(board: &'a Board) -> Self {
        let [width, height] = board.size_millimeters();
        let needs = [width + 2.0 * MARGIN, height + 2.0 * MARGIN + FOOTER];
        let papers = PAPERS
            .into_iter()
            .flat_map(|(name, [short, long])| [(name, [short, long]), (name, [long, short])]);
        let fits = |(_, size): &(&str, [f64; 2])| needs[0] <= size[0] && needs[1] <= size[1];
        match papers.into_iter().find(fits) {
            Some((name, size)) => Self { board, paper: Some(name), size },
            None => Self { board, paper: None, size: needs },
        }
    }

    /// Returns the name of the paper; `None` for a sheet of the board's own size.
    pub fn paper(&self) -> Option<&'static str> {
        self.paper
    }

    /// Returns width and height, in millimetres.
    pub fn size_millimeters(&self) -> [f64; 2] {
        self.size
    }

    /// Returns the distance of the board from the left and upper edges of the sheet, in millimetres.
    fn offset(&self) -> [f64; 2] {
        let [width, height] = self.board.size_millimeters();
        [(self.size[0] - width) / 2.0, (self.size[1] - FOOTER - height) / 2.0]
    }

    fn ruler(&self) -> f64 {
        let [width, _] = self.board.size_millimeters();
        RULER.min((width / MARK).floor() * MARK)
    }

    /// Returns the lines of the ruler: from, to, in millimetres of the sheet.
    fn ruler_lines(&self) -> Vec<[f64; 4]> {
        let [left, top] = self.offset();
        let y = top + self.board.size_millimeters()[1] + MARGIN;
        let marks = (self.ruler() / MARK).round() as u32;
        let upright = (0..=marks).map(|mark| {
            let x = left + f64::from(mark) * MARK;
            [x, y - if mark % 5 == 0 { 4.0 } else { 2.5 }, x, y]
        });
        [[left, y, left + self.ruler(), y]].into_iter().chain(upright).collect()
    }

    /// Returns the text below the ruler, and where it begins, in millimetres of the sheet.
    fn text(&self) -> (String, [f64; 2]) {
        let [left, top] = self.offset();
        let y = top + self.board.size_millimeters()[1] + MARGIN + 5.0;
        (format!("camrig {}. Ruler: {} mm", self.board, self.ruler()), [left, y])
    }

    /// Draws the sheet as SVG.
    pub fn to_svg(&self) -> String {
        let [width, height] = self.size;
        let [left, top] = self.offset();
        // Writing to a string cannot fail, here and below.
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}mm\" height=\"{height}mm\" \
             viewBox=\"0 0 {width} {height}\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        for rect in self.board.drawing() {
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"/>",
                short(rect.x + left),
                short(rect.y + top),
                short(rect.width),
                short(rect.height),
                if rect.black { "#000" } else { "#fff" }
            );
        }
        for [x1, y1, x2, y2] in self.ruler_lines().into_iter().map(|line| line.map(short)) {
            let _ = writeln!(
                svg,
                "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"#000\" stroke-width=\"0.2\"/>"
            );
        }
        let (text, [x, y]) = self.text();
        let (x, y) = (short(x), short(y));
        let _ = write!(
            svg,
            "<text x=\"{x}\" y=\"{y}\" font-family=\"sans-serif\" font-size=\"3.5\">{text}</text>\n</svg>\n"
        );
        svg
    }

    /// Draws the sheet as PDF, which asks viewers not to scale it.
    pub fn to_pdf(&self) -> Vec<u8> {
        let [width, height] = self.size.map(|millimeters| short(millimeters * POINTS));
        let content = self.pdf_content();
        let objects = [
            "<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>".to_owned(),
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents 4 0 R \
                 /Resources << /Font << /F1 5 0 R >> >> >>"
            ),
            format!("<< /Length {} >>\nstream\n{content}endstream", content.len()),
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
        ];
        let mut pdf = String::from("%PDF-1.6\n");
        let mut table = String::from("0000000000 65535 f \n");
        for (index, object) in objects.iter().enumerate() {
            let _ = writeln!(table, "{:010} 00000 n ", pdf.len());
            let _ = write!(pdf, "{} 0 obj\n{object}\nendobj\n", index + 1);
        }
        let (start, size) = (pdf.len(), objects.len() + 1);
        let _ = write!(
            pdf,
            "xref\n0 {size}\n{table}trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
        );
        pdf.into_bytes()
    }

    /// Returns the drawing in PDF's operators, whose Y points up: the first one turns that over, and makes millimetres
    /// the unit.
    fn pdf_content(&self) -> String {
        let [left, top] = self.offset();
        let mut content = format!("{POINTS:.6} 0 0 -{POINTS:.6} 0 {:.4} cm\n", self.size[1] * POINTS);
        let mut black = None;
        for rect in self.board.drawing() {
            if black.replace(rect.black) != Some(rect.black) {
                content.push_str(if rect.black { "0 g\n" } else { "1 g\n" });
            }
            let (x, y) = (short(rect.x + left), short(rect.y + top));
            let _ = writeln!(content, "{x} {y} {} {} re f", short(rect.width), short(rect.height));
        }
        content.push_str("0 g 0 G 0.2 w\n");
        for [x1, y1, x2, y2] in self.ruler_lines().into_iter().map(|line| line.map(short)) {
            let _ = writeln!(content, "{x1} {y1} m {x2} {y2} l S");
        }
        let (text, [x, y]) = self.text();
        let _ = writeln!(content, "BT /F1 3.5 Tf 1 0 0 -1 {} {} Tm ({text}) Tj ET", short(x), short(y));
        content
    }
}

/// Rounds to a ten-thousandth, which is less than any printer can.
fn short(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_is_on_the_smallest_paper_that_it_fits_on() {
        let sheet = |columns, rows, square| {
            let board = Board::new(columns, rows, square).unwrap();
            let sheet = Sheet::new(&board);
            (sheet.paper(), sheet.size_millimeters())
        };
        assert_eq!(sheet(6, 8, 30.0), (Some("A4"), [210.0, 297.0]));
        assert_eq!(sheet(9, 6, 30.0), (Some("A4"), [297.0, 210.0]));
        assert_eq!(sheet(9, 12, 30.0), (Some("A3"), [297.0, 420.0]));
        assert_eq!(sheet(40, 40, 100.0), (None, [4016.0, 4030.0]));
    }

    #[test]
    fn a_pdf_has_the_positions_of_its_objects() {
        let board = Board::new(5, 7, 30.0).unwrap();
        let pdf = String::from_utf8(Sheet::new(&board).to_pdf()).unwrap();
        let table = pdf.rsplit("startxref\n").next().unwrap().lines().next().unwrap();
        let entries = pdf[table.parse().unwrap()..].strip_prefix("xref\n0 6\n").unwrap();
        for (number, entry) in entries.lines().take(6).enumerate().skip(1) {
            let at: usize = entry[..10].parse().unwrap();
            assert!(pdf[at..].starts_with(&format!("{number} 0 obj\n")), "{number}");
        }
        let (_, content) = pdf.split_once("stream\n").unwrap();
        let (content, _) = content.split_once("endstream").unwrap();
        assert!(pdf.contains(&format!("/Length {} ", content.len())));
        // A4, in points.
        assert!(pdf.contains("/MediaBox [0 0 595.2756 841.8898]"));
        assert!(
            content
                .contains("(camrig 5x7 squares of 30 mm, markers of 22.5 mm from 4X4_50. Ruler: 150 mm) Tj")
        );
    }

    #[test]
    fn both_forms_draw_the_same() {
        let board = Board::new(5, 7, 30.0).unwrap();
        let sheet = Sheet::new(&board);
        let rects = board.drawing().len();
        let (svg, pdf) = (sheet.to_svg(), sheet.pdf_content());
        // One more is the ground.
        assert_eq!(svg.matches("<rect ").count(), rects + 1);
        assert_eq!(pdf.matches(" re f").count(), rects);
        assert_eq!(svg.matches("<line ").count(), pdf.matches(" l S").count());
        assert!(svg.contains("width=\"210mm\" height=\"297mm\" viewBox=\"0 0 210 297\""));
        // Its first square is 30 mm wide; the board is in the middle of the paper.
        assert!(
            svg.contains("<rect x=\"30\" y=\"36.5\" width=\"30\" height=\"30\" fill=\"#000\"/>"),
            "{svg}"
        );
        assert!(pdf.contains("\n30 36.5 30 30 re f\n"));
    }
}
