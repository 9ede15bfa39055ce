"""Rigs that the interpreter itself runs, and loops over their framesets."""

import asyncio
import dataclasses
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc

import camrig
import numpy as np
import pytest
from conftest import ENDS_WITH_PARENT, WATCHDOG, program

OPTIONS = {"model": "any", "depth": "64x48@30", "color": "64x48@30"}


def topology(*, paced=False, **more):
    options = {**OPTIONS, "paced": paced}
    return {"camera": {name: {"driver": "synthetic", "options": options} for name in ["left", "right"]}, **more}


@pytest.fixture(autouse=True)
def nothing_is_left():
    shared, started = set(os.listdir("/dev/shm")), threads()
    yield
    gc.collect()
    assert set(os.listdir("/dev/shm")) <= shared
    assert not children()
    # The thread of the log stays.
    until = time.monotonic() + WATCHDOG
    while threads() - started - {"log"}:
        assert time.monotonic() < until, threads()
        time.sleep(0.01)


def threads():
    found = set()
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as file:
                found.add(file.read().strip())
        except OSError:
            pass
    return found


def children():
    path = f"/proc/self/task/{os.getpid()}/children"
    with open(path) as file:
        return [int(it) for it in file.read().split()]


def test_a_calibrated_rig_has_poses(tmp_path):
    calibration = tmp_path / "rig.calib.toml"
    calibration.write_text(
        "version = 1\nroot = 'left'\n"
        "[camera.left]\nserial = '1'\ntranslation_meters = [0, 0, 0]\nquaternion_xyzw = [0, 0, 0, 1]\n"
        "[camera.right]\nserial = '2'\ntranslation_meters = [0.5, 0, 2]\nquaternion_xyzw = [0, 1, 0, 0]\n"
    )
    rig = topology(paced=True, calibration=str(calibration))
    for serial, camera in enumerate(rig["camera"].values(), 1):
        camera["options"] = {**camera["options"], "serial": str(serial)}
    rig["camera"]["extra"] = {"driver": "synthetic", "options": OPTIONS}
    found = {}
    with camrig.Rig(rig) as running:
        for name in rig["camera"]:
            info = next(iter(running.frames(name))).info
            found[name] = (info.root, None if info.pose is None else info.pose.tolist())
    half_a_turn = [[-1, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, -1, 2], [0, 0, 0, 1]]
    assert found == {"left": ("left", np.eye(4).tolist()), "right": ("left", half_a_turn), "extra": (None, None)}


def mapped_name(place):
    for line in open("/proc/self/maps"):
        first, last = (int(it, 16) for it in line.split()[0].split("-"))
        if first <= place < last:
            return line
    return ""


def test_a_loop_made_before_the_start_gets_every_frameset_without_a_copy():
    rig = camrig.Rig(topology(), framesets=30)
    frames_of = {name: rig.frames(name, overflow="block", name=f"from-{name}") for name in ["left", "right"]}
    with rig:
        assert len(children()) == 2
        sums = {}
        for left, right in zip(frames_of["left"], frames_of["right"]):
            assert (left.camera, right.camera, left.sequence) == ("left", "right", right.sequence)
            depth = np.asarray(left.depth)
            line = mapped_name(depth.__array_interface__["data"][0])
            assert "memfd:" in line and "r--s" in line
            sums[left.sequence] = int(depth.sum())
        assert list(sums) == list(range(30)) and len(set(sums.values())) > 1
        report = rig.wait(WATCHDOG)
    assert report is rig.report and report.exit == "stopped as asked"
    for name in ["left", "right"]:
        link = report.link(name, f"from-{name}")
        assert (link.produced, link.delivered, link.dropped, link.in_flight) == (30, 30, {}, 0)
        assert report.actor(f"from-{name}").state == "finished"
    assert [it.name for it in report.processes] == ["main", "left", "right"]


