//! The table `[metrics]`: the address of the metrics server.

use toml::Spanned;

use super::section::Section;
use crate::metrics::MetricsSpec;

pub(super) const METRICS_KEYS: &[&str] = &["listen", "token"];

/// Parses the table, if the file contains a valid one.
pub(super) fn metrics(file: &mut Section<'_, '_>) -> Option<MetricsSpec> {
    let mut section = file.table("metrics", "a table, as in `[metrics]`")?;
    let written = section.required("listen", || "such as `listen = \"127.0.0.1:9464\"`".to_owned());
    let token = section.optional("token").map(Spanned::into_inner);
    let mut spec = None;
    if let Some(written) = written {
        match MetricsSpec::parse(written.get_ref(), token.as_deref()) {
            Ok(valid) => spec = Some(valid),
            Err(error) => section.problems.add(written.span(), format!("`metrics`: {error}"), ""),
        }
    }
    section.finish(METRICS_KEYS);
    spec
}
