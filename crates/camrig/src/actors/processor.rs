//! An instance of a processor.

use std::sync::Arc;

use crate::failure::Failure;
use crate::inputs::Inputs;
use crate::output::ProcessorOutput;
use crate::registry::KindEntry;

/// Runs an instance of a processor from build to end. Calls `ready` once, when it is built.
pub(super) async fn run_processor(
    kind: Arc<dyn KindEntry>,
    options: String,
    output: ProcessorOutput,
    inputs: Inputs,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    let instance = kind.start(&options, output, inputs).map_err(Failure::new)?;
    ready();
    instance.await
}