@pytest.mark.parametrize("profile", ["64x48@30", "640x480@30"])
def test_nothing_is_allocated_that_grows_with_the_image(profile):
    options = {**OPTIONS, "depth": profile, "color": profile, "paced": False}
    rig = camrig.Rig({"camera": {"left": {"driver": "synthetic", "options": options}}}, framesets=30)
    loop = rig.frames(overflow="block")
    with rig:
        peaks = []
        tracemalloc.start()
        try:
            for frames in loop:
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                depth, color = np.asarray(frames.depth), np.asarray(frames.color)
                assert (depth[0, 0], color[0, 0, 0]) is not None
                place = depth.__array_interface__["data"][0], color.__array_interface__["data"][0]
                peaks.append(tracemalloc.get_traced_memory()[1] - before)
                for it in place:
                    line = mapped_name(it)
                    assert "memfd:" in line and "r--s" in line
                del depth, color, frames
        finally:
            tracemalloc.stop()
    # The smaller image has 3 kB of depth, the larger one 600 kB.
    assert len(peaks) == 30 and max(peaks[1:]) < 3000, peaks


def test_a_loop_joins_a_running_rig_and_its_end_removes_it():
    with camrig.Rig(topology(paced=True)) as rig:
        for frames in rig.frames("left"):
            assert frames.camera == "left"
            if frames.sequence >= 3:
                break
        sequences = [next(both).camera for both in [rig.frames()] for _ in range(6)]
        assert set(sequences) == {"left", "right"}
        second = rig.frames("right")
        assert second.name.startswith("loop") and next(second).camera == "right"
        status = rig.status()
        assert (status.topology, status.pid) == ("dict", os.getpid()) and status.seconds > 0
        assert [it.name for it in status.actors][:2] == ["left", "right"]
        assert status.actor("left").state == "running" and status.actor("left").produced > 3
        second.close()
        until = time.monotonic() + WATCHDOG
        while any(it.kind == "loop" for it in rig.status().actors):
            assert time.monotonic() < until
            time.sleep(0.01)
        with pytest.raises(StopIteration):
            next(second)
        # Cameras continue without a reader, until the next one joins.
        assert {next(rig.frames("right")).camera for _ in range(3)} == {"right"}
    assert rig.report.exit == "stopped as asked"
    assert {change.by for change in rig.report.changes} == {"Python"}
    for link in rig.report.links:
        assert link.produced == link.delivered + link.dropped_sum + link.in_flight, link


def test_changes_of_others_outlast_the_changes_of_loops():
    with camrig.Rig(topology(paced=True)) as rig:
        ended = threading.Event()

        def come_and_go():
            while not ended.is_set():
                loop = rig.frames("left")
                next(loop)
                loop.close()

        thread = threading.Thread(target=come_and_go)
        thread.start()
        try:
            for number in range(12):
                slots = f"slots={10 + number % 3}"
                command = [program(), "set", "left", slots, "--rig", str(os.getpid())]
                done = subprocess.run(command, capture_output=True, text=True, timeout=WATCHDOG)
                assert done.returncode == 0, done.stderr
                # Loops join and leave after it.
                after = rig.status().changes[-1].seconds
                until = time.monotonic() + WATCHDOG
                while sum(change.seconds > after for change in rig.status().changes) < 4:
                    assert time.monotonic() < until
                    time.sleep(0.01)
                assert slots.replace("=", " = ") in rig.topology, number
        finally:
            ended.set()
            thread.join(WATCHDOG)


def test_readers_that_keep_framesets_have_slots_for_them(tmp_path):
    (tmp_path / "script.py").write_text("def process(frames): pass\n")
    script = {"kind": "python", "inputs": ["left"], "queue": 1, "options": {"script": tmp_path / "script.py"}}
    rig = camrig.Rig(topology(processor={"script": script}))
    loop = rig.frames("left", queue=2, overflow="block")
    with rig:
        next(loop)
        # For each the queue, its call, and two that it keeps; one to write into, and one that was written.
        assert rig.status().actor("left").slots == (1 + 1 + 2) + (2 + 1 + 2) + 2


