"""Data sets for LeRobot, without LeRobot: the calls of its writer. `tools.py` has the tests with LeRobot."""

import json
import subprocess
import sys

import camrig
import numpy as np
import pytest
from camrig import lerobot
from conftest import WATCHDOG


class Dataset:
    """Records the calls of a writer."""

    def __init__(self, arguments):
        self.arguments, self.frames, self.episodes, self.finalized = arguments, [], [], False
        (arguments["root"] / "meta").mkdir(parents=True)

    def add_frame(self, frame):
        self.frames.append(frame)

    def save_episode(self, parallel_encoding):
        assert not parallel_encoding
        self.episodes.append(self.frames)
        self.frames = []

    def finalize(self):
        self.finalized = not self.frames


def converted(files, output, **options):
    """Returns the written frames, and the lines."""
    made = []

    class Class:
        @staticmethod
        def create(**arguments):
            made.append(Dataset(arguments))
            return made[-1]

    lines = list(lerobot.convert(files, output, Class, **options))
    (dataset,) = made
    return dataset, lines


def test_a_frame_has_the_arrays_of_a_match(recording, tmp_path):
    output = tmp_path / "set"
    dataset, lines = converted([recording], output, task="look")
    video = {"dtype": "video", "names": ["height", "width", "channels"]}
    color, depth = {**video, "shape": (48, 64, 3)}, {**video, "shape": (48, 64, 1), "info": {"is_depth_map": True}}
    assert dataset.arguments == {
        "repo_id": "camrig/set",
        "fps": 30,
        "root": output,
        "features": {
            "observation.images.left": color,
            "observation.images.left_depth": depth,
            "observation.images.right": color,
            "observation.images.right_depth": depth,
            "camrig.seconds": {"dtype": "float64", "shape": (1,), "names": None},
        },
        "use_videos": True,
        "image_writer_threads": 4,
    }
    opened = camrig.open(recording)
    matches = list(opened.matches(window=0.5 / 30))
    expected = [[]]
    for before, match in zip([None, *matches], matches):
        if before and match["left"].timestamp_nanos - before["left"].timestamp_nanos > 50_000_000:
            expected.append([])
        expected[-1].append(match)
    assert [len(episode) for episode in dataset.episodes] == [len(episode) for episode in expected]
    assert dataset.finalized and lines == ["left out: left/accel, left/gyro"] + [
        f"episode {number}: {len(episode)} frames of rig.mcap" for number, episode in enumerate(expected)
    ]
    for frame, match in zip(sum(dataset.episodes, []), matches):
        assert frame.pop("task") == "look"
        assert frame.keys() == dataset.arguments["features"].keys()
        seconds = (match["left"].arrived_nanos - opened.began_nanos) * 1e-9
        assert frame["camrig.seconds"].dtype == np.float64 and frame["camrig.seconds"] == [seconds]
        for camera in ["left", "right"]:
            assert (frame[f"observation.images.{camera}"] == match[camera].color.rgb()).all()
            meters = frame[f"observation.images.{camera}_depth"]
            assert meters.dtype == np.float32 and (meters[:, :, 0] == match[camera].depth.meters()).all()
    (described,) = json.loads((output / "meta/camrig.json").read_text())["recordings"]
    assert (described["file"], described["episodes"]) == ("rig.mcap", list(range(len(expected))))
    left = described["cameras"]["left"]
    assert left["depth_unit_meters"] == opened.cameras["left"].depth_unit_meters
    assert left["streams"]["depth"]["intrinsics"] == opened.cameras["left"].intrinsics("depth").tolist()
    assert left["streams"]["gyro"]["intrinsics"] is None


