"""Scripts as processors of a rig, run by the program that `CAMRIG` names."""

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from conftest import WATCHDOG, program

RIG = """
[camera.left]
driver = "synthetic"
options = { model = "any", depth = "64x48@30", color = "64x48@30", paced = false }

[camera.right]
driver = "synthetic"
options = { model = "any", depth = "64x48@30", color = "64x48@30", paced = false }

[processor.script]
kind = "python"
inputs = ["left", "right"]
overflow = "block"
restart = { backoff_millis = 1 }
options = { script = "script.py" OPTIONS }
MORE
"""


class Rig:
    """A folder with a topology and a script."""

    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, script, *, options="", more="", change=("", "")):
        (self.folder / "script.py").write_text("import camrig\n" + script)
        text = RIG.replace("OPTIONS", f", {options}" if options else "").replace("MORE", more)
        (self.folder / "rig.toml").write_text(text.replace(*change, 1))

    def camrig(self, *arguments):
        environment = {**os.environ, "VIRTUAL_ENV": sys.prefix}
        for name in ("RUST_LOG", "PYTHONUNBUFFERED"):
            environment.pop(name, None)
        command = [program(), *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=WATCHDOG
        )

    def run(self, *arguments, code=0):
        """Runs the rig for 30 framesets of each camera; returns what it prints, its log and its report."""
        done = self.camrig("run", "rig.toml", "--framesets", "30", "--report", "report.json", *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        report = json.loads((self.folder / "report.json").read_text())
        for link in report["links"]:
            dropped = sum(link["dropped"].values())
            assert link["produced"] == link["delivered"] + dropped + link["in_flight"], link
        return done.stdout, done.stderr, report


@pytest.fixture
def rig(tmp_path):
    before = set(os.listdir("/dev/shm"))
    yield Rig(tmp_path)
    assert set(os.listdir("/dev/shm")) <= before


def actor(report, name):
    return next(it for it in report["actors"] if it["name"] == name)


def link(report, producer):
    return next(it for it in report["links"] if it["from"] == producer)


HASHES = """
import hashlib, numpy as np
class Hash(camrig.Processor):
    def process(self, frames, out):
        place = np.asarray(frames.depth).__array_interface__["data"][0]
        digest = hashlib.sha256(np.asarray(frames.color).tobytes() + np.asarray(frames.depth).tobytes())
        print(frames.camera, frames.sequence, digest.hexdigest(), is_shared(place))
def is_shared(place):
    for line in open("/proc/self/maps"):
        first, last = (int(it, 16) for it in line.split()[0].split("-"))
        if first <= place < last:
            return "memfd:" in line and "r--s" in line
"""


def test_arrays_are_views_of_shared_memory_with_the_recorded_pixels(rig):
    import hashlib

    import camrig
    import numpy as np

    # Both in Rust: one keeps the pixels, the other one compares them with those that the cameras have to send.
    rust = '[processor.record]\nkind = "record"\ninputs = ["left", "right"]\noverflow = "block"\n'
    rust += 'options = { file = "rig.mcap" }\n'
    rust += '[processor.verify]\nkind = "verify"\ninputs = ["left", "right"]\noverflow = "block"\n'
    other = '[processor.other]\nkind = "python"\ninputs = ["left"]\noptions = { script = "other.py" }\nprocess = "script"\n'
    (rig.folder / "other.py").write_text("def process(frames): pass")
    for more, arguments in [("", []), (other, []), ("", ["--placement", "in-process"])]:
        rig.write(HASHES, more=rust + more)
        (rig.folder / "rig.mcap").unlink(missing_ok=True)
        output, _, report = rig.run(*arguments)
        recorded = {
            (frames.camera, frames.sequence): hashlib.sha256(
                np.asarray(frames.color).tobytes() + np.asarray(frames.depth).tobytes()
            ).hexdigest()
            for frames in camrig.open(rig.folder / "rig.mcap")
        }
        seen = {}
        lines = re.findall(r"^(left|right) (\d+) (\w{64}) (True|False)$", output, re.M)
        for camera, sequence, digest, shared in lines:
            # In its slot, mapped read-only: nothing was copied on the way to the array.
            assert shared == "True"
            seen[camera, int(sequence)] = digest
        assert len(seen) == 60 and seen == recorded
        assert link(report, "left")["delivered"] == 30 and actor(report, "script")["process"] == "script"
        assert all(it["errors"] == [] and it["copied"] == 0 for it in report["actors"]), report["actors"]


def test_what_a_script_publishes_reaches_rust_and_python(rig):
    rig.write(
        """
import numpy as np
class Mask(camrig.Processor):
    threshold: float = 0.5
    def process(self, frames, out):
        depth = frames.depth.meters()
        mask = out.derive(frames, image=[("mask", "y8", depth.shape), ("infrared-1", "y8", depth.shape),
                                         ("gray", "y8", depth.shape, "light")], tensor=("heat", "f32", (2, 3)),
                          message=("boxes", "camrig.Boxes", {"n": frames.sequence, "of": frames.camera}))
        np.less(depth, self.threshold, out=mask.array, casting="unsafe")
        mask["infrared-1"][:] = mask["gray"][:] = 0
        mask["heat"][:] = frames.sequence
        out.publish(mask)
        out.publish(frames)
""",
        options="threshold = 1.5",
        more="""
[processor.reader]
kind = "python"
inputs = ["script"]
overflow = "block"
options = { script = "reader.py" }
[processor.stats]
kind = "stats"
inputs = ["script"]
overflow = "block"
options = { every_seconds = 0 }
""",
    )
    (rig.folder / "reader.py").write_text(
        """
import numpy as np
def process(frames):
    if "mask" not in frames:
        assert frames.depth.shape == (48, 64) and frames.producer == "script"
        return
    assert np.asarray(frames["mask"]).max() == 1
    # A mask is drawn over the color image, which only the role `other` is.
    assert [frames[name].role for name in ["mask", "infrared-1", "gray", "boxes"]] == ["other", "light", "light", "other"]
    message = frames["boxes"].message()
    assert message["of"] == frames.camera and frames["boxes"].format == "camrig.Boxes"
    assert (np.asarray(frames["heat"]) == message["n"]).all()
    print(frames.camera, message["n"])
"""
    )
    output, _, report = rig.run()
    for camera in ["left", "right"]:
        assert [int(number) for number in re.findall(rf"^{camera} (\d+)$", output, re.M)] == list(range(30))
    assert actor(report, "script")["produced"] == 120 and actor(report, "script")["copied"] == 60
    assert link(report, "script")["delivered"] == 120 and all(it["errors"] == [] for it in report["actors"])


def test_scripts_of_one_process_wait_for_each_other(rig):
    rig.write(
        """
def process(frames, out):
    made = out.derive(frames, image=("mask", "y8", (48, 64)))
    made.array[:] = 1
    out.publish(made)
    out.publish(frames)
""",
        change=('kind = "python"', 'kind = "python"\nprocess = "scripts"\nslots = 2'),
        more="""
[processor.slow]
kind = "python"
process = "scripts"
inputs = ["script"]
overflow = "block"
queue = 1
options = { script = "slow.py" }
""",
    )
    (rig.folder / "slow.py").write_text("import time\ndef process(frames):\n    time.sleep(0.002)\n")
    _, _, report = rig.run()
    assert link(report, "script")["delivered"] == 120 and link(report, "script")["dropped"] == {}
    assert {it["process"] for it in report["actors"] if it["role"] == "processor"} == {"scripts"}


def test_matches_and_functions(rig):
    matching = ('overflow = "block"', 'overflow = "block"\nmatch = { window_millis = 16, clock = "hardware" }')
    rig.write(
        """
import numpy as np
class Pairs(camrig.MatchProcessor):
    def process(self, match, out):
        left, right = match["left"], match["right"]
        pair = out.derive(match, tensor=("pair", "u16", (2, 48, 64)))
        pair.array[:] = np.asarray(left.depth), np.asarray(right.depth)
        out.publish(pair)
        print(match.number, left.sequence, right.sequence, match.complete)
""",
        change=matching,
        more='[processor.stats]\nkind = "stats"\ninputs = ["script"]\noverflow = "block"',
    )
    output, _, report = rig.run()
    lines = [line for line in output.splitlines() if line[0].isdigit()]
    assert lines == [f"{number} {number} {number} True" for number in range(30)]
    assert actor(report, "script")["produced"] == 30
    # A function takes matches by its annotation; without one it gets the framesets of each match.
    rig.write("def process(match: camrig.Match):\n    print('match', len(match))", change=matching)
    assert rig.run()[0].count("match 2\n") == 30
    rig.write("def process(frames):\n    print('frames', frames.camera)", change=matching)
    assert rig.run()[0].count("frames left\n") == 30
    rig.write("def process(match: camrig.Match):\n    pass")
    _, _, report = rig.run(code=70)
    assert actor(report, "script")["errors"][-1] == (
        "`process` takes matches: its topology needs `match = { window_millis = 17 }`"
    )


UNKNOWN_TYPES = """
import typing
if typing.TYPE_CHECKING:
    import nothing_here
def process(match: "camrig.Match", out: "nothing_here.X", *, threshold: float = 0.5):
    print(type(match).__name__, threshold)
"""


def test_other_callables_and_files_are_scripts(rig):
    matching = ('overflow = "block"', 'overflow = "block"\nmatch = { window_millis = 16, clock = "hardware" }')
    rig.write(UNKNOWN_TYPES, options="threshold = 1", change=matching)
    assert rig.run()[0].count("Match 1.0\n") == 30
    (rig.folder / "detector").write_text(
        "class Detector:\n"
        "    def __call__(self, frames, *, limit: int = 3):\n        print('called', limit)\n"
        "detect = Detector()\n"
    )
    rig.write("", options='processor = "detect", limit = 4', change=('"script.py"', '"detector"'))
    assert rig.run()[0].count("called 4\n") == 60


def problems(rig, script, options="", **more):
    rig.write(script, options=options, **more)
    done = rig.camrig("check", "rig.toml")
    assert done.returncode == 78, done.stdout
    return re.findall(r"^error: (.*)$", done.stderr, re.M)


def test_a_script_and_its_options_are_checked_before_anything_starts(rig):
    own = "processor `script`: "
    options = """
import pathlib, typing
class Own(camrig.Processor):
    threshold: float = 0.5
    mode: typing.Literal["fast", "exact"] = "fast"
    names: list[str]
    model: pathlib.Path | None = None
"""
    assert problems(rig, options, 'thresold = 1, threshold = "high", mode = "slow", model = 3') == [
        own + "the script has no option `names`, which needs a list of a string",
        own + "unknown option `thresold` of the script; expected one of: `threshold`, `mode`, `names`, `model`",
        own + 'option `threshold` is "high"; expected a number',
        own + 'option `mode` is "slow"; expected one of: `fast`, `exact`',
        own + "option `model` is 3; expected a path",
    ]
    for script, options, expected in [
        ("def process(frames, out)\n    pass", "", "script.py:2: SyntaxError: expected ':'"),
        ("import nothing_here", "", "script.py:2: ModuleNotFoundError: No module named 'nothing_here'"),
        ("raise SystemExit(3)", "", "script.py:2: SystemExit: 3"),
        ("x = 1", "", "script.py has no subclass of camrig.Processor and no function `process`"),
        (
            "class A(camrig.Processor): pass\nclass B(camrig.Processor): pass",
            "",
            "script.py has several processors: `A`, `B`; choose one by the option `processor`",
        ),
        (
            "def own(frames): pass",
            'processor = "other"',
            "script.py has no class or function `other`; expected one of: `own`",
        ),
        ("def process(frames): pass", "a = 1", "unknown option `a` of the script; the script takes no options"),
        ("def process(frames, *, a: int): pass", "", "the script has no option `a`, which needs an integer"),
        (
            "async def process(frames): pass",
            "",
            "`process` of the script is a coroutine or a generator; expected a plain function",
        ),
        (
            "class A(camrig.Processor):\n    def process(self, frames, out):\n        yield",
            "",
            "`A.process` of the script is a coroutine or a generator; expected a plain function",
        ),
        (
            "class A: pass",
            'processor = "A"',
            "script.py has no class with `process` and no function `A`",
        ),
        (
            "import typing\ndef process(frames, *, names: typing.List['int'] = []): pass",
            'names = ["x"]',
            'option `names` is ["x"]; expected a list of an integer',
        ),
        (UNKNOWN_TYPES, 'threshold = "high"', 'option `threshold` is "high"; expected a number'),
        (
            UNKNOWN_TYPES.replace("threshold: float", "threshold: 'nothing_here.X'"),
            "threshold = 1",
            "the type of option `threshold` of the script, `nothing_here.X`, is not known when it runs",
        ),
    ]:
        assert problems(rig, script, options) == [own + expected]
    (unstarted,) = problems(rig, "", 'python = "/nowhere/python"')
    assert unstarted.startswith(own + "interpreter `/nowhere/python` cannot be started: "), unstarted
    ending = "script `script.py`: interpreter `"
    (found,) = problems(rig, "import os\nos._exit(3)")
    assert found.startswith(own + ending) and found.endswith("cannot check it: exit status: 3"), found
    # It cannot be where another program runs.
    change = ('kind = "python"', 'kind = "python"\nprocess = "main"')
    (found,) = problems(rig, "def process(frames): pass", change=change)
    assert found == own.replace(": ", " ") + "cannot be in process `main`"
    shared = ('driver = "synthetic"', 'driver = "synthetic"\nprocess = "script"')
    found = problems(rig, "def process(frames): pass", change=shared)
    assert found == [own.replace(": ", " ") + "cannot share process `script` with `left`"]


def test_an_exception_has_its_traceback_in_the_log_and_one_line_in_the_report(rig):
    rig.write(
        """
def process(frames):
    if frames.sequence == 7 and frames.camera == "left":
        helper([])
def helper(values):
    raise ValueError(f"bad\\n values {values}")
"""
    )
    _, log, report = rig.run()
    assert actor(report, "script")["errors"] == ["script.py:7: ValueError: bad values []"]
    assert actor(report, "script")["restarts"] == 1 and actor(report, "left")["restarts"] == 0
    assert "Traceback (most recent call last)" in log and "in helper" in log


@pytest.mark.parametrize("packages", [["camrig", "numpy", "numpy.libs"], ["camrig"]])
def test_a_script_runs_in_the_python_of_the_system(rig, monkeypatch, packages):
    """The interpreter of no virtual environment, with packages of PYTHONPATH: with NumPy and without."""
    folder = rig.folder / "packages"
    folder.mkdir()
    for name in packages:
        (folder / name).symlink_to(Path(sysconfig.get_path("platlib"), name))
    if "numpy" not in packages:
        (folder / "numpy.py").write_text("raise ModuleNotFoundError(\"No module named 'numpy'\")")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    rig.write(
        """
import sys
def process(frames):
    if frames.sequence == 0 and frames.camera == "left":
        print("environment", sys.prefix != sys.base_prefix, memoryview(frames.depth).shape)
        print("metres", frames.depth.meters().shape)
""",
        options=f'python = "{os.path.realpath(sys.executable)}"',
    )
    output, _, report = rig.run()
    assert "environment False (48, 64)\n" in output
    errors = [] if "numpy" in packages else [
        "script.py:7: ImportError: camrig needs NumPy for arrays, and this Python has none: `pip install numpy`; "
        "without it `memoryview(frame)` and `frame.tobytes()` work"
    ]
    assert ("metres (48, 64)\n" in output) == (errors == [])
    assert actor(report, "script")["errors"] == errors


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ("sys.exit(3)", "script.py:6: SystemExit: 3"),
        ("os._exit(3)", "process `script` exited with code 3"),
        ("os.kill(os.getpid(), 9)", "process `script` was killed by signal 9 (SIGKILL)"),
        ("ctypes.string_at(0)", "process `script` was killed by signal 11 (SIGSEGV)"),
    ],
)
def test_an_end_of_the_script_is_a_failure_of_its_own(rig, end, error):
    rig.write(
        f"""
import ctypes, os, pathlib, sys
def process(frames):
    if not pathlib.Path("ended").exists() and frames.sequence == 7 and pathlib.Path("ended").write_text("") == 0:
        {end}
""",
        more='[processor.stats]\nkind = "stats"\ninputs = ["left", "right"]\noverflow = "block"',
    )
    _, _, report = rig.run()
    (found,) = actor(report, "script")["errors"]
    assert found == error
    assert actor(report, "script")["restarts"] == 1
    others = [it for it in report["links"] if it["to"] == "stats"]
    assert [(it["delivered"], it["dropped"]) for it in others] == [(30, {})] * 2


