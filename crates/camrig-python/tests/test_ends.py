"""Random ends of a script while a rig runs: `CAMRIG_ENDS` of them, with the choices of `CAMRIG_SEED`."""

import os
import random
import time

import camrig
from conftest import WATCHDOG

ENDS = int(os.environ.get("CAMRIG_ENDS", "20"))
SEED = int(os.environ.get("CAMRIG_SEED", random.randrange(1 << 32)))
# The longest time of one end with the restart that follows, in seconds.
ONE = 30

SCRIPT = """
import ctypes, os, pathlib, random, signal, sys, time

def process(frames, *, folder: str, seed: int, ends: int):
    done = len(os.listdir(folder))
    choose = random.Random(f"{seed} {done} {frames.sequence}")
    if done >= ends or choose.random() > 0.3:
        return
    kind = choose.choice(["kill", "segfault", "exit", "sys.exit", "exception", "stop"])
    pathlib.Path(folder, f"{done:05} {kind}").write_text("")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "segfault":
        ctypes.string_at(0)
    elif kind == "exit":
        os._exit(3)
    elif kind == "sys.exit":
        sys.exit(3)
    elif kind == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
        # It may take effect after the call.
        time.sleep(60)
    raise ValueError("an exception")
"""


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_random_ends_of_a_script_cost_the_others_nothing(tmp_path):
    print(f"{ENDS} ends, CAMRIG_SEED={SEED}")
    folder = tmp_path / "ends"
    folder.mkdir()
    (tmp_path / "script.py").write_text(SCRIPT)
    options = {"model": "any", "depth": "64x48@30", "color": "64x48@30"}
    script = {
        "kind": "python",
        "inputs": ["left", "right"],
        "stall_timeout_millis": 1000,
        "restart": {"max": 1000, "window": 1, "backoff_millis": 1, "backoff_max_millis": 1},
        "options": {"script": str(tmp_path / "script.py"), "folder": str(folder), "seed": SEED, "ends": ENDS},
    }
    cameras = {name: {"driver": "synthetic", "options": options} for name in ["left", "right"]}
    shared, opened = set(os.listdir("/dev/shm")), None
    rig = camrig.Rig({"camera": cameras, "processor": {"script": script}})
    loop = rig.frames(overflow="block")
    with rig:
        next_number, until, found = {"left": 0, "right": 0}, time.monotonic() + ONE, 0
        for frames in loop:
            assert frames.sequence == next_number[frames.camera], SEED
            next_number[frames.camera] += 1
            ended = rig.status().actor("script").restarts
            if ended > found:
                # After the first restart, further ones leak no descriptors.
                opened = opened or descriptors()
                found, until = ended, time.monotonic() + ONE
            assert time.monotonic() < until, (SEED, sorted(os.listdir(folder))[-1:])
            if ended >= ENDS:
                break
        # The last instance works.
        last = rig.status().link("left", "script").delivered
        until = time.monotonic() + WATCHDOG
        while rig.status().link("left", "script").delivered == last:
            assert time.monotonic() < until, SEED
            time.sleep(0.01)
        assert descriptors() <= opened + 2, SEED
    report = rig.report
    assert report.exit == "stopped as asked" and report.problems == []
    assert report.actor("script").restarts == ENDS == len(os.listdir(folder))
    assert [report.actor(name).restarts for name in ["left", "right"]] == [0, 0]
    for link in report.links:
        assert link.produced == link.delivered + link.dropped_sum + link.in_flight, link
    assert all(link.dropped == {} for link in report.links if link.to == "loop")
    assert set(os.listdir("/dev/shm")) <= shared
