//! Hides the symbols of the C libraries that are linked into this program.

fn main() {
    // librealsense contains an LZ4 of its own. Without this option the LZ4 of camrig's recordings would replace it when
    // the library is loaded, and no compressed `.bag` could be read.
    println!("cargo:rustc-link-arg-bins=-Wl,--exclude-libs,ALL");
    println!("cargo:rerun-if-changed=build.rs");
}
