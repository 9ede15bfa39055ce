"""Measures the processor time of a reader for each frameset: `just bench-python`.

Compared are a reader in Rust, a script of the kind `python`, and a reader of `multiprocessing.shared_memory` that gets names
from a queue; each without any work on the pixels, and with a sum over all their bytes, eight at a time. Each runs twice, for
a short and a long time; the difference leaves out the start.
"""

import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np

CAMERAS = 6
PROFILE = os.environ.get("PROFILE", "1280x720@30")
SHORT, LONG = 5, 20
# Microseconds for each frameset more than the reader in Rust, and the share of the processor time of multiprocessing.
BAR_MORE, BAR_SHARE = 60, 1 / 5
EMPTY = "import numpy as np\ndef process(frames):\n    np.asarray(frames.depth), np.asarray(frames.color)\n"
SUM = """import numpy as np
def process(frames):
    for frame in frames.depth, frames.color:
        np.asarray(frame).reshape(-1).view(np.uint64).sum()
"""


def topology(table):
    names = [f"camera-{number}" for number in range(CAMERAS)]
    options = f'options = {{ model = "any", depth = "{PROFILE}", color = "{PROFILE}" }}'
    cameras = "".join(f'[camera.{name}]\ndriver = "synthetic"\nprocess = "cameras"\n{options}\n' for name in names)
    return f"{cameras}[processor.reader]\ninputs = {json.dumps(names)}\nqueue = 8\n{table}\n"


def camrig(table, seconds, script="", program="CAMRIG"):
    """Returns the processor time of the reader's process in seconds, its framesets, and the dropped ones."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rig.toml").write_text(topology(table))
        (Path(folder) / "script.py").write_text(script)
        command = [os.path.abspath(os.environ[program]), "run", "rig.toml", "--for", f"{seconds}s", "--report", "report.json"]
        environment = {**os.environ, "VIRTUAL_ENV": sys.prefix}
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        report = json.loads((Path(folder) / "report.json").read_text())
    process = next(it for it in report["processes"] if it["name"] == "reader")
    delivered = sum(link["delivered"] for link in report["links"])
    return process["cpu_seconds"], delivered, sum(sum(link["dropped"].values()) for link in report["links"])


def view(array):
    """Does nothing with it, like the script without a sum."""


def total(array):
    array.reshape(-1).view(np.uint64).sum()


def read(queue, done, use):
    """Calls `use` for the memories named by the queue until it gets `None`; answers with its processor time and the number of
    framesets."""
    memory, framesets = {}, 0
    while (item := queue.get()) is not None:
        name, shape = item
        if name not in memory:
            memory[name] = shared_memory.SharedMemory(name)
        array = np.ndarray(shape, np.uint8, memory[name].buf)
        use(array)
        del array
        framesets += 1
    used = resource.getrusage(resource.RUSAGE_SELF)
    done.put((used.ru_utime + used.ru_stime, framesets, 0))


def shared(seconds, use):
    width, height = map(int, PROFILE.partition("@")[0].split("x"))
    shape = (height, width, 5)
    rate = int(PROFILE.partition("@")[2]) * CAMERAS
    slots = [shared_memory.SharedMemory(create=True, size=width * height * 5) for _ in range(CAMERAS)]
    context = multiprocessing.get_context("spawn")
    queue, done = context.Queue(), context.Queue()
    reader = context.Process(target=read, args=(queue, done, use))
    reader.start()
    for number in range(seconds * rate):
        queue.put((slots[number % CAMERAS].name, shape))
        time.sleep(1 / rate)
    queue.put(None)
    found = done.get()
    reader.join()
    for slot in slots:
        slot.close()
        slot.unlink()
    return found


def main():
    python = 'kind = "python"\noptions = { script = "script.py" }'
    kinds = {
        "Rust": lambda seconds: camrig('kind = "stats"\noptions = { every_seconds = 0 }', seconds),
        "Python": lambda seconds: camrig(python, seconds, EMPTY),
        "Rust, a sum": lambda seconds: camrig('kind = "sum-bytes"', seconds, program="SUM_BYTES"),
        "Python, a sum": lambda seconds: camrig(python, seconds, SUM),
        "multiprocessing": lambda seconds: shared(seconds, view),
        "multiprocessing, a copy": lambda seconds: shared(seconds, np.copy),
        "multiprocessing, a sum": lambda seconds: shared(seconds, total),
    }
    print(f"{CAMERAS} cameras, color and depth {PROFILE}: processor time of the reader")
    found = {}
    for name, run in kinds.items():
        (short, few, _), (long, many, dropped) = run(SHORT), run(LONG)
        found[name] = (long - short) / (many - few) * 1e6
        print(f"{name:24} {found[name]:6.1f} us per frameset, {many} framesets, {dropped} dropped", flush=True)
    for what, value, bar in [
        ("us more than Rust", found["Python"] - found["Rust"], BAR_MORE),
        ("us more than Rust with a sum", found["Python, a sum"] - found["Rust, a sum"], BAR_MORE),
        ("of multiprocessing with a copy", found["Python"] / found["multiprocessing, a copy"], BAR_SHARE),
    ]:
        print(f"Python takes {value:.2f} {what}, which {'reaches' if value <= bar else 'misses'} {bar}")


if __name__ == "__main__":
    main()
