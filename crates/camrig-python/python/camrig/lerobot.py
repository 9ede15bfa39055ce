"""Writes recordings as a data set of LeRobot, by LeRobot's own writer: `python -m camrig.lerobot rig.mcap -o dataset`.

It needs the extra `camrig[lerobot]`. Every match of a recording, one frameset of each camera, becomes a frame of the data set:

* `observation.images.left` is the stream `color` of the camera `left`, `observation.images.left_infrared_1` another one
* `observation.images.left_depth` is depth in metres, (height, width, 1), marked as a depth map for LeRobot
* `observation.left_boxes` is the tensor `boxes`, as its producer declares it
* `camrig.seconds` is the time since the start of its recording, in seconds

LeRobot's times are those of a constant rate, so a gap begins another episode. `meta/camrig.json` has the calibration.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import camrig

#: A step between matches of more periods than this begins another episode.
GAP_PERIODS = 1.5

#: Framesets of a camera among which the first frame of each of its streams is.
FIRST_MAX = 300

#: Threads that write images.
WRITER_THREADS = 4

SECONDS = "camrig.seconds"


class Refused(Exception):
    """A recording that cannot become a data set: one line."""


@dataclass(frozen=True)
class Feature:
    """A stream of a camera, and the feature that it becomes."""

    camera: str
    stream: str
    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]

    def declared(self, images: bool) -> dict[str, Any]:
        """Returns the feature as LeRobot declares it."""
        if self.kind == "tensor":
            return {"dtype": self.dtype, "shape": self.shape, "names": None}
        found: dict[str, Any] = {
            "dtype": "image" if images else "video",
            "shape": self.shape,
            "names": ["height", "width", "channels"],
        }
        if self.kind == "depth":
            # LeRobot takes floating point as metres, and writes the unit beside this mark.
            found["info"] = {"is_depth_map": True}
        return found

    def value(self, frames: camrig.FrameSet) -> np.ndarray[Any, Any]:
        frame = frames[self.stream]
        if self.kind == "tensor":
            return frame.copy()
        if self.kind == "depth":
            return frame.meters()[:, :, np.newaxis]
        return frame.rgb()


def feature_of(camera: str, frame: camrig.Frame) -> Feature | None:
    """Returns the feature of a stream; `None` for points, motion, messages and encoded images."""
    name = re.sub(r"\W", "_", camera if frame.stream == "color" else f"{camera}_{frame.stream}")
    if frame.format.startswith("tensor-"):
        array = np.asarray(frame)
        shape = array.shape or (1,)
        return Feature(camera, frame.stream, f"observation.{name}", "tensor", array.dtype.name, shape)
    kind = {"light": "color", "depth": "depth"}.get(frame.role)
    if kind is None or frame.height == 0:
        return None
    shape = (frame.height, frame.width, 3 if kind == "color" else 1)
    made = Feature(camera, frame.stream, f"observation.images.{name}", kind, "", shape)
    try:
        frame.rgb() if kind == "color" else frame.meters()
    except camrig.CamrigError:
        return None
    return made


def first_frames_of(recording: camrig.Recording, camera: str) -> dict[str, camrig.Frame]:
    """Returns the first frame of each stream of a camera: the first frameset may lack some."""
    declared = recording.cameras[camera].streams
    found: dict[str, camrig.Frame] = {}
    for frames in recording[camera][:FIRST_MAX]:
        for frame in frames:
            found.setdefault(frame.stream, frame)
        if found.keys() >= set(declared):
            break
    # In the same order for each recording.
    return {stream: found[stream] for stream in [*declared, *sorted(found.keys() - declared)] if stream in found}


def features_of(recording: camrig.Recording) -> tuple[list[Feature], list[str]]:
    """Returns the features of the cameras of a recording, by the first frame of each stream, and the streams that are left out."""
    features: list[Feature] = []
    left_out = []
    for camera in recording.cameras:
        frames = first_frames_of(recording, camera)
        left_out += [f"{camera}/{stream}" for stream in recording.cameras[camera].streams if frames and stream not in frames]
        for frame in frames.values():
            feature = feature_of(camera, frame)
            if feature is None:
                left_out.append(f"{camera}/{frame.stream}")
            elif any(known.name == feature.name for known in features):
                raise Refused(f"`{camera}/{frame.stream}` and another stream would both become `{feature.name}`")
            else:
                features.append(feature)
    return features, left_out


def rate_of(recording: camrig.Recording, features: Sequence[Feature]) -> int:
    """Returns the frames per second of matches: those of the slowest camera."""
    rates = {}
    for feature in features:
        camera = recording.cameras[feature.camera]
        if feature.stream in camera.streams and camera.rate(feature.stream) > 0:
            rates[feature.camera] = max(rates.get(feature.camera, 0), camera.rate(feature.stream))
    if not rates:
        raise Refused(f"`{recording.path}` has no stream of images with a rate")
    return min(rates.values())


def rows_of(
    recording: camrig.Recording, features: Sequence[Feature], window: float, period: float
) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Iterates over the frames of a recording, each with whether it begins an episode."""
    cameras = sorted({feature.camera for feature in features})
    before = None
    for match in recording[tuple(cameras)].matches(window=window):
        framesets = {camera: match[camera] for camera in cameras}
        if any(feature.stream not in framesets[feature.camera] for feature in features):
            continue
        first = framesets[cameras[0]]
        at = (first.timestamp_nanos or 0) * 1e-9
        begins = before is None or not 0 < at - before <= GAP_PERIODS * period
        before = at
        row = {feature.name: feature.value(framesets[feature.camera]) for feature in features}
        seconds = ((first.arrived_nanos or 0) - recording.began_nanos) * 1e-9
        yield begins, {**row, SECONDS: np.array([seconds], np.float64)}


