"""Measures how long the arrays of all frames of a recording take, for `camrig.open` and for a script over mcap and OpenCV:
`just bench-recordings`. Needs mcap, mcap-protobuf-support, mcap-ros2-support and opencv-python-headless.

The script reads with and without the checksums of chunks, which `camrig.open` always compares. Each reads in a process of its own,
in turns; the arrays are compared first.
"""

import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BAR = 5.0
ROUNDS = 5
FRAMESETS = 150
SIZE = "848x480@30"
# Options of the recorder.
KINDS = {"raw": {}, "lz4": {"compression": "lz4"}, "zstd": {"compression": "zstd"}, "jpeg": {"color": "jpeg"}}


def ours(recording):
    import camrig

    for frames in camrig.open(recording):
        yield frames.camera, "depth", np.asarray(frames.depth)
        yield frames.camera, "color", np.asarray(frames.color)


def theirs(recording, compares=False):
    """Reads the arrays as a user of mcap and OpenCV would, who `compares` checksums or not."""
    import cv2
    from mcap.reader import make_reader
    from mcap_protobuf.decoder import DecoderFactory
    from mcap_ros2.decoder import DecoderFactory as RosDecoderFactory

    topics = [f"/{camera}/{stream}/image" for camera in ("left", "right") for stream in ("depth", "color")]
    with open(recording, "rb") as file:
        factories = [DecoderFactory(), RosDecoderFactory()]
        reader = make_reader(file, validate_crcs=compares, decoder_factories=factories)
        for _, channel, _, decoded in reader.iter_decoded_messages(topics=topics):
            _, camera, stream, _ = channel.topic.split("/")
            if channel.message_encoding == "protobuf" and decoded.DESCRIPTOR.name == "CompressedImage":
                array = cv2.imdecode(np.frombuffer(decoded.data, np.uint8), cv2.IMREAD_COLOR_RGB)
            else:
                data = np.frombuffer(decoded.data, np.uint16 if stream == "depth" else np.uint8)
                array = data.reshape(decoded.height, decoded.width, -1)
            yield camera, stream, array.squeeze()


READERS = {"camrig": ours, "script": theirs, "script with checksums": lambda recording: theirs(recording, compares=True)}
# The time of their imports, which the script spends beforehand, is not measured: it matters for short recordings only.
SCRIPT_MODULES = ["cv2", "mcap.reader", "mcap_protobuf.decoder", "mcap_ros2.decoder"]
MODULES = {"camrig": ["camrig", "camrig._arrays"], "script": SCRIPT_MODULES, "script with checksums": SCRIPT_MODULES}


def read(reader, recording):
    """Prints the seconds by the clock and of processor time that the arrays of all frames take."""
    for module in MODULES[reader]:
        importlib.import_module(module)
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    for _, _, array in READERS[reader](recording):
        assert array.size
    after = resource.getrusage(resource.RUSAGE_SELF)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps([time.monotonic() - began, processor]))


def measured(reader, recording):
    found = subprocess.run([sys.executable, __file__, reader, recording], check=True, capture_output=True, text=True)
    return json.loads(found.stdout)


def compare(recording, tolerance):
    """Checks that all readers have the same arrays; those of JPEG differ by the rounding of the decoders. Returns the
    number of framesets."""
    arrays = []
    for reader in READERS.values():
        found = {}
        for camera, stream, array in reader(recording):
            found.setdefault((camera, stream), []).append(array)
        arrays.append(found)
    mine, *others = arrays
    for other in others:
        assert mine.keys() == other.keys() and len(mine) == 4
        for key, found in mine.items():
            assert len(found) == len(other[key]) > FRAMESETS / 2, key
            for one, two in zip(found, other[key]):
                difference = np.abs(one.astype(np.int32) - two.astype(np.int32))
                assert one.shape == two.shape and difference.mean() <= tolerance, (key, difference.mean())
    # Cameras that are not paced may lose framesets at their start.
    return sum(map(len, mine.values())) // 2


def topology(options):
    """Returns a rig whose recorder gets every frameset."""
    camera = {"model": "any", "depth": SIZE, "color": SIZE, "paced": False}
    tables = {"camera.left": {"driver": "synthetic", "options": camera}, "camera.right": {"driver": "synthetic", "options": camera}}
    recorder = {"kind": "record", "inputs": ["left", "right"], "overflow": "block"}
    tables["processor.recorder"] = {**recorder, "options": {"file": "rig.mcap", **options}}
    return "".join(f"[{name}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in table.items()) for name, table in tables.items())


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def main():
    program = os.path.abspath(os.environ["CAMRIG"])
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        os.chdir(folder)
        print(f"arrays of {FRAMESETS} framesets of two cameras, color and depth {SIZE}, medians of {ROUNDS} rounds")
        for kind, options in KINDS.items():
            Path("rig.toml").write_text(topology(options))
            subprocess.run([program, "run", "rig.toml", "--framesets", str(FRAMESETS)], check=True, capture_output=True)
            count = compare("rig.mcap", 1.0 if kind == "jpeg" else 0)
            times = [[measured(reader, "rig.mcap") for reader in READERS] for _ in range(ROUNDS)]
            for at, what in enumerate(["by the clock", "in processor time"]):
                millis = [statistics.median(row[which][at] for row in times) / count * 1e3 for which in range(len(READERS))]
                print(f"{kind:4} {what:17}: camrig {millis[0]:5.2f} ms a frameset", end="")
                for which, name in enumerate(READERS):
                    if which > 0:
                        ratio = statistics.median(row[which][at] / row[0][at] for row in times)
                        met = "reaches" if ratio >= BAR else "misses"
                        print(f"; {name} {millis[which]:5.2f} ms: {ratio:.1f} times, which {met} {BAR:.0f}", end="")
                print(flush=True)
            Path("rig.mcap").unlink()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        read(*sys.argv[1:])
    else:
        main()