def test_a_script_that_keeps_every_array_is_named_and_costs_the_others_nothing(rig):
    rig.write(
        """
import numpy as np
kept = []
def process(frames):
    kept.append(np.asarray(frames.depth))
    if len(kept) == 60:
        print("kept", len(kept), len({array.tobytes() for array in kept}) > 1)
""",
        more='[processor.stats]\nkind = "stats"\ninputs = ["left", "right"]\noverflow = "block"',
    )
    output, log, report = rig.run()
    assert "kept 60 True\n" in output
    for camera in ["left", "right"]:
        assert f"the script keeps 2 framesets of camera `{camera}`, each of which holds a slot" in log
    assert all(it["delivered"] == 30 and it["dropped"] == {} for it in report["links"]), report["links"]


def test_records_of_logging_are_in_the_log(rig):
    rig.write(
        """
import logging
def process(frames):
    if frames.sequence == 0:
        logging.getLogger("own").warning("seen %s", frames.camera)
"""
    )
    _, log, _ = rig.run()
    assert re.findall(r"WARN  script/script: (seen \w+)$", log, re.M) in (["seen left", "seen right"], ["seen right", "seen left"])


def test_calls_have_one_thread_whose_values_stay(rig):
    rig.write(
        """
import threading

kept = threading.local()
kept.count = 0

def process(frames):
    kept.count += 1
    print(kept.count)
"""
    )
    printed, log, _ = rig.run()
    assert ([line for line in printed.splitlines() if line.isdigit()], log) == ([str(count + 1) for count in range(60)], "")


