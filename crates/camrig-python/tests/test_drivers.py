"""Cameras of scripts, in rigs of `camrig run` and of the interpreter itself."""

import hashlib
import json
import os
import re
import subprocess
import sys

import camrig
import numpy as np
import pytest
from conftest import WATCHDOG, program

RAMP = r"""
import pathlib
import time
import camrig
import numpy as np

class Ramp(camrig.Driver):
    step: int = 1
    frames: int = 30
    serial = "R1"

    def open(self):
        self.number = 0
        matrix = [[60, 0, 32], [0, 60, 24], [0, 0, 1]]
        return [
            camrig.Stream("depth", "z16", (48, 64), 30, intrinsics=np.array(matrix), distortion=np.array([[0.1, 0, 0, 0, 0]])),
            camrig.Stream("color", "rgb8", (48, 64), 30),
            camrig.Stream("heat", "f32", (2, 3), 30),
        ]

    def capture(self, out):
        assert 0 < out.timeout < 1
        if self.number == self.frames:
            return False
        if self.number % 2:
            made = out.create(timestamp=self.number / 30, clock="hardware")
            made["depth"][:] = self.number * self.step
            made["color"][:] = self.number
            made["heat"][:] = -self.number
            out.publish(made)
        else:
            depth = np.full((48, 64), self.number * self.step, np.uint16)
            color = np.full((48, 64, 3), self.number, np.uint8)
            heat = np.full((2, 3), -self.number, np.float32)
            out.publish({"depth": depth, "color": color, "heat": heat}, timestamp=self.number / 30, clock="hardware")
        self.number += 1

    def close(self):
        with open(pathlib.Path(__file__).with_name("closed"), "a") as file:
            file.write("closed\n")
"""

RIG = """
[camera.ramp]
driver = "python"
restart = { backoff_millis = 1 }
options = { script = "ramp.py" OPTIONS }

[processor.record]
kind = "record"
inputs = ["ramp"]
overflow = "block"
options = { file = "rig.mcap" }

[processor.hash]
kind = "python"
inputs = ["ramp"]
overflow = "block"
options = { script = "hash.py" }
"""

HASH = r"""
import hashlib
def process(frames):
    digest = hashlib.sha256(b"".join(frame.tobytes() for frame in frames)).hexdigest()
    # One write: other processes print too.
    print(f"{frames.sequence} {digest}\n", end="", flush=True)
"""


def camrig_of(folder, *arguments):
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix}
    environment.pop("RUST_LOG", None)
    command = [program(), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=WATCHDOG)


def run(folder, script=RAMP, options="", code=0):
    (folder / "ramp.py").write_text(script)
    (folder / "hash.py").write_text(HASH)
    (folder / "rig.toml").write_text(RIG.replace("OPTIONS", f", {options}" if options else ""))
    (folder / "rig.mcap").unlink(missing_ok=True)
    shared = set(os.listdir("/dev/shm"))
    done = camrig_of(folder, "run", "rig.toml", "--report", "report.json")
    assert done.returncode == code, done.stdout + done.stderr
    assert set(os.listdir("/dev/shm")) <= shared
    report = json.loads((folder / "report.json").read_text())
    for link in report["links"]:
        assert link["produced"] == link["delivered"] + sum(link["dropped"].values()) + link["in_flight"], link
    return done.stdout, done.stderr, report, next(it for it in report["actors"] if it["name"] == "ramp")


def test_framesets_of_a_driver_reach_rust_and_python(tmp_path):
    output, _, report, camera = run(tmp_path, options="step = 3")
    recording = camrig.open(tmp_path / "rig.mcap")
    assert len(recording) == 30
    for number, frames in enumerate(recording):
        assert list(frames.depth.shape) == [48, 64] and (np.asarray(frames.depth) == 3 * number).all()
        assert (np.asarray(frames.color) == number).all() and (np.asarray(frames["heat"]) == -number).all()
        assert frames.depth.number == number and frames.depth.clock == "hardware"
        assert frames.depth.intrinsics.tolist() == [[60, 0, 32], [0, 60, 24], [0, 0, 1]]
        assert np.allclose(frames.depth.distortion, [0.1, 0, 0, 0, 0])
    hashes = [hashlib.sha256(b"".join(it.tobytes() for it in frames)).hexdigest() for frames in recording]
    found = re.findall(r"^(\d+) (\w{64})$", output, re.M)
    assert found == [(str(number), digest) for number, digest in enumerate(hashes)]
    assert (tmp_path / "closed").read_text() == "closed\n" and report["exit"] == "end of all inputs"
    assert (camera["produced"], camera["lost"], camera["errors"], camera["process"]) == (30, 0, [], "ramp")
    assert recording.cameras["ramp"].serial == "R1" and recording.cameras["ramp"].driver == "python"


