#!/usr/bin/env python3
"""Runs camrig on emulated cameras in guests: `suite.py` the suite of the gate, `suite.py all` everything, `suite.py
versions` some cases with each tested version of librealsense.

    suite.py [gate|all|versions] [--only CASE,...] [--guest NUMBER] [--kernel PACKAGE]

Each guest is booted once for several cases (cases.py). The control transfers that the emulator saw are checked here. The
exit code is 0 if all cases passed, 1 if not, or one of guest.py's.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time

from guest import FAILED, MISSING

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
CACHE = os.path.join(ROOT, "target", "usbcam")
CAMRIG = os.path.join(ROOT, "target", "debug", "camrig")

# Arguments of guest.py, and cases of the gate and of `all`.
GUESTS = [
    (
        ["--cameras", "6"],
        "list selected pixels_together gaps".split(),
        "pixels_processes unplugged silent brownout cycles:1000:14400 cold:200:14400 cold_two:20:14400".split(),
    ),
    (["--cameras", "2", "--models", "d435,d405", "--usb2"], "usb2 recovery".split(), "options every_option metadata presets regions".split()),
    (["--cameras", "2", "--models", "d405,d455"], [], "options metadata every_option motion late brownout budget faulty fast unplug_while:50:60:70:80:90:100:110:120".split()),
    (["--cameras", "3", "--models", "d435,d455,d405"], [], "list pixels_processes pixels_together options regions".split()),
]
# Those of `versions`, and the versions.
COMPARED = (["--cameras", "2", "--models", "d435,d405"], "list pixels_together gaps recovery".split())
VERSIONS = ["2.56.5", "2.57.7", "2.59.1"]
INSTALL = os.path.join(ROOT, "crates", "camrig-realsense", "sdk", "install.py")
# Seconds until a guest is ended. It is a watchdog: all cases of the gate take less than five minutes.
TIMEOUT = {"gate": 1200, "all": 12 * 3600, "versions": 3600}
# The operation by which librealsense begins to open a camera, and the last one before it is open.
OPENS, OPENED = "monitor 0x10", "monitor 0x30"
# Seconds without a step after which an open has been given up.
STALE = 10
LOGGED = re.compile(r" *([\d.]+) camera (\d+): (.*)")


def opens_at_once(log):
    """Pairs of cameras that were being opened at the same time, from the emulator's log."""
    opening, pairs = {}, []
    for line in log:
        match = LOGGED.match(line)
        if not match:
            continue
        now, camera, what = float(match[1]), int(match[2]), match[3]
        if what == OPENS:
            # One that was being opened long ago belonged to a process that was killed.
            pairs += [(other, camera) for other, (_, since) in opening.items() if other != camera and now < since + STALE]
            opening[camera] = (2, now)
        elif what == OPENED and camera in opening:
            rest = opening[camera][0] - 1
            opening[camera] = (rest, now)
            if not rest:
                del opening[camera]
        elif what.startswith(("attached", "detached")) or what.endswith((" failed", " late")):
            opening.pop(camera, None)
    return pairs


def open_seconds(log):
    """The seconds from the begin of each open to the start of the first stream, from the emulator's log."""
    began, seconds = {}, []
    for line in log:
        match = LOGGED.match(line)
        if match and match[3] == OPENS:
            began.setdefault(match[2], float(match[1]))
        elif match and match[3].startswith("start") and match[2] in began:
            seconds.append(float(match[1]) - began.pop(match[2]))
        elif match and match[3].startswith(("attached", "detached")):
            began.pop(match[2], None)
    return sorted(seconds)


