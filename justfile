# Recipes for people who use or develop camrig. They use librealsense whenever pkg-config knows it, or
# `just sdk` has installed it under target/sdk.

sdk := justfile_directory() / "target/sdk"

export PKG_CONFIG_PATH := sdk / "lib/pkgconfig" + ":" + env("PKG_CONFIG_PATH", "")
export LD_LIBRARY_PATH := sdk / "lib" + ":" + env("LD_LIBRARY_PATH", "")

# Empty without librealsense. Backticks do not see the exports above.
features := `PKG_CONFIG_PATH="target/sdk/lib/pkgconfig:${PKG_CONFIG_PATH:-}" pkg-config --exists realsense2 2>/dev/null && echo "--features realsense" || true`

# List the recipes
@default:
    just --list --unsorted

# Run a topology, or `demo`
run topology *args:
    cargo run --release {{ features }} -- run {{ topology }} {{ args }}

# Check a topology: all problems at once, nothing started
check topology *args:
    cargo run --release {{ features }} -- check {{ topology }} {{ args }}

# Add up what the cameras of a topology need of USB
plan topology *args:
    cargo run --release {{ features }} -- plan {{ topology }} {{ args }}

# List the attached cameras
devices *args:
    cargo run --release {{ features }} -- devices {{ args }}

# Write a topology of all attached cameras
init *args:
    cargo run --release {{ features }} -- init {{ args }}

# List drivers and processors with their options
list:
    cargo run --release {{ features }} -- list

# Get librealsense where the system has none, without root, into target/sdk
sdk:
    python3 crates/camrig-realsense/sdk/install.py

# Run the tests that need no librealsense
test:
    cargo test

# Run the tests of the realsense driver, with the library of the system or of `just sdk`
test-realsense:
    cargo test -p camrig-realsense
    cargo test -p camrig-cli --features realsense --test realsense

# Measure camrig against other ways to move framesets; iceoryx2 needs libclang to build. About 20 minutes; `--quick` takes a few
bench *args:
    cargo run --release -p camrig-bench -- {{ args }}

# Format, lint and document as the gate wants it
lint:
    cargo fmt --all --check
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# What runs before anything is merged
ci:
    .ci/run