def test_a_frameset_cannot_change_after_it_is_published(rig):
    rig.write(
        """
import threading
class Late(camrig.Processor):
    def process(self, frames, out):
        made = out.derive(frames, image=("mask", "y8", (4, 4)))
        array = made.array
        try:
            out.publish(made)
        except camrig.CamrigError as error:
            print(type(error).__name__, error)
        del array
        out.publish(made)
        print("published")
        for act in [lambda: made.array, lambda: out.publish(made), lambda: out.publish(3),
                    lambda: out.derive(frames, image=("mask", "y9", (4, 4))), lambda: out.derive(3, message=("a", 1)),
                    lambda: frames["gyro"], lambda: out.derive(frames, message=("boxes", [{"score": float("nan")}]))]:
            try:
                act()
            except Exception as error:
                print(type(error).__name__, error)
        thread = threading.Thread(target=self.elsewhere, args=(out,))
        thread.start()
        thread.join()
        raise SystemExit
    def elsewhere(self, out):
        try:
            out.name
        except camrig.CamrigError as error:
            print(error)
""",
        change=("restart = { backoff_millis = 1 }", "restart = { max = 0 }"),
    )
    output, _, _ = rig.run(code=70)
    assert output.splitlines()[:10] == [
        "CamrigError an array of this frameset is still in use, and a published frameset must not change: `del` it before "
        "`publish`",
        "published",
        "CamrigError this frameset is published: its memory belongs to its readers",
        "CamrigError this frameset is published already",
        "TypeError `publish` takes a result of `derive` or `create`, a FrameSet or a Match, not int",
        output.splitlines()[5],
        "TypeError `derive` takes a FrameSet or a Match as its origin",
        output.splitlines()[7],
        output.splitlines()[8],
        "an outlet works only during the call that it was given to, and on its thread",
    ]
    assert output.splitlines()[8].startswith("ValueError the message of stream `boxes` cannot be written as JSON: Out of range")
    assert output.splitlines()[5].startswith("ValueError unknown format `y9`; expected one of: `rgb8`, `bgr8`, ")
    assert "has no stream `gyro`; it has: `color`, `depth`" in output.splitlines()[7]
