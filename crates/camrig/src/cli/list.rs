//! `camrig list`: drivers and kinds of processors, each with its options.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{code_of, print_json, table};
use crate::console::print;
use crate::registry::Registry;
use crate::schema::OptionDescription;

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

/// Everything that a topology can refer to, as JSON: fields may be added but are never renamed.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names)] // Readers identify the JSON by `camrig_list`.
struct List {
    /// The version of this format.
    camrig_list: u32,
    drivers: Vec<Driver>,
    kinds: Vec<ListedKind>,
}

#[derive(Debug, Serialize)]
struct Driver {
    name: String,
    options: Vec<OptionDescription>,
}

#[derive(Debug, Serialize)]
struct ListedKind {
    name: String,
    /// Whether it processes matches.
    takes_matches: bool,
    options: Vec<OptionDescription>,
}

/// Runs the command `list`.
pub(super) fn run(args: &ListArgs, registry: &Registry) -> ExitCode {
    let list = List::of(registry);
    code_of(if args.json { print_json(&list) } else { print(&list.describe()) })
}

impl List {
    fn of(registry: &Registry) -> Self {
        let drivers = registry
            .drivers()
            .map(|(name, entry)| Driver { name: name.to_owned(), options: entry.schema().options() });
        let kinds = registry.kinds().map(|(name, entry)| ListedKind {
            name: name.to_owned(),
            takes_matches: entry.takes_matches(),
            options: entry.schema().options(),
        });
        Self { camrig_list: 1, drivers: drivers.collect(), kinds: kinds.collect() }
    }

    fn describe(&self) -> String {
        let drivers = self
            .drivers
            .iter()
            .map(|driver| format!("driver {}\n{}", driver.name, describe(&driver.options)));
        let kinds = self.kinds.iter().map(|kind| {
            let takes = if kind.takes_matches { ", takes matches" } else { "" };
            format!("kind {}{takes}\n{}", kind.name, describe(&kind.options))
        });
        drivers.chain(kinds).collect::<Vec<_>>().join("\n")
    }
}

/// Formats one line per option: name, type and unit, default, and description.
fn describe(options: &[OptionDescription]) -> String {
    if options.is_empty() {
        return "  no options\n".to_owned();
    }
    table(options.iter().map(|option| {
        let unit = option.unit.as_ref().map(|unit| format!(" ({unit})")).unwrap_or_default();
        let default = match &option.default {
            _ if option.required => "required".to_owned(),
            Some(default) => default.to_string(),
            None => "-".to_owned(),
        };
        [format!("  {}", option.name), format!("{}{unit}", option.takes), default, option.description.clone()]
    }))
}