def run(number, options, cases, timeout):
    log = os.path.join(CACHE, f"transfers-{number}.log")
    out = os.path.join(CACHE, "out")
    figures = os.path.join(out, "figures.json")
    if os.path.exists(figures):
        os.remove(figures)
    command = [sys.executable, f"{HERE}/guest.py", *options, "--log", log, "--timeout", str(timeout), "--"]
    began = time.monotonic()
    code = subprocess.run([*command, "python3", f"{HERE}/cases.py", os.path.join(CACHE, "camrig"), *cases], check=False).returncode
    print(f"suite: guest with {' '.join(options)} ended with {code} after {time.monotonic() - began:.0f} s", flush=True)
    if code in (MISSING, FAILED):
        sys.exit(code)
    with open(log, errors="replace") as file:
        lines = file.readlines()
    pairs, seconds = opens_at_once(lines), open_seconds(lines)
    if pairs:
        print(f"suite: FAILED: cameras were opened at the same time: {pairs}")
    if os.path.exists(figures):
        with open(figures) as file:
            found = json.load(file)
        if seconds:
            middle = f"{seconds[len(seconds) // 2]:.1f}, {seconds[-1]:.1f}"
            found.append((f"guest {number}: {len(seconds)} opens: seconds until the first stream started, median and longest", middle))
        return code == 0 and not pairs, found
    return False, []


def versions(only):
    """Runs cases with each version of librealsense. Returns whether all have passed."""
    passed, options, cases = True, *COMPARED
    for version in VERSIONS:
        prefix = os.path.join(ROOT, "target", f"sdk-{version}")
        subprocess.run([sys.executable, INSTALL, "--version", version, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL)
        os.environ["LD_LIBRARY_PATH"] = os.path.join(prefix, "lib")
        good, figures = run(version, options, selected(cases, only), TIMEOUT["versions"])
        passed &= good
        for name, value in figures:
            print(f"{version}: {name}: {value}", flush=True)
    return passed


def selected(cases, only):
    """The cases that `only` names, with its arguments instead of their own."""
    if not only:
        return cases
    known = {case.partition(":")[0]: case for case in cases}
    names = [name for name in only if name.partition(":")[0] in known]
    return [name if ":" in name else known[name] for name in names]


def check_names(arguments, cases):
    """Refuses names of `--only` that none of the cases has: nothing would be run, and that would pass."""
    if arguments.guest and arguments.suite != "versions":
        return
    known = {case.partition(":")[0] for case in cases}
    if unknown := [name for name in arguments.only or [] if name.partition(":")[0] not in known]:
        sys.exit(f"suite.py: `{arguments.suite}` has no case {', '.join(unknown)}; it has: {', '.join(sorted(known))}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", choices=["gate", "all", "versions"], default="gate")
    parser.add_argument("--only", type=lambda text: text.split(","), help="these cases only, with arguments of their own if they have any")
    parser.add_argument("--guest", type=int, help="this guest only, counted from 1; with --only it runs any case")
    parser.add_argument("--kernel", help="package that depends on the kernel of the guests, such as linux-image-amd64")
    arguments = parser.parse_args()
    lists = [gate + (more if arguments.suite == "all" else []) for _, gate, more in GUESTS]
    check_names(arguments, COMPARED[1] if arguments.suite == "versions" else sum(lists, []))
    devices = subprocess.run([CAMRIG, "devices"], capture_output=True, text=True, check=False)
    if "has no librealsense" in devices.stdout + devices.stderr:
        sys.exit("suite.py: target/debug/camrig has no librealsense: run `just sdk`, then `just test-usb`")
    # A build while the suite runs does not change the program under test.
    tested = os.path.join(CACHE, "camrig")
    os.makedirs(CACHE, exist_ok=True)
    shutil.copy(CAMRIG, tested)
    if arguments.suite == "versions":
        sys.exit(0 if versions(arguments.only) else 1)
    passed, figures = True, []
    for number, ((options, _, _), cases) in enumerate(zip(GUESTS, lists), 1):
        cases = arguments.only if arguments.only and arguments.guest else selected(cases, arguments.only)
        if cases and arguments.guest in (None, number):
            options = options + (["--kernel", arguments.kernel] if arguments.kernel else [])
            good, found = run(number, options, cases, TIMEOUT[arguments.suite])
            passed &= good
            figures += found
    for name, value in figures:
        print(f"{name}: {value}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
