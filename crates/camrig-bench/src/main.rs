//! `just bench`: camrig measured against other ways to move framesets, on identical work, in real
//! processes.
//!
//! The program is the benchmark and every process of every candidate: see `task`. Read `candidates` for
//! what is compared, `work` for what each of them does, `measure` for how, and `bars` for what camrig has
//! to reach.

#![forbid(unsafe_code)]

mod allocations;
mod bars;
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

use clap::Parser;

use crate::candidates::Candidate;
use crate::load::Load;
use crate::measure::Plan;
use crate::results::Results;
use crate::task::Task;

/// What can go wrong is said to a person.
type Fallible<T> = Result<T, Error>;
type Error = Box<dyn std::error::Error>;

/// Measures camrig against other ways to move framesets, on the same work
#[derive(Debug, Parser)]
#[command(name = "camrig-bench", version)]
struct Args {
    /// Three loads, short rounds: minutes instead of an hour
    #[arg(long)]
    quick: bool,
    /// Only these loads, such as `6x1280x720@30` or `1x424x240@max`; `@30` alone is every paced one
    #[arg(long, value_name = "LOAD,...", value_delimiter = ',')]
    loads: Vec<String>,
    /// Only candidates whose names contain one of these words
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    candidates: Vec<String>,
    /// How often each candidate is measured under each load
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// The length of a measurement, after half a second of warm-up
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    seconds: f64,
    /// Write everything as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the medians
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

impl Args {
    fn plan(&self) -> Fallible<Plan> {
        let known = if self.quick { Load::quick() } else { Load::all() };
        let mut loads = Vec::new();
        for word in &self.loads {
            let matching = known.iter().copied().filter(|load| load.to_string().contains(word.as_str()));
            let before = loads.len();
            loads.extend(matching);
            if loads.len() == before {
                loads.push(word.parse()?);
            }
        }
        let wanted = |candidate: &Candidate| {
            self.candidates.is_empty() || self.candidates.iter().any(|word| candidate.name().contains(word))
        };
        let candidates: Vec<Candidate> = Candidate::ALL.into_iter().filter(wanted).collect();
        if candidates.is_empty() {
            let known: Vec<String> = Candidate::ALL.map(|candidate| format!("`{candidate}`")).into();
            return Err(format!("no such candidate; there are: {}", known.join(", ")).into());
        }
        let (rounds, seconds) =
            if self.quick { (self.rounds.min(3), 1.0) } else { (self.rounds, self.seconds) };
        if !(0.1..=600.0).contains(&seconds) {
            return Err("a measurement takes 0.1 to 600 seconds".into());
        }
        let loads = if self.loads.is_empty() { known } else { loads };
        Ok(Plan { loads, candidates, rounds, window: Duration::from_secs_f64(seconds) })
    }
}

fn main() -> ExitCode {
    if let Some(task) = Task::of_this_process() {
        return candidates::run(&task);
    }
    match bench(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> Fallible<()> {
    let plan = args.plan()?;
    let results = Results::of(&plan, measure::all(&plan)?);
    print!("{}", table::render(&results));
    let bars = bars::judge(&results);
    print!("{}", bars::render(&bars));
    if let Some(path) = &args.json {
        std::fs::write(path, results.to_json(&bars)?)?;
    }
    if let Some(path) = &args.plot {
        std::fs::write(path, plot::draw(&results))?;
    }
    Ok(())
}
