"""Loops over framesets of a rig that `camrig run` runs."""

import json
import os
import signal
import subprocess
import sys
import time

import camrig
import numpy as np
import pytest
from conftest import ENDS_WITH_PARENT, TOPOLOGY, WATCHDOG, program

STATS = '[processor.stats]\nkind = "stats"\ninputs = ["left", "right"]\noverflow = "block"\n'


def wait_until(fact):
    until = time.monotonic() + WATCHDOG
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
def running(tmp_path, monkeypatch):
    """A rig of two cameras with a reader that must lose nothing."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    (tmp_path / "attached.toml").write_text(TOPOLOGY + STATS)
    shared = set(os.listdir("/dev/shm"))
    command = [*ENDS_WITH_PARENT, program(), "run", "attached.toml", "--report", "report.json"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def runs():
        assert process.poll() is None, process.communicate()
        try:
            return camrig.attach(process.pid).status().seconds > 0
        except camrig.CamrigError:
            return False

    wait_until(runs)
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=WATCHDOG)
    assert set(os.listdir("/dev/shm")) <= shared and list(temporary.iterdir()) == []
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["exit"] == "stopped as asked" and report["problems"] == []
    for link in report["links"]:
        assert link["produced"] == link["delivered"] + sum(link["dropped"].values()) + link["in_flight"], link
        if link["to"] == "stats":
            assert link["dropped"] == {}, link
    for actor in report["actors"]:
        assert actor["restarts"] == 0 and (actor["errors"] == [] or actor["name"].startswith("loop")), actor


def children(pid):
    found = set()
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found |= set(file.read().split())
        except OSError:
            pass
    return found


def processors(rig):
    return [it.name for it in rig.status().actors if it.role == "processor"]


def test_a_program_attaches_without_copies_and_leaves_without_a_trace(running):
    descriptors = len(os.listdir("/proc/self/fd"))
    with camrig.attach("attached") as rig:
        before = rig.status()
        assert before.pid == running.pid and "[camera.left" in rig.topology
        loop = rig.frames("left")
        assert processors(rig) == ["stats", loop.name]
        for _, frames in zip(range(5), loop):
            depth = np.asarray(frames.depth)
            place = depth.__array_interface__["data"][0]
            with open("/proc/self/maps") as maps:
                lines = [line.split() for line in maps]
            (line,) = [it for it in lines if int(it[0].split("-")[0], 16) <= place < int(it[0].split("-")[1], 16)]
            assert frames.camera == "left" and depth.shape == (48, 64)
            assert line[1] == "r--s" and "memfd:" in line[5]
        match = next(rig.matches(window=0.02, clock="hardware", partial=True))
        assert set(match.cameras) <= {"left", "right"}
        assert "exposure" in rig.controls("left") and rig.set("left", exposure=5000) == {"exposure": 5000}
        del frames, depth, match
    with pytest.raises(StopIteration):
        next(loop)
    # It has a descriptor for event loops.
    del loop
    with camrig.attach(running.pid) as rig:
        after = rig.status()
    assert [it.name for it in after.actors] == [it.name for it in before.actors] == ["left", "right", "stats"]
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)


def test_a_slow_loop_drops_and_counts(running):
    with camrig.attach(running.pid) as rig:
        loop, seen = rig.frames("left", queue=1), []
        wait_until(lambda: rig.status().link("left", loop.name).dropped_sum > 3)
        for _, frames in zip(range(3), loop):
            seen.append(frames.sequence)
        link = rig.status().link("left", loop.name)
        assert seen == sorted(set(seen)) and link.dropped_sum > 3
        assert link.produced == link.delivered + link.dropped_sum + link.in_flight


LOOP = """
import camrig
with camrig.attach("PID") as rig:
    for frames in rig.frames():
        print(frames.camera, flush=True)
"""


def attached_program(running):
    code = LOOP.replace("PID", str(running.pid))
    command = [*ENDS_WITH_PARENT, sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() in ("left\n", "right\n")
    return process


def wait_for_progress(rig):
    produced = rig.status().actor("left").produced
    wait_until(lambda: rig.status().actor("left").produced > produced + 3)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSEGV, signal.SIGINT])
def test_the_end_of_an_attached_program_costs_the_rig_nothing(running, end):
    process = attached_program(running)
    process.send_signal(end)
    process.communicate(timeout=WATCHDOG)
    assert process.returncode == -end
    with camrig.attach(running.pid) as rig:
        wait_until(lambda: processors(rig) == ["stats"])
        wait_for_progress(rig)
        wait_until(lambda: len(children(running.pid)) == 3)


def test_an_attached_program_that_is_stopped_costs_the_rig_nothing(running):
    process = attached_program(running)
    process.send_signal(signal.SIGSTOP)
    with camrig.attach(running.pid) as rig:
        wait_until(lambda: rig.status().link("left", "loop").dropped_sum > 5)
        wait_for_progress(rig)
        process.send_signal(signal.SIGCONT)
        delivered = rig.status().link("left", "loop").delivered
        wait_until(lambda: rig.status().link("left", "loop").delivered > delivered)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WATCHDOG)
        wait_until(lambda: processors(rig) == ["stats"])


@pytest.mark.parametrize("what", ["removed", "ended"])
def test_a_loop_that_does_not_go_on_can_be_removed_and_delays_no_end(running, what):
    process = attached_program(running)
    process.send_signal(signal.SIGSTOP)
    if what == "removed":
        done = subprocess.run([program(), "remove", "loop", "--rig", str(running.pid)], timeout=WATCHDOG)
        assert done.returncode == 0
    else:
        running.send_signal(signal.SIGINT)
        # The fixture checks its report.
        wait_until(lambda: running.poll() is not None)
    process.send_signal(signal.SIGCONT)
    # Its loop ends in order.
    assert process.communicate(timeout=WATCHDOG)[1] == ""
    assert process.returncode == 0


def test_the_end_of_the_worker_of_a_loop_costs_nothing(running):
    with camrig.attach(running.pid) as rig:
        loop = rig.frames("left")
        next(loop)
        (worker,) = [it.pid for it in rig.status().processes if it.name == loop.name]
        os.kill(worker, signal.SIGKILL)
        assert [frames.camera for _, frames in zip(range(10), loop)] == ["left"] * 10
        loop.close()
        wait_until(lambda: processors(rig) == ["stats"])
        wait_until(lambda: len(children(running.pid)) == 3)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_rig_ends_the_loop(running, tmp_path, end):
    rig = camrig.attach(running.pid)
    loop = rig.frames("left")
    next(loop)
    running.send_signal(signal.SIGINT if end == signal.SIGINT else signal.SIGKILL)
    assert all(frames.camera == "left" for frames in loop)
    rig.close()
    wait_until(lambda: running.poll() is not None)
    with pytest.raises(camrig.CamrigError, match="the rig cannot be asked: "):
        rig.status()
    if end == signal.SIGKILL:
        # The fixture checks a report, which a killed rig does not write.
        running.wait(WATCHDOG)
        (tmp_path / "report.json").write_text('{"exit": "stopped as asked", "problems": [], "links": [], "actors": []}')


def test_a_rig_that_is_not_found_is_named(running):
    with pytest.raises(camrig.CamrigError, match="no running rig has the name or process ID `nothing`"):
        camrig.attach("nothing")
    with camrig.attach(running.pid) as rig:
        with pytest.raises(camrig.CamrigError, match="rear"):
            rig.set("rear", exposure=1)
        with pytest.raises(camrig.CamrigError, match="unknown actor `rear`"):
            rig.frames("rear")
        assert processors(rig) == ["stats"]
