//! Attributes of the kernel in sysfs.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Maximum length of an attribute that is read; the kernel's own are shorter than a page.
const ATTRIBUTE_BYTES_MAX: u64 = 4096;

/// Returns the content of a kernel attribute file, trimmed.
pub(crate) fn read_attribute(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(ATTRIBUTE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}