def test_a_driver_in_a_rig_of_this_interpreter(tmp_path):
    (tmp_path / "ramp.py").write_text(RAMP)
    camera = {"driver": "python", "options": {"script": str(tmp_path / "ramp.py"), "step": 2, "frames": 5}}
    rig = camrig.Rig({"camera": {"ramp": camera}})
    loop = rig.frames(overflow="block")
    with rig:
        depths = [int(np.asarray(frames.depth)[0, 0]) for frames in loop]
        rig.wait()
    assert depths == [0, 2, 4, 6, 8] and rig.report.exit == "end of all inputs"


GAPS = """
import camrig
class Gaps(camrig.Driver):
    def open(self):
        self.numbers = iter([0, 1, 4, 5])
        return [camrig.Stream("depth", "z16", (4, 4), 30)]
    def capture(self, out):
        number = next(self.numbers, None)
        if number is None:
            return False
        out.publish(out.create(number=number))
"""


def test_gaps_of_numbers_are_losses(tmp_path):
    _, _, report, camera = run(tmp_path, GAPS)
    assert (camera["produced"], camera["lost"], camera["lost_by_reason"]) == (4, 2, {"device": 2})


GIVES_UP = """
import camrig
class GivesUp(camrig.Driver):
    def open(self):
        self.left = 20
        return [camrig.Stream("mask", "y8", (4, 4), 30, role="other")]
    def capture(self, out):
        self.left -= 1
        made = out.create()
        if self.left % 2:
            return
        array = made["mask"]
        try:
            out.publish(made)
        except camrig.CamrigError:
            del array
            out.publish(made)
        return self.left > 0
"""


def test_a_frameset_that_is_not_published_is_not_lost(tmp_path):
    _, _, _, camera = run(tmp_path, GIVES_UP)
    assert (camera["produced"], camera["lost"], camera["errors"]) == (10, 0, [])
    recorded = list(camrig.open(tmp_path / "rig.mcap"))
    assert [(frames["mask"].number, frames["mask"].role) for frames in recorded] == [(number, "other") for number in range(10)]


def test_a_driver_and_its_reader_in_one_process_wait_for_each_other(tmp_path):
    (tmp_path / "ramp.py").write_text(RAMP)
    (tmp_path / "slow.py").write_text("import time\ndef process(frames):\n    time.sleep(0.005)\n")
    camera = {"driver": "python", "process": "scripts", "slots": 2, "options": {"script": tmp_path / "ramp.py"}}
    slow = {"kind": "python", "process": "scripts", "inputs": ["ramp"], "overflow": "block", "queue": 1}
    slow["options"] = {"script": tmp_path / "slow.py"}
    with camrig.Rig({"camera": {"ramp": camera}, "processor": {"slow": slow}}) as rig:
        report = rig.wait(WATCHDOG)
        # A rig that stands still is not left behind.
        if report is None:
            rig.stop()
            rig._rig.stop(now=True)
    assert report is not None and report.exit == "end of all inputs"
    assert (report.link("ramp", "slow").delivered, report.link("ramp", "slow").dropped) == (30, {})


ENDS = """
import ctypes, os, pathlib, signal, sys, time
import camrig
class Ends(camrig.Driver):
    def open(self):
        self.left = 5
        return [camrig.Stream("depth", "z16", (4, 4), 30)]
    def capture(self, out):
        if self.left:
            out.publish(out.create())
            self.left -= 1
            return
        if pathlib.Path("ended").exists():
            return False
        pathlib.Path("ended").write_text("")
        END
"""


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("raise ValueError('dark')", "ramp.py:16: ValueError: dark"),
        ("sys.exit(3)", "ramp.py:16: SystemExit: 3"),
        ("os._exit(3)", "process `ramp` exited with code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "process `ramp` was killed by signal 9 (SIGKILL)"),
        ("ctypes.string_at(0)", "process `ramp` was killed by signal 11 (SIGSEGV)"),
        ("out.publish({'depth': [[1]]})", "it is declared as uint16 (4, 4)"),
        ("raise camrig.Unavailable('unplugged')", "unplugged"),
    ],
)
def test_a_driver_that_fails_is_restarted(tmp_path, end, error):
    output, log, report, camera = run(tmp_path, ENDS.replace("END", end))
    (found,) = camera["errors"]
    assert found.endswith(error) and camera["produced"] == 10, camera
    assert camera["restarts"] == 1 and report["exit"] == "end of all inputs"
    assert ("Traceback" in log) == (error.startswith("ramp.py:") and "Exit" not in error or "declared" in error), log
    assert all(link["delivered"] == 10 and link["dropped"] == {} for link in report["links"])