def test_a_rig_is_started_once():
    rig = camrig.Rig(topology(paced=True))
    loop = rig.frames("left")

    async def first():
        return await anext(loop)

    for take in [lambda: next(loop), lambda: asyncio.run(first())]:
        with pytest.raises(camrig.CamrigError, match="the rig is not started: use `with"):
            take()
    with rig:
        taken = next(loop).sequence
        pid = rig.status().processes[1].pid
        with pytest.raises(camrig.CamrigError, match="the rig was started already"):
            rig.start()
        assert next(loop).sequence > taken and rig.status().processes[1].pid == pid


def test_a_slow_loop_drops_and_counts():
    rig = camrig.Rig(topology(paced=True), framesets=30)
    loop = rig.frames("left", queue=1)
    with rig:
        seen = []
        for frames in loop:
            seen.append(frames.sequence)
            time.sleep(0.1)
        report = rig.wait()
    link = report.link("left", "loop")
    assert seen == sorted(seen) and link.delivered == len(seen) < 30
    assert link.dropped == {"queue-full": 30 - len(seen)} or sum(link.dropped.values()) == 30 - len(seen)


def test_matches_have_a_frameset_of_each_camera(recording):
    cameras = {name: {"driver": "replay", "options": {"file": str(recording)}} for name in ["left", "right"]}
    rig = camrig.Rig({"camera": cameras})
    matches = rig.matches(window=0.017, clock="hardware", overflow="block", name="pairs")
    with rig:
        numbers, used = [], set()
        for match in matches:
            assert match.cameras == ["left", "right"] and match.spread <= 0.017
            numbers.append(match.number)
            used |= {(frames.camera, frames.sequence) for frames in match}
        rig.wait()
    assert rig.report.exit == "end of all inputs"
    assert numbers == list(range(len(numbers))) and len(used) == 2 * len(numbers) >= 30
    assert len(numbers) == len(list(camrig.open(recording).matches(window=0.017)))
    (matching,) = rig.report.matching
    assert (matching.processor, matching.matches, matching.partial) == ("pairs", len(numbers), 0)


def test_loops_of_asyncio():
    async def watch(loop, found):
        async for frames in loop:
            found.append((frames.camera, frames.sequence))

    async def main(rig, loops):
        found = [[] for _ in loops]
        ticks = 0
        tasks = [asyncio.create_task(watch(loop, it)) for loop, it in zip(loops, found)]
        while not all(task.done() for task in tasks):
            ticks += 1
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        return found, ticks

    rig = camrig.Rig(topology(paced=True), framesets=10)
    loops = [rig.frames(name, overflow="block") for name in ["left", "right"]]
    assert [loop.name for loop in loops] == ["loop", "loop-2"]
    with rig:
        found, ticks = asyncio.run(main(rig, loops))
    assert found == [[(name, number) for number in range(10)] for name in ["left", "right"]]
    assert ticks > 10


def test_several_tasks_take_from_one_loop():
    async def take(loop, found):
        async for frames in loop:
            found.append(frames.sequence)

    async def main(loop):
        found = [[], []]
        await asyncio.wait_for(asyncio.gather(*(take(loop, it) for it in found)), WATCHDOG)
        return found

    rig = camrig.Rig(topology(paced=True), framesets=20)
    loop = rig.frames("left", overflow="block")
    with rig:
        found = asyncio.run(main(loop))
    assert sorted(sum(found, [])) == list(range(20))


def test_matches_are_awaited():
    async def main(matches):
        first = await anext(matches)
        return [first, *[match async for match in matches]]

    rig = camrig.Rig(topology(), framesets=10)
    matches = rig.matches(window=0.017, clock="hardware", overflow="block")
    with rig:
        found = asyncio.run(main(matches))
    pairs = [(match.number, match["left"].sequence, match["right"].sequence, match.complete) for match in found]
    assert pairs == [(number, number, number, True) for number in range(10)]


def test_what_a_loop_keeps_costs_the_others_nothing():
    rig = camrig.Rig(topology(), framesets=30)
    first, second = rig.frames("left", overflow="block"), rig.frames("left", overflow="block")
    with rig:
        kept, others = [], []
        for one, other in zip(first, second):
            kept.append(np.asarray(one.depth))
            others.append(int(np.asarray(other.depth).sum()))
    assert len(others) == 30 and [int(it.sum()) for it in kept] == others


