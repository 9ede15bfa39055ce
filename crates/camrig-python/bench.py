"""Measures the processor time of a reader for each frameset, without any work on the pixels: `just bench-python`.

Compared are a reader in Rust (`stats`), a script of the kind `python`, and a reader of `multiprocessing.shared_memory` that
gets names from a queue. Each runs twice, for a short and a long time; the difference leaves out the start.
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
SCRIPT = "import numpy as np\ndef process(frames):\n    np.asarray(frames.depth), np.asarray(frames.color)\n"


def topology(table):
    names = [f"camera-{number}" for number in range(CAMERAS)]
    options = f'options = {{ model = "any", depth = "{PROFILE}", color = "{PROFILE}" }}'
    cameras = "".join(f'[camera.{name}]\ndriver = "synthetic"\nprocess = "cameras"\n{options}\n' for name in names)
    return f"{cameras}[processor.reader]\ninputs = {json.dumps(names)}\nqueue = 8\n{table}\n"


def camrig(table, seconds):
    """Returns the processor time of the reader's process in seconds, its framesets, and the dropped ones."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rig.toml").write_text(topology(table))
        (Path(folder) / "empty.py").write_text(SCRIPT)
        command = [os.path.abspath(os.environ["CAMRIG"]), "run", "rig.toml", "--for", f"{seconds}s", "--report", "report.json"]
        environment = {**os.environ, "VIRTUAL_ENV": sys.prefix}
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        report = json.loads((Path(folder) / "report.json").read_text())
    process = next(it for it in report["processes"] if it["name"] == "reader")
    delivered = sum(link["delivered"] for link in report["links"])
    return process["cpu_seconds"], delivered, sum(sum(link["dropped"].values()) for link in report["links"])


def read(queue, done, copies):
    """Reads the memories named by the queue until it gets `None`; answers with its processor time and the number of framesets."""
    memory, framesets = {}, 0
    while (item := queue.get()) is not None:
        name, shape = item
        if name not in memory:
            memory[name] = shared_memory.SharedMemory(name)
        array = np.ndarray(shape, np.uint8, memory[name].buf)
        if copies:
            array.copy()
        del array
        framesets += 1
    used = resource.getrusage(resource.RUSAGE_SELF)
    done.put((used.ru_utime + used.ru_stime, framesets, 0))


def shared(seconds, copies):
    width, height = map(int, PROFILE.partition("@")[0].split("x"))
    shape = (height, width, 5)
    rate = int(PROFILE.partition("@")[2]) * CAMERAS
    slots = [shared_memory.SharedMemory(create=True, size=width * height * 5) for _ in range(CAMERAS)]
    context = multiprocessing.get_context("spawn")
    queue, done = context.Queue(), context.Queue()
    reader = context.Process(target=read, args=(queue, done, copies))
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
    kinds = {
        "camrig, Rust": lambda seconds: camrig('kind = "stats"\noptions = { every_seconds = 0 }', seconds),
        "camrig, Python": lambda seconds: camrig('kind = "python"\noptions = { script = "empty.py" }', seconds),
        "multiprocessing, a view": lambda seconds: shared(seconds, False),
        "multiprocessing, a copy": lambda seconds: shared(seconds, True),
    }
    print(f"{CAMERAS} cameras, color and depth {PROFILE}: processor time of the reader")
    found = []
    for name, run in kinds.items():
        (short, few, _), (long, many, dropped) = run(SHORT), run(LONG)
        micros = (long - short) / (many - few) * 1e6
        found.append(micros)
        print(f"{name:24} {micros:6.1f} us per frameset, {many} framesets, {dropped} dropped", flush=True)
    rust, python, _, copy = found
    for what, value, bar in [("us more than Rust", python - rust, BAR_MORE), ("of multiprocessing", python / copy, BAR_SHARE)]:
        print(f"Python takes {value:.2f} {what}, which {'reaches' if value <= bar else 'misses'} {bar}")


if __name__ == "__main__":
    main()