def calibration_of(camera: camrig.Camera) -> dict[str, Any]:
    """Returns a camera as JSON: identity, depth unit, and the known intrinsics and pose of each stream."""
    streams = {}
    for stream in camera.streams:
        of_stream = {
            "distortion_model": lambda: camera.distortion_model(stream),
            "intrinsics": lambda: camera.intrinsics(stream).tolist(),
            "distortion": lambda: camera.distortion(stream).tolist(),
            "to_depth": lambda: camera.to_depth(stream).tolist(),
        }
        streams[stream] = {name: known(value) for name, value in of_stream.items()}
    return {
        "driver": camera.driver,
        "model": camera.model,
        "serial": camera.serial,
        "depth_unit_meters": camera.depth_unit_meters,
        "streams": streams,
    }


def known(value: Callable[[], Any]) -> Any:
    try:
        return value()
    except camrig.CamrigError:
        return None


def convert(
    files: Sequence[Path],
    output: Path,
    dataset: Any,
    *,
    task: str = "",
    cameras: Sequence[str] = (),
    window: float | None = None,
    images: bool = False,
    repo_id: str | None = None,
) -> Iterator[str]:
    """Writes a data set by the class `dataset`, LeRobot's `LeRobotDataset`. Returns a line for each episode."""
    recordings = [chosen(camrig.open(file), cameras) for file in files]
    features, left_out = features_of(recordings[0])
    rate = rate_of(recordings[0], features)
    for recording in recordings[1:]:
        if features_of(recording)[0] != features or rate_of(recording, features) != rate:
            raise Refused(f"`{recording.path}` has other streams, sizes or rates than `{recordings[0].path}`")
    if left_out:
        yield f"left out: {', '.join(left_out)}"
    made = None
    recorded: list[dict[str, Any]] = []
    count = 0
    for recording in recordings:
        first, length = count, 0
        for begins, row in rows_of(recording, features, 0.5 / rate if window is None else window, 1 / rate):
            if made is None:
                made = dataset.create(
                    repo_id=repo_id or f"camrig/{output.name}",
                    fps=rate,
                    root=output,
                    features=declared(features, images),
                    use_videos=not images,
                    image_writer_threads=WRITER_THREADS,
                )
            if begins and length:
                yield episode(made, count, length, recording)
                count, length = count + 1, 0
            made.add_frame({**row, "task": task})
            length += 1
        if length:
            yield episode(made, count, length, recording)
            count += 1
        recorded.append(described(recording, features, range(first, count)))
    if made is None:
        raise Refused("no match has a frameset of each camera: `--camera` and `--window` choose others")
    made.finalize()
    (output / "meta/camrig.json").write_text(json.dumps({"recordings": recorded}, indent=2) + "\n")


def declared(features: Sequence[Feature], images: bool) -> dict[str, Any]:
    """Returns the features as LeRobot declares them."""
    found = {feature.name: feature.declared(images) for feature in features}
    return {**found, SECONDS: {"dtype": "float64", "shape": (1,), "names": None}}


def described(recording: camrig.Recording, features: Sequence[Feature], episodes: range) -> dict[str, Any]:
    """Returns the facts that LeRobot has no field for, as JSON."""
    names = sorted({feature.camera for feature in features})
    cameras = {name: calibration_of(recording.cameras[name]) for name in names}
    return {"file": recording.path.name, "episodes": list(episodes), "cameras": cameras}


def episode(made: Any, number: int, length: int, recording: camrig.Recording) -> str:
    # Encoders of videos have threads of their own: processes that are forked beside threads may not continue.
    made.save_episode(parallel_encoding=False)
    return f"episode {number}: {length} frames of {recording.path.name}"


def chosen(recording: camrig.Recording, cameras: Sequence[str]) -> camrig.Recording:
    return recording[tuple(cameras)] if cameras else recording


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m camrig.lerobot", description="Writes recordings as a data set of LeRobot, one episode or more each."
    )
    made.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING", help="a recording of camrig")
    made.add_argument("-o", "--output", type=Path, required=True, help="the folder of the data set, which must not exist")
    made.add_argument("--task", default="", help="what is done in the recordings, in words")
    made.add_argument("--camera", action="append", default=[], help="a camera that is written; all without this option")
    made.add_argument("--window", type=float, help="seconds that framesets of a match are apart; half a period by default")
    made.add_argument("--images", action="store_true", help="images without loss instead of videos")
    made.add_argument("--repo-id", help="the data set's name for the hub; `camrig/` and the folder's name by default")
    return made


def writer() -> Any:
    """Returns LeRobot's class of data sets."""
    try:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
    except ImportError as missing:
        raise Refused(
            f"LeRobot is missing ({missing}): `pip install 'camrig[lerobot]'`, with Python 3.12 or later"
        ) from missing
    return LeRobotDataset


def main() -> int:
    options = parser().parse_args()
    try:
        if options.output.exists():
            raise Refused(f"`{options.output}` exists; the folder of a data set must not")
        lines = convert(
            options.recordings,
            options.output,
            writer(),
            task=options.task,
            cameras=options.camera,
            window=options.window,
            images=options.images,
            repo_id=options.repo_id,
        )
        for line in lines:
            print(line, flush=True)
    except (Refused, camrig.CamrigError, LookupError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