def test_options_of_a_device_are_listed_and_set():
    with camrig.Rig(topology(paced=True)) as rig:
        controls = rig.controls("left")
        name, control = next((name, it) for name, it in controls.items() if "Number" in str(it.range) and it.live)
        assert control.name == name and not control.read_only
        bounds = control.range["Number"]
        assert rig.set("left", {name: bounds["max"]}) == {name: bounds["max"]}
        keyword = name.replace("-", "_")
        assert rig.set("left", **{keyword: bounds["min"]}) == {name: bounds["min"]}
        assert rig.controls("left")[name].value == bounds["min"]
        with pytest.raises(camrig.CamrigError, match=f"option `{name}` is "):
            rig.set("left", {name: bounds["max"] + 1e9})
        with pytest.raises(camrig.CamrigError, match="nothing"):
            rig.set("left", nothing=1)
        with pytest.raises(camrig.CamrigError, match="rear"):
            rig.controls("rear")


def test_a_rig_changes_while_it_runs(tmp_path):
    with camrig.Rig(topology(paced=True)) as rig:
        assert "[camera.left" in rig.topology
        more = topology(paced=True, processor={"check": {"kind": "verify", "inputs": ["left"]}})
        assert rig.apply(more) == ["start process `check`", "add processor `check` in process `check`"]
        assert rig.status().actor("check").kind == "verify"
        (tmp_path / "two.toml").write_text(rig.topology)
        assert rig.apply(tmp_path / "two.toml") == []
        with pytest.raises(camrig.CamrigError, match="topology `/nowhere.toml` cannot be read: "):
            rig.apply("/nowhere.toml")


def test_values_of_a_dict_are_those_of_a_file(tmp_path):
    given = {"driver": "synthetic", "options": {"rate": np.float32(0.5), "numbers": np.arange(2), "file": tmp_path}}
    rig = camrig.Rig({"camera": {"left": given}, "metrics": {"port": np.int64(9)}})
    for line in ["rate = 0.5", "numbers = [0, 1]", f'file = "{tmp_path}"', "port = 9"]:
        assert line in rig.topology.splitlines(), rig.topology


def test_scripts_run_by_this_interpreter(tmp_path):
    (tmp_path / "script.py").write_text(
        "import sys\ndef process(frames):\n    frames.sequence == 0 and print(sys.executable, flush=True)\n"
    )
    code = f"""
import camrig
options = {OPTIONS!r}
left = {{"driver": "synthetic", "options": options}}
script = {{"kind": "python", "inputs": ["left"], "overflow": "block", "options": {{"script": "script.py"}}}}
with camrig.Rig({{"camera": {{"left": left}}, "processor": {{"script": script}}}}, framesets=3) as rig:
    rig.wait()
print(rig.report.link("left", "script").delivered)
"""
    environment = {name: it for name, it in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=WATCHDOG
    )
    assert (done.stdout, done.stderr, done.returncode) == (f"{sys.executable}\n3\n", "", 0)


