//! The program under test.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use camrig::frame::MetadataKey;
use camrig::prelude::*;
use camrig::{ProcessorOptions, WrongOptions};
use serde::Deserialize;

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

/// The options of `probed`: each time it is looked for, it adds a byte to one file, and waits for the other, which it removes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProbedOptions {
    asked: PathBuf,
    go: PathBuf,
}

impl ProcessorOptions for ProbedOptions {
    fn probe(&self) -> Result<(), WrongOptions> {
        let mut asked = File::options().append(true).create(true).open(&self.asked).unwrap();
        asked.write_all(b".").unwrap();
        wait_for(&self.go);
        std::fs::remove_file(&self.go).unwrap();
        Ok(())
    }
}

/// A file, for [`Exposures`] and `late`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExposuresOptions {
    file: PathBuf,
}

/// Writes a line with number and exposure of each frameset.
struct Exposures(File);

impl Processor for Exposures {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let header = &frames.header().frames[0];
        let exposure = header.metadata.get(MetadataKey::ACTUAL_EXPOSURE).unwrap_or(0);
        Ok(writeln!(self.0, "{} {exposure}", header.number)?)
    }
}

/// Waits until there is a file.
fn wait_for(file: &Path) {
    while !file.exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fails at its tenth frameset.
struct Fails(u32);

impl Processor for Fails {
    fn process(&mut self, _: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        self.0 += 1;
        if self.0 < 10 { Ok(()) } else { Err("it has had enough".into()) }
    }
}

/// The variable with which the program lacks the driver `still`.
pub(crate) const WITHOUT_STILL: &str = "CAMRIG_TEST_WITHOUT_STILL";

pub(crate) fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    if bench::bare(&words) {
        return ExitCode::SUCCESS;
    }
    let app = camrig_hosts::add_to(camrig_view::add_to(camrig_record::add_to(App::new())));
    let lacks_still = std::env::var_os(WITHOUT_STILL).is_some();
    let app = if lacks_still { app } else { app.driver::<Still>("still") };
    let app = app.processor("pass-on", |_: NoOptions| Ok(PassOn));
    let app = app.processor("pairs", |_: NoOptions| Ok(Pairs));
    // It passes framesets on too, and is late.
    let late = |options: ExposuresOptions| {
        wait_for(&options.file);
        Ok(PassOn)
    };
    let app = app.processor("late", late);
    let exposures = |options: ExposuresOptions| Ok(Exposures(File::create(options.file)?));
    let app = app.processor("probed", |_: ProbedOptions| Ok(PassOn)).options::<ProbedOptions>("probed");
    let app = app.processor("fails", |_: NoOptions| Ok(Fails(0)));
    app.processor("exposures", exposures).main()
}
