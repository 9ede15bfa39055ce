"""The Python blocks of the book, word for word."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import camrig
import pytest
from conftest import ENDS_WITH_PARENT, TOPOLOGY, WATCHDOG, program

CHAPTER = Path(__file__).parents[3] / "docs/src/python.md"
SCRIPTS = re.findall(r"^```python,script:(\S+)\n(.*?)^```$", CHAPTER.read_text(), re.M | re.S)
BLOCKS = re.findall(r"^```python\n(.*?)^```$", CHAPTER.read_text(), re.M | re.S)
ATTACHING = re.findall(r"^```python,rig:lab\n(.*?)^```$", CHAPTER.read_text(), re.M | re.S)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block, recording):
    command = [sys.executable, "-W", "error", "-c", block]
    found = subprocess.run(command, cwd=recording.parent, capture_output=True, text=True, timeout=WATCHDOG)
    assert (found.returncode, found.stderr) == (0, "")


def table_with(script):
    tables = re.findall(r"^```toml,syntax\n(.*?)^```$", CHAPTER.read_text(), re.M | re.S)
    return next(table for table in tables if f'script = "{script}"' in table)


@pytest.mark.parametrize(
    ("name", "camera", "printed"), [("detect.py", "left", "detect"), ("camera.py", "ramp", "ramp")]
)
def test_a_script_of_the_chapter_runs(name, camera, printed, tmp_path):
    (tmp_path / name).write_text(dict(SCRIPTS)[name])
    stats = f'[processor.stats]\nkind = "stats"\ninputs = ["{printed}"]\n'
    (tmp_path / "rig.toml").write_text(f"{TOPOLOGY}\n{table_with(name)}\n{stats}")
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix}
    command = [program(), "run", "rig.toml", "--framesets", "20"]
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=WATCHDOG)
    # A slow machine drops framesets, which the program says.
    assert found.returncode == 0 and re.fullmatch(r"(rig\.toml: ended after .* dropped .*\n)?", found.stderr), found
    assert re.search(rf"^stats: {camera} +\S+ Hz +[0-9]+ framesets\b", found.stdout, re.M), found.stdout


def test_a_program_attaches_as_in_the_chapter(tmp_path):
    (block,) = ATTACHING
    (tmp_path / "lab.toml").write_text(TOPOLOGY)
    command = [*ENDS_WITH_PARENT, program(), "run", "lab.toml", "--report", "report.json"]
    rig = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + WATCHDOG
        while not runs(rig.pid):
            assert time.monotonic() < until and rig.poll() is None
            time.sleep(0.02)
        command = [sys.executable, "-W", "error", "-c", block]
        found = subprocess.run(command, capture_output=True, text=True, timeout=WATCHDOG)
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.endswith("{'exposure': 5000.0}\n")
    finally:
        rig.send_signal(signal.SIGINT)
        rig.wait(WATCHDOG)
    assert json.loads((tmp_path / "report.json").read_text())["exit"] == "stopped as asked"


def runs(pid):
    try:
        return camrig.attach(pid).status().seconds > 0
    except camrig.CamrigError:
        return False


def test_every_block_of_python_is_one_of_these():
    # The first lines of all fenced blocks of the book and of README that begin with this language.
    documents = [CHAPTER.parents[2] / "README.md", *CHAPTER.parent.glob("*.md")]
    fences = [line for it in documents for line in re.findall(r"^ *```(?:python|py)\b.*$", it.read_text(), re.M)]
    assert sorted(fences) == sorted(
        ["```python"] * len(BLOCKS) + [f"```python,script:{name}" for name, _ in SCRIPTS] + ["```python,rig:lab"]
    )
    assert len(BLOCKS) >= 2 and len(SCRIPTS) == 2
