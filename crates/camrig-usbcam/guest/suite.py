#!/usr/bin/env python3
"""Runs camrig on emulated cameras in guests: `suite.py` the suite of the gate, `suite.py all` everything.

    suite.py [gate|all] [--only CASE,...]

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
        "pixels_processes unplugged silent brownout cold:200 cold_two:20".split(),
    ),
    (["--cameras", "2", "--models", "d435,d405", "--usb2"], "usb2 recovery".split(), "options".split()),
    (["--cameras", "2"], [], "brownout budget unplug_while:50:60:70:80:90:100:110:120 cycles:1000".split()),
    (["--cameras", "3", "--models", "d435,d455,d405"], [], "list pixels_processes pixels_together options".split()),
]
# Seconds until a guest is ended. It is a watchdog: all cases of the gate take less than five minutes.
TIMEOUT = {"gate": 1200, "all": 4 * 3600}
# The operation by which librealsense begins to open a camera, and the last one before it is open.
OPENS, OPENED = "monitor 0x10", "monitor 0x30"
# Seconds without a step after which an open has been given up.
STALE = 10


def opens_at_once(log):
    """Pairs of cameras that were being opened at the same time, from the emulator's log."""
    opening, pairs = {}, []
    for line in log:
        match = re.match(r" *([\d.]+) camera (\d+): (.*)", line)
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
        elif what.startswith(("attached", "detached")) or what.endswith(" failed"):
            opening.pop(camera, None)
    return pairs


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
        pairs = opens_at_once(file)
    if pairs:
        print(f"suite: FAILED: cameras were opened at the same time: {pairs}")
    if os.path.exists(figures):
        with open(figures) as file:
            return code == 0 and not pairs, json.load(file)
    return False, []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", choices=["gate", "all"], default="gate")
    parser.add_argument("--only", type=lambda text: text.split(","), help="these cases only")
    arguments = parser.parse_args()
    devices = subprocess.run([CAMRIG, "devices"], capture_output=True, text=True, check=False)
    if "has no librealsense" in devices.stdout + devices.stderr:
        sys.exit("suite.py: target/debug/camrig has no librealsense: run `just sdk`, then `just test-usb`")
    # A build while the suite runs does not change what it tests.
    tested = os.path.join(CACHE, "camrig")
    os.makedirs(CACHE, exist_ok=True)
    shutil.copy(CAMRIG, tested)
    passed, figures = True, []
    for number, (options, gate, more) in enumerate(GUESTS, 1):
        cases = gate + (more if arguments.suite == "all" else [])
        cases = [case for case in cases if not arguments.only or case.split(":")[0] in arguments.only]
        if cases:
            good, found = run(number, options, cases, TIMEOUT[arguments.suite])
            passed &= good
            figures += found
    for name, value in figures:
        print(f"{name}: {value}")
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
