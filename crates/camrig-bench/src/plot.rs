//! The plot: an SVG with a panel per load and a bar per candidate.
//!
//! Paced loads show processor time per frameset, unpaced ones framesets per second; camrig's bars have a color of their
//! own.

use std::fmt::Write;

use crate::load::Load;
use crate::results::{Entry, Metric, Results, cpu_micros, framesets_per_second};

const WIDTH: f64 = 760.0;
const LABELS: f64 = 170.0;
const LINE: f64 = 22.0;
const HEADING: f64 = 40.0;
const FIGURES: f64 = 80.0;

/// Draws the plot as SVG.
pub(crate) fn draw(results: &Results) -> String {
    let mut body = String::new();
    let mut y = 10.0;
    for &load in &results.loads {
        let entries: Vec<&Entry> = results.under(load).collect();
        if !entries.is_empty() {
            y = panel(&mut body, y, load, &entries);
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

/// Draws one panel from `y` on, and returns where it ends.
fn panel(body: &mut String, y: f64, load: Load, entries: &[&Entry]) -> f64 {
    let (what, metric): (_, Metric) = if load.is_paced() {
        ("CPU per frameset over all processes, us (less is better)", cpu_micros)
    } else {
        ("framesets per second (more is better)", framesets_per_second)
    };
    let most = entries.iter().map(|entry| entry.median(metric)).fold(f64::MIN_POSITIVE, f64::max);
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<text x=\"10\" y=\"{}\" font-weight=\"bold\">{load}</text>\
         <text x=\"{LABELS}\" y=\"{0}\">{what}</text>",
        y + 20.0
    );
    let mut line = y + HEADING;
    for entry in entries {
        let value = entry.median(metric);
        let length = (value / most * (WIDTH - LABELS - FIGURES)).max(1.0);
        let color = if entry.candidate.is_camrig() { "#1b7f5c" } else { "#9aa5b1" };
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LABELS}\" y=\"{}\" width=\"{length:.1}\" height=\"15\" fill=\"{color}\"/>\
             <text x=\"{:.1}\" y=\"{1}\">{value:.0}</text>",
            LABELS - 8.0,
            line + 12.0,
            entry.candidate,
            line,
            LABELS + length + 6.0,
        );
        line += LINE;
    }
    line + 10.0
}
