"""Recordings of synthetic cameras, made once by the program that `CAMRIG` names."""

import os
import signal
import subprocess

import pytest

# A shell without job control starts its background processes with SIGINT ignored, which programs of the tests would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

TOPOLOGY = """
[camera.left]
driver = "synthetic"
options = { model = "any", depth = "64x48@30", color = "64x48@30", accel = 100, gyro = 200 }

[camera.right]
driver = "synthetic"
options = { model = "any", depth = "64x48@30", color = "64x48@30" }
"""

# The longest that a program may take, in seconds.
WATCHDOG = 120


# Before a command that may run without an end: the kernel kills it when this process has ended.
ENDS_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL"]


def program() -> str:
    return os.environ["CAMRIG"]


@pytest.fixture(scope="session")
def recording(tmp_path_factory):
    """A recording of 20 framesets of each of two cameras, raw; beside it, `jpeg.mcap` has JPEG and zstd."""
    folder = tmp_path_factory.mktemp("recording")
    (folder / "two.toml").write_text(TOPOLOGY)
    for name, arguments in [("rig", []), ("jpeg", ["--color", "jpeg", "--compression", "zstd"])]:
        command = [program(), "record", "two.toml", "-o", f"{name}.mcap", "--framesets", "20", *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=WATCHDOG)
    return folder / "rig.mcap"
