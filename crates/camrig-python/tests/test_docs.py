"""The Python blocks of the book, word for word."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import WATCHDOG

CHAPTER = Path(__file__).parents[3] / "docs/src/python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", CHAPTER.read_text(), re.M | re.S)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs(block, recording):
    command = [sys.executable, "-W", "error", "-c", block]
    found = subprocess.run(command, cwd=recording.parent, capture_output=True, text=True, timeout=WATCHDOG)
    assert (found.returncode, found.stderr) == (0, ""), block


def test_the_chapter_has_blocks():
    assert len(BLOCKS) >= 2
