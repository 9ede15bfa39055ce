//! `just bench`: measures camrig against other ways to move framesets, on identical work, in real processes.
//!
//! This program is the benchmark and also every process of every candidate: see `task`. `candidates` has the compared
//! ways, `work` their common work, `measure` the method, and `bars` the limits that camrig has to reach.

#![forbid(unsafe_code)]

mod allocations;
mod bars;
mod candidate;
mod candidates;
mod load;
mod measure;
mod message;
mod meter;
mod plot;
mod processes;
mod results;
mod table;
mod task;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use camrig::console::{print_error, print_note};
use clap::Parser;

use crate::candidate::Candidate;
use crate::load::Load;
use crate::measure::Plan;
use crate::results::Results;
use crate::task::Task;

/// The result of a fallible step; errors are printed.
type Fallible<T> = Result<T, Error>;
type Error = Box<dyn std::error::Error>;

/// Measures camrig against other ways to move framesets, on the same work
#[derive(Debug, Parser)]
#[command(name = "camrig-bench", version)]
struct Args {
    /// Measure three loads in three rounds: a few minutes instead of twenty
    #[arg(long)]
    quick: bool,
    /// Only these loads, such as `6x1280x720@30`, `1x424x240@max`, or `1x1280x720@30/8` with eight readers;
    /// `@30` alone selects all paced loads
    #[arg(long, value_name = "LOAD,...", value_delimiter = ',')]
    loads: Vec<String>,
    /// Only candidates whose names contain one of these words; default: all under loads with a bar, a few under others
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    candidates: Vec<String>,
    /// Number of measurements of each candidate under each load
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Duration of a measurement, after half a second of warm-up
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    seconds: f64,
    /// Slots of each camera of camrig, 2 to 64; default: camrig's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=64))]
    slots: Option<u32>,
    /// Write all results as JSON to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the medians into this file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

impl Args {
    fn plan(&self) -> Fallible<Plan> {
        let known = if self.quick { Load::quick() } else { Load::all() };
        let mut loads = Vec::new();
        for word in &self.loads {
            let matching = known.iter().copied().filter(|load| load.to_string().contains(word.as_str()));
            match word.parse() {
                Ok(load) => loads.push(load),
                Err(error) => {
                    let before = loads.len();
                    loads.extend(matching);
                    if loads.len() == before {
                        return Err(error.into());
                    }
                }
            }
        }
        let loads = if self.loads.is_empty() { known } else { loads };
        let loads: Vec<_> = loads.into_iter().map(|load| (load, self.candidates_under(load))).collect();
        if loads.iter().all(|(_, candidates)| candidates.is_empty()) {
            let known: Vec<String> = Candidate::ALL.map(|candidate| format!("`{candidate}`")).into();
            return Err(format!("unknown candidate, expected some of: {}", known.join(", ")).into());
        }
        let (rounds, seconds) =
            if self.quick { (self.rounds.min(3), 1.0) } else { (self.rounds, self.seconds) };
        if !(0.1..=600.0).contains(&seconds) {
            return Err("`--seconds` must be between 0.1 and 600".into());
        }
        Ok(Plan { loads, rounds, window: Duration::from_secs_f64(seconds), slots: self.slots })
    }

    /// Returns the requested candidates; by default those that are informative under this load.
    fn candidates_under(&self, load: Load) -> Vec<Candidate> {
        let wanted = |candidate: &Candidate| match self.candidates.as_slice() {
            [] => Load::with_bars().contains(&load) || Candidate::MAIN.contains(candidate),
            words => words.iter().any(|word| candidate.name().contains(word)),
        };
        let takes = |candidate: &Candidate| candidate.takes(load);
        Candidate::ALL.into_iter().filter(wanted).filter(takes).collect()
    }
}

fn main() -> ExitCode {
    if let Some(task) = Task::of_this_process() {
        return candidates::run(&task);
    }
    match bench(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(error);
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Fallible<()> {
    let plan = args.plan()?;
    let results = Results::of(&plan, measure::all(&plan)?);
    print_note(table::render(&results));
    let bars = bars::evaluate(&results);
    print_note(bars::render(&bars));
    if let Some(path) = &args.json {
        std::fs::write(path, results.to_json(&bars)?)?;
    }
    if let Some(path) = &args.plot {
        std::fs::write(path, plot::draw(&results))?;
    }
    Ok(())
}
