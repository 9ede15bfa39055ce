//! The program under test.

use camrig::prelude::*;

use crate::bench::{self, Still};

/// This file, as panics name it.
pub(crate) const FILE: &str = file!();

/// The beginning of the lines of `pairs`.
pub(crate) const PAIR: &str = "pair: ";

/// Prints the numbers of the framesets of cameras `left` and `right` in each match, and how far they are apart in microseconds.
struct Pairs;

impl Processor<Match> for Pairs {
    fn process(&mut self, matched: &Match, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let [left, right] = ["left", "right"].map(|camera| matched.get(camera).map(FrameSet::sequence));
        if let (Some(left), Some(right)) = (left, right) {
            println!("{PAIR}{left} {right} {}", matched.spread().as_micros());
        }
        Ok(())
    }
}

/// Passes framesets on as they are.
struct PassOn;

impl Processor for PassOn {
    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        Ok(output.forward(frames)?)
    }
}

pub(crate) fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    if bench::bare(&words) {
        return ExitCode::SUCCESS;
    }
    let app =
        camrig_hosts::add_to(camrig_view::add_to(camrig_record::add_to(App::new()))).driver::<Still>("still");
    let app = app.processor("pass-on", |_: NoOptions| Ok(PassOn));
    app.processor("pairs", |_: NoOptions| Ok(Pairs)).main()
}
