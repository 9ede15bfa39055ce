//! Keeps the C libraries in this program to itself.

fn main() {
    // librealsense brings an LZ4 of its own. Without this the one that recordings are made with would take its
    // place when the library is loaded, and no compressed `.bag` could be read.
    println!("cargo:rustc-link-arg-bins=-Wl,--exclude-libs,ALL");
    println!("cargo:rerun-if-changed=build.rs");
}
