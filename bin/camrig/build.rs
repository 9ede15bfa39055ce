//! Links the program with its C libraries: their symbols are hidden, and a librealsense outside of the system's folders
//! is found when the program starts.
#![allow(clippy::print_stdout)] // It is how a build script speaks to cargo.

fn main() {
    // librealsense contains an LZ4 of its own. Without this option the LZ4 of camrig's recordings would replace it when
    // the library is loaded, and no compressed `.bag` could be read. Zig's linker does not know it: `packaging/pack`, which
    // links with Zig, compiles the C libraries with hidden symbols.
    let linker = std::env::var("RUSTC_LINKER").unwrap_or_default();
    if !linker.contains("zig") {
        println!("cargo:rustc-link-arg-bins=-Wl,--exclude-libs,ALL");
    }
    println!("cargo:rerun-if-env-changed=RUSTC_LINKER");
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "realsense")]
    find_librealsense_at_run_time();
}

/// Writes the folder of a librealsense such as that of `just sdk` into the program. `LD_LIBRARY_PATH` goes before it. A
/// package, which has librealsense beside the program, names its folder by `CAMRIG_RUNPATH`.
#[cfg(feature = "realsense")]
fn find_librealsense_at_run_time() {
    println!("cargo:rerun-if-env-changed=CAMRIG_RUNPATH");
    if let Ok(folder) = std::env::var("CAMRIG_RUNPATH") {
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{folder}");
        return;
    }
    // realsense-sys reports the error if there is none. pkg-config names no folder that the system searches itself.
    let Ok(library) = pkg_config::Config::new().cargo_metadata(false).probe("realsense2") else { return };
    for folder in library.link_paths.iter().filter_map(|folder| folder.canonicalize().ok()) {
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{}", folder.display());
    }
}
