//! An instance of a processor.

use super::on_this_thread;
use crate::failure::Failure;
use crate::inputs::Inputs;
use crate::output::ProcessorOutput;
use crate::registry::KindEntry;

/// Runs an instance of a processor, from build to end, on the calling thread. Calls `ready` once, when it is built.
pub(crate) fn run_processor(
    kind: &dyn KindEntry,
    options: &str,
    output: ProcessorOutput,
    inputs: Inputs,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    on_this_thread(async {
        let life = kind.start(options, output, inputs).map_err(Failure::new)?;
        ready();
        life.await
    })
}