def test_own_changes_are_no_warnings():
    code = f"""
import camrig
left = {{"driver": "synthetic", "options": {OPTIONS!r}}}
with camrig.Rig({{"camera": {{"left": left}}}}) as rig:
    next(rig.frames())
    print(rig.set("left", exposure=5000))
print([change.changes for change in rig.report.changes][-1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WATCHDOG)
    assert (done.stderr, done.returncode) == ("", 0) and done.stdout.startswith("{'exposure': 5000.0}\n"), done


def test_errors_name_the_fact():
    with pytest.raises(camrig.CamrigError, match="unknown actor `lefft`"):
        with camrig.Rig(topology(processor={"check": {"kind": "verify", "inputs": ["lefft"]}})):
            pass
    with pytest.raises(camrig.CamrigError, match="topology `/nowhere.toml` cannot be read: "):
        camrig.Rig("/nowhere.toml")
    with pytest.raises(camrig.CamrigError, match="a value that TOML cannot hold"):
        camrig.Rig({"camera": {"left": {"driver": None}}})
    for wrong, fact in [
        ({"camera": [1]}, "`camera` is of the type `list`; expected a dict"),
        ({"camera": {"left": {"driver": object()}}}, "a value of the type `object` cannot be in a topology"),
    ]:
        with pytest.raises(camrig.CamrigError, match=fact):
            camrig.Rig(wrong)
    rig = camrig.Rig(topology())
    for act in [rig.status, lambda: rig.set("left", exposure=1), rig.wait]:
        with pytest.raises(camrig.CamrigError, match="the rig is not started: use `with"):
            act()
    with pytest.raises(ValueError, match="`window` is 0.0001; it must be 0.001 to 10 seconds"):
        rig.matches(window=0.0001)
    broken = topology()
    broken["camera"]["left"]["options"] = {**OPTIONS, "fail_at": 1}
    with pytest.raises(camrig.CamrigError, match="fail_at"):
        camrig.Rig(broken).start()


def test_an_actor_that_fails_for_good_raises_at_the_end(tmp_path):
    (tmp_path / "script.py").write_text("def process(frames):\n    raise ValueError('bad')\n")
    script = {"kind": "python", "inputs": ["left"], "restart": {"max": 0}, "options": {"script": str(tmp_path / "script.py")}}
    with pytest.raises(camrig.CamrigError) as raised:
        with camrig.Rig(topology(processor={"script": script})) as rig:
            assert all(frames.camera == "right" for frames in rig.frames("right"))
    assert str(raised.value) == "an actor failed: processor `script`: script.py:2: ValueError: bad"
    assert rig.report.actor("script").state == "failed"


LONG = f"""
import camrig, sys
options = {OPTIONS!r}
with camrig.Rig({{"camera": {{name: {{"driver": "synthetic", "options": options}} for name in ["left", "right"]}}}}) as rig:
    for number, frames in enumerate(rig.frames()):
        if number == 3:
            print("running", *[it.pid for it in rig.status().processes], flush=True)
            END
"""


def start(end="pass", new_session=False):
    process = subprocess.Popen(
        [*ENDS_WITH_PARENT, sys.executable, "-c", LONG.replace("END", end)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=new_session,
    )
    line = process.stdout.readline()
    assert line.startswith("running"), process.communicate()
    return process, [int(it) for it in line.split()[2:]]


def wait_for_the_end_of(pids):
    until = time.monotonic() + WATCHDOG
    while any(os.path.exists(f"/proc/{pid}") and state(pid) != "Z" for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.01)


def state(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.parametrize("whole_group", [False, True])
def test_a_keyboard_interrupt_ends_the_rig_in_order(whole_group):
    process, workers = start(new_session=whole_group)
    assert len(workers) == 2
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=WATCHDOG)
    assert process.returncode == -signal.SIGINT and errors.rstrip().endswith("KeyboardInterrupt"), errors
    assert "Traceback" in errors and len(re.findall("Traceback", errors)) == 1
    wait_for_the_end_of(workers)


IMPORTS = """
import pathlib, time
pathlib.Path("importing").write_text("")
while not pathlib.Path("end").exists():
    time.sleep(0.01)
def process(frames): pass
"""


def wait_for_file(path):
    until = time.monotonic() + WATCHDOG
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_keyboard_interrupt_ends_a_start_that_waits_for_a_script(tmp_path):
    (tmp_path / "script.py").write_text(IMPORTS)
    code = f"""
import camrig
left = {{"driver": "synthetic", "options": {OPTIONS!r}}}
script = {{"kind": "python", "inputs": ["left"], "options": {{"script": "script.py"}}}}
with camrig.Rig({{"camera": {{"left": left}}, "processor": {{"script": script}}}}):
    print("started")