def test_a_driver_that_hangs_is_replaced(tmp_path):
    script = ENDS.replace("END", "time.sleep(1000)")
    (tmp_path / "ramp.py").write_text(script)
    camera = {
        "driver": "python",
        "stall_timeout_millis": 2000,
        "restart": {"backoff_millis": 1},
        "options": {"script": str(tmp_path / "ramp.py")},
    }
    rig = camrig.Rig({"camera": {"ramp": camera}})
    loop = rig.frames(overflow="block")
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        with rig:
            sequences = [frames.sequence for frames in loop]
            rig.wait()
    finally:
        os.chdir(here)
    assert sequences == list(range(10)) and rig.report.actor("ramp").restarts == 1


@pytest.mark.parametrize(
    ("script", "options", "message"),
    [
        ("import camrig\nx = (", "", "ramp.py:2: SyntaxError: '(' was never closed"),
        ("1 / 0\n", "", "ramp.py:1: ZeroDivisionError: division by zero"),
        ("def process(frames): pass\n", "", "ramp.py has no class with `open` and `capture`"),
        (RAMP + "class Other(Ramp): pass\n", "", "ramp.py has several drivers: `Ramp`, `Other`; choose one by the option `class`"),
        (RAMP, 'class = "Rump"', "ramp.py has no class `Rump` with `open` and `capture`; expected one of: `Ramp`"),
        (RAMP, "stop = 1", "unknown option `stop` of the script; expected one of: `step`, `frames`"),
        (RAMP, 'step = "two"', 'option `step` is "two"; expected an integer'),
    ],
)
def test_wrong_scripts_and_options_are_found_by_a_check(tmp_path, script, options, message):
    (tmp_path / "ramp.py").write_text(script)
    (tmp_path / "hash.py").write_text(HASH)
    (tmp_path / "rig.toml").write_text(RIG.replace("OPTIONS", f", {options}" if options else ""))
    done = camrig_of(tmp_path, "check", "rig.toml")
    assert done.returncode == 78 and f"error: camera `ramp`: {message}\n" in done.stderr, done.stderr
    line = next(number for number, it in enumerate(RIG.splitlines(), 1) if "ramp.py" in it)
    assert f"rig.toml:{line}:" in done.stderr


def test_what_open_returns_is_checked(tmp_path):
    for returned, message in [
        ("None", "`open` returns a list of `camrig.Stream`"),
        ("[]", "`open` returned no stream"),
        ("[camrig.Stream('depth', 'z17', (4, 4), 30)]", "unknown type `z17`"),
        ("[camrig.Stream('depth', 'z16', (4,), 30)]", "the shape of an image is (height, width)"),
        ("[camrig.Stream('depth', 'z16', (4, 4), 30, role='mask')]", "unknown role `mask`; expected one of: `light`, `depth`, `other`"),
        (
            "[camrig.Stream('depth', 'z16', (4, 4), 30, distortion=[1, 2, 3, 4, 5, 6, 7, 8])]",
            "`distortion` of stream `depth` has 8 coefficients; expected 4 or 5: k1, k2, p1, p2, k3",
        ),
        ("[camrig.Stream('depth', 'z16', (4, 4), 30, intrinsics=[[1, 2]])]", "`intrinsics` of stream `depth` has not the shape (3, 3)"),
    ]:
        script = f"import camrig\nclass Wrong(camrig.Driver):\n    def open(self):\n        return {returned}\n"
        _, _, _, camera = run(tmp_path, script + "    def capture(self, out): pass\n", code=70)
        assert message in camera["errors"][-1], camera
