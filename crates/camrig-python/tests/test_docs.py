"""The Python blocks of the book, word for word."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TOPOLOGY, WATCHDOG, program

CHAPTER = Path(__file__).parents[3] / "docs/src/python.md"
SCRIPTS = re.findall(r"^```python,script:(\S+)\n(.*?)^```$", CHAPTER.read_text(), re.M | re.S)
BLOCKS = re.findall(r"^```python\n(.*?)^```$", CHAPTER.read_text(), re.M | re.S)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block, recording):
    command = [sys.executable, "-W", "error", "-c", block]
    found = subprocess.run(command, cwd=recording.parent, capture_output=True, text=True, timeout=WATCHDOG)
    # A change of a running rig is logged.
    said = [line for line in found.stderr.splitlines() if " changes the rig: set camera `left`: " not in line]
    assert (found.returncode, said) == (0, []), found.stderr


@pytest.mark.parametrize(("name", "script"), SCRIPTS)
def test_a_script_of_the_chapter_runs(name, script, tmp_path):
    (tmp_path / name).write_text(script)
    table = re.search(r"^```toml,syntax\n(\[processor.*?)^```$", CHAPTER.read_text(), re.M | re.S)[1]
    stats = '[processor.stats]\nkind = "stats"\ninputs = ["detect"]\n'
    (tmp_path / "rig.toml").write_text(f"{TOPOLOGY}\n{table}\n{stats}")
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix}
    command = [program(), "run", "rig.toml", "--framesets", "20"]
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=WATCHDOG)
    assert (found.returncode, found.stderr) == (0, ""), found
    assert re.search(r"^stats: left +\S+ Hz +[0-9]+ framesets$", found.stdout, re.M), found.stdout


def test_the_chapter_has_blocks():
    assert len(BLOCKS) >= 2 and len(SCRIPTS) == 1
