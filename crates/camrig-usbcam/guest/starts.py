"""Cases of cold starts."""

import re
import subprocess
import time

from harness import CAMERAS, CAMRIG, DEPTH_ONLY, Rig, WATCHDOG, camrig, check, emulator, figure, topology

# Starts after which the times until then are printed.
SHOWN = 10


def starts(name, count, seconds, start):
    """Calls `start` up to `count` times, within `seconds`; it returns the seconds that it measured. Each camera is opened
    once by each."""
    times, until = [], time.monotonic() + float(seconds)

    def summary():
        ordered = sorted(times)
        return tuple(round(value, 1) for value in (ordered[len(ordered) // 2], ordered[-1]))

    while len(times) < int(count) and time.monotonic() < until:
        before = emulator.stats()
        times.append(start())
        opens = [now["opens"] - then["opens"] for now, then in zip(emulator.stats(), before)]
        check(opens == [1] * CAMERAS, f"after {len(times)} starts: opens are {opens}")
        if len(times) % SHOWN == 0:
            print(f"    {len(times)} starts: {summary()}", flush=True)
    figure(f"{len(times)} {name}, median and longest", summary())


def case_cold(count="2", seconds="3600"):
    """Cold starts of a rig of all cameras, each in a process of its own, the only one that opens its camera."""
    path = topology(lambda _: DEPTH_ONLY)
    camrig("check", path)

    def start():
        rig = Rig(path, "--framesets", "1")
        first = rig.wait_first()
        code, report = rig.report()
        check(code == 0 and not any(actor["restarts"] for actor in report["actors"]), f"ended with {code}\n{rig.log()}")
        return first

    starts(f"cold starts of {CAMERAS} cameras: seconds to the first framesets of all", count, seconds, start)


def case_cold_two(count="1", seconds="3600"):
    """Cold starts of two rigs at the same time, of one half of the cameras each."""
    path = topology(lambda _: DEPTH_ONLY)
    camrig("check", path)
    with open(path) as file:
        parts = re.split(r"(?=^\[camera\.\w+\]$)", file.read(), flags=re.MULTILINE)[1:]
    halves = ["/tmp/half0.toml", "/tmp/half1.toml"]
    for half, text in zip(halves, [parts[: CAMERAS // 2], parts[CAMERAS // 2 :]]):
        with open(half, "w") as file:
            file.write("".join(text))

    def start():
        began, rigs = time.monotonic(), []
        for half in halves:
            log = open(f"{half}.log", "w+")
            rigs.append((log, subprocess.Popen([CAMRIG, "run", half, "--framesets", "1"], stdout=log, stderr=log)))
        for log, process in rigs:
            code = process.wait(WATCHDOG)
            log.seek(0)
            check(code == 0, f"one of two rigs ended with {code}:\n{log.read()}")
        return time.monotonic() - began

    starts("cold starts of two rigs at once: seconds until both had their framesets and ended", count, seconds, start)