LATE = """
import camrig
class Late(camrig.Driver):
    def open(self):
        self.number = 0
        streams = [("color", "rgb8", (4, 4)), ("depth", "z16", (4, 4)), ("infrared-1", "y8", (4, 4))]
        return [camrig.Stream(name, form, shape, 30) for name, form, shape in streams]
    def capture(self, out):
        made = out.create("depth") if self.number == 0 else out.create("depth", "color")
        for name in ["depth", "color"][: self.number + 1]:
            made[name][:] = self.number
        out.publish(made)
        self.number += 1
        return self.number < 5
"""


def test_streams_that_the_first_frameset_lacks_are_written(tmp_path):
    (tmp_path / "late.py").write_text(LATE)
    late = {"driver": "python", "options": {"script": tmp_path / "late.py"}}
    record = {"kind": "record", "inputs": ["late"], "overflow": "block", "options": {"file": tmp_path / "rig.mcap"}}
    with camrig.Rig({"camera": {"late": late}, "processor": {"record": record}}) as rig:
        rig.wait()
    recording = camrig.open(tmp_path / "rig.mcap")
    assert recording[0].streams == ["depth"] and len(recording) == 5
    features, left_out = lerobot.features_of(recording)
    assert [feature.name for feature in features] == ["observation.images.late", "observation.images.late_depth"]
    assert left_out == ["late/infrared-1"]
    # The order is that of the streams, in whichever order they came.
    assert lerobot.features_of(recording[1:])[0] == features


def test_a_gap_begins_an_episode(recording):
    left = camrig.open(recording)["left"]
    features, _ = lerobot.features_of(left)
    times = [frames.timestamp_nanos for frames in left]
    for part, step in [(left, 1), (left[::2], 2), (left[::3], 3)]:
        begins = [begins for begins, _ in lerobot.rows_of(part, features, 0.01, 1 / 30)]
        steps = np.diff(times[::step])
        assert begins == [True, *(steps > 50_000_000)] and (step == 1 or all(begins)), step


def test_recordings_become_episodes_of_one_data_set(recording, tmp_path):
    dataset, lines = converted([recording, recording.with_name("jpeg.mcap")], tmp_path / "set", cameras=["right"], images=True)
    assert [line.split(" of ")[1] for line in lines] == sorted([line.split(" of ")[1] for line in lines], reverse=True)
    assert {name: it["dtype"] for name, it in dataset.arguments["features"].items()} == {
        "observation.images.right": "image",
        "observation.images.right_depth": "image",
        "camrig.seconds": "float64",
    }
    assert not dataset.arguments["use_videos"] and len(sum(dataset.episodes, [])) == 40
    files = json.loads((tmp_path / "set/meta/camrig.json").read_text())["recordings"]
    assert [it["file"] for it in files] == ["rig.mcap", "jpeg.mcap"]
    assert sum((it["episodes"] for it in files), []) == list(range(len(dataset.episodes)))


def test_what_cannot_be_written_is_refused(recording, tmp_path):
    for options, message in [
        ({"window": 0.0, "cameras": ["left", "right"]}, "no match has a frameset of each camera"),
        ({"window": 1e-9, "cameras": ["left", "right"]}, "no match has a frameset of each camera"),
        ({"cameras": ["rear"]}, "has no camera `rear`; it has: `left`, `right`"),
    ]:
        with pytest.raises((lerobot.Refused, LookupError), match=message):
            list(lerobot.convert([recording], tmp_path / "set", Dataset, **options))
    assert not (tmp_path / "set").exists()


def test_a_missing_lerobot_is_named(recording, tmp_path):
    for output, message in [
        (tmp_path, f"`{tmp_path}` exists; the folder of a data set must not"),
        (
            tmp_path / "set",
            "LeRobot is missing (No module named 'lerobot'): `pip install 'camrig[lerobot]'`, with Python 3.12 or later",
        ),
    ]:
        command = [sys.executable, "-m", "camrig.lerobot", recording, "-o", output]
        found = subprocess.run(command, capture_output=True, text=True, timeout=WATCHDOG)
        assert (found.returncode, found.stdout, found.stderr) == (1, "", f"error: {message}\n")
