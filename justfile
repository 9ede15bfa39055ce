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

# Look at a running rig; its name is only needed when there are several
top *rig:
    cargo run --release {{ features }} -- top {{ rig }}

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

# Run the tests that look: the page in Chromium, the numbers in Prometheus' parser, the screens in tmux
test-looking:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build
    (cd crates/camrig-view/tests/browser && npm install --silent --no-audit --no-fund --no-package-lock)
    test -d target/looking || python3 -m venv target/looking
    target/looking/bin/pip install --quiet 'prometheus-client==0.*'
    target/looking/bin/python crates/camrig-status/tests/metrics.py
    python3 crates/camrig-top/tests/top.py
    node --test crates/camrig-view/tests/browser/page.test.mjs
    node --test crates/camrig-view/tests/browser/frozen.test.mjs

# Make README's picture of the page
picture:
    cargo build --release
    cd crates/camrig-view/tests/browser && npm install --silent --no-audit --no-fund --no-package-lock
    CAMRIG=target/release/camrig node crates/camrig-view/tests/browser/picture.mjs

# Measure camrig against other ways to move framesets; iceoryx2 needs libclang to build. About 20 minutes; `--quick` takes a few
bench *args:
    cargo run --release -p camrig-bench -- {{ args }}

# Measure what recording costs, in processor time: against a plain write, and of six cameras. Needs a gigabyte of /dev/shm
bench-record:
    cargo test --release -p camrig-record --lib throughput -- --ignored --nocapture
    cargo test --release -p camrig-cli --test cli recording_costs -- --ignored --nocapture

# Kill workers of a rig for a time such as 10m, or a thousand times; the seed, which is printed, repeats the choice
soak time="" seed="":
    CAMRIG_SOAK_TIME={{ time }} CAMRIG_SOAK_SEED={{ seed }} cargo test -p camrig --test rig -- --ignored soak::

# Fuzz what reads bytes of others: so many seconds each of topology, header and handshake; needs cargo-fuzz
fuzz seconds="180":
    for target in topology header handshake; do \
        RUSTC_BOOTSTRAP=1 cargo fuzz run $target --release -- -max_total_time={{ seconds }} -timeout=20 || exit 1; \
    done

# Format, lint and document as the gate wants it
lint:
    cargo fmt --all --check
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# What runs before anything is merged
ci:
    .ci/run