"""
    command = [*ENDS_WITH_PARENT, sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_file(tmp_path / "importing")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=WATCHDOG)
    (tmp_path / "end").write_text("")
    assert (process.returncode, output) == (-signal.SIGINT, ""), errors
    assert errors.rstrip().endswith("KeyboardInterrupt") and errors.count("Traceback") == 1, errors


def test_other_threads_continue_while_a_forgotten_rig_ends(tmp_path):
    (tmp_path / "script.py").write_text(
        "import camrig, pathlib, time\n"
        "class Last(camrig.Processor):\n"
        "    folder: pathlib.Path\n"
        "    def process(self, frames, out):\n        pass\n"
        "    def finish(self, out):\n"
        "        (self.folder / 'finishing').write_text('')\n"
        "        while not (self.folder / 'end').exists():\n            time.sleep(0.01)\n"
        "        (self.folder / 'finished').write_text('')\n"
    )
    options = {"script": tmp_path / "script.py", "folder": tmp_path}
    script = {"kind": "python", "inputs": ["left"], "options": options}
    rig = camrig.Rig(topology(paced=True, processor={"script": script})).start()
    thread = threading.Thread(target=lambda: (wait_for_file(tmp_path / "finishing"), (tmp_path / "end").write_text("")))
    thread.start()
    del rig
    thread.join(WATCHDOG)
    # Otherwise it is killed.
    assert (tmp_path / "finished").exists()


def test_no_worker_outlives_a_killed_interpreter():
    for end in ["pass", "import os; os.kill(os.getpid(), 9)", "import ctypes; ctypes.string_at(0)"]:
        process, workers = start(end)
        if end == "pass":
            process.kill()
        process.communicate(timeout=WATCHDOG)
        assert process.returncode < 0
        wait_for_the_end_of(workers)


def test_a_rig_that_is_forgotten_ends():
    rig = camrig.Rig(topology(paced=True)).start()
    loop = rig.frames("left")
    assert next(loop).camera == "left"
    del rig, loop
    gc.collect()
    until = time.monotonic() + WATCHDOG
    while children():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_records_of_the_log_are_those_of_logging(tmp_path):
    (tmp_path / "script.py").write_text(
        "import pathlib\ndef process(frames):\n    if not pathlib.Path('ended').exists():\n"
        "        pathlib.Path('ended').write_text('')\n        raise SystemExit(3)\n"
    )
    code = f"""
import camrig, logging
logging.basicConfig(format="%(name)s %(levelname)s %(message)s")
left = {{"driver": "synthetic", "options": {{**{OPTIONS!r}, "paced": False}}}}
script = {{"kind": "python", "inputs": ["left"], "restart": {{"backoff_millis": 1}}, "options": {{"script": "script.py"}}}}
with camrig.Rig({{"camera": {{"left": left}}, "processor": {{"script": script}}}}, framesets=300) as rig:
    rig.wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=WATCHDOG
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^camrig WARNING .*script", done.stderr, re.M), done.stderr


# Versions of the texts themselves.
VERSIONS = {"camrig_status", "camrig_report"}


def check_fields(kind, data, path):
    """Compares the fields of a dataclass with an object of JSON, and those within."""
    fields = {it.metadata.get("key", it.name): it for it in dataclasses.fields(kind)}
    assert set(data) - VERSIONS <= set(fields), (path, set(data) - set(fields))
    for name, value in data.items():
        if name in VERSIONS or value is None:
            continue
        inner = fields[name].metadata.get("of")
        if inner is not None:
            for each in value if isinstance(value, list) else [value]:
                check_fields(inner, each, f"{path}.{name}")
            continue
        wanted = {float: (int, float)}.get(fields[name].type, fields[name].type)
        if isinstance(wanted, (type, tuple)) and wanted is not object:
            assert isinstance(value, wanted), (path, name, value)


def test_dataclasses_have_the_fields_of_the_status_and_of_the_report():
    rig = camrig.Rig(topology(paced=True, processor={"check": {"kind": "verify", "inputs": ["left"]}}))
    matches = rig.matches(window=0.017, clock="hardware", partial=True)
    with rig:
        next(matches)
        rig.set("left", exposure=5000)
        status = json.loads(rig._rig.status())
        matches.close()
        # A link and an actor that a change has ended.
        rig.apply(topology(paced=True))
        rig.close()
        report = json.loads(rig._rig.wait(None))
    assert status["matching"] and status["changes"] and report["matching"] and report["changes"]
    check_fields(camrig.RigStatus, status, "status")
    check_fields(camrig.Report, report, "report")
