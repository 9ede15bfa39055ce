"""The package with LeRobot, PyTorch and Rerun, which are too large for the gate: `just test-lerobot`."""

import subprocess
import sys
from pathlib import Path

import camrig
import numpy as np
import pytest
import rerun
import rerun.chunk
import torch
from conftest import WATCHDOG
from lerobot.datasets.lerobot_dataset import LeRobotDataset

EXAMPLES = Path(__file__).parents[3] / "examples/python"


def run(*command):
    found = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=5 * WATCHDOG)
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.mark.parametrize("images", [True, False])
def test_lerobot_reads_what_its_writer_wrote(recording, tmp_path, images):
    output = tmp_path / "set"
    written = run("-m", "camrig.lerobot", recording, "-o", output, "--task", "look", *["--images"][: int(images)])
    lines = written.splitlines()
    assert lines[0] == "left out: left/accel, left/gyro" and lines[1].startswith("episode 0: ")
    dataset = LeRobotDataset("camrig/set", root=output, depth_output_unit="m")
    matches = list(camrig.open(recording).matches(window=0.5 / 30))
    assert (len(dataset), dataset.fps, dataset.num_episodes) == (len(matches), 30, len(lines) - 1)
    assert dataset.meta.depth_keys == ["observation.images.left_depth", "observation.images.right_depth"]
    for name in dataset.meta.depth_keys:
        assert dataset.meta.features[name]["info"]["depth_unit"] == "m"
    for item, match in zip(dataset, matches):
        assert item["task"] == "look"
        for camera in ["left", "right"]:
            color = item[f"observation.images.{camera}"].permute(1, 2, 0).numpy() * 255
            difference = np.abs(color - match[camera].color.rgb())
            depth = item[f"observation.images.{camera}_depth"].numpy()[0]
            meters = match[camera].depth.meters()
            if images:
                assert difference.max() < 1e-3 and (depth == meters).all()
                continue
            # Videos of color have a loss, and those of depth 4,096 steps between 1 cm, which is no depth too, and 10 m.
            assert difference.mean() < 12
            known = (meters > 0.01) & (meters < 10)
            assert known.any() and (np.abs(depth - meters)[known] <= 0.002 + 0.001 * meters[known]).all()
            assert (depth[meters == 0] <= 0.0101).all()


def test_a_copy_becomes_a_tensor_of_torch(recording):
    frames = camrig.open(recording)["left"][5]
    copy = frames.color.copy()
    tensor = torch.from_dlpack(copy)
    assert tensor.data_ptr() == copy.__array_interface__["data"][0]
    assert tensor.shape == frames.color.shape and (tensor.numpy() == np.asarray(frames.color)).all()
    tensor[0, 0, 0] = 7
    assert copy[0, 0, 0] == 7


def test_the_edges_of_a_model_of_torch(recording):
    replay = {"driver": "replay", "options": {"file": str(recording)}}
    script = {"script": str(EXAMPLES / "edges.py")}
    edges = {"kind": "python", "inputs": ["left"], "overflow": "block", "options": script}
    rig = camrig.Rig({"camera": {"left": replay}, "processor": {"edges": edges}})
    loop = rig.frames("edges", overflow="block")
    with rig:
        found = {frames.sequence: frames["edges"].copy() for frames in loop}
    expected = {frames.sequence: edges_of(frames.color.rgb()) for frames in camrig.open(recording)["left"]}
    assert found.keys() == expected.keys() and len(found) == 20
    for sequence, edges in found.items():
        assert edges.dtype == np.uint8 and set(np.unique(edges)) <= {0, 255}
        # Sums in another order differ in their last bits, and so may pixels at the threshold.
        assert (edges != expected[sequence]).mean() < 1e-3 and edges.any(), sequence


def edges_of(color):
    """Returns the edges as NumPy computes them."""
    gray = np.pad((color.astype(np.float32) / 255).mean(axis=2), 1, mode="edge")
    weights = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32) / 8
    height, width = color.shape[:2]
    parts = [(gray[y : y + height, x : x + width], y, x) for y in range(3) for x in range(3)]
    across = sum(part * weights[y, x] for part, y, x in parts)
    down = sum(part * weights[x, y] for part, y, x in parts)
    return np.where(np.hypot(across, down) >= 0.05, 255, 0).astype(np.uint8)


def test_rerun_has_the_frames_of_a_recording(recording, tmp_path):
    output = tmp_path / "rig.rrd"
    assert run(EXAMPLES / "show_in_rerun.py", recording, output) == ""
    logged = {}
    for chunk in rerun.chunk.RrdReader(output).stream():
        batch = chunk.to_record_batch()
        columns = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names}
        for row in range(batch.num_rows):
            # Every value of Rerun is a list, here of one.
            values = {name.partition(":")[2]: column[row] for name, column in columns.items() if ":" in name}
            logged[chunk.entity_path, columns["arrival"][row] if "arrival" in columns else None] = values
    logged = {key: values for key, values in logged.items() if key[1] is not None}
    opened = camrig.open(recording)
    assert len(logged) == 3 * len(opened)
    for frames in opened:
        color, depth, points = (
            logged[f"/{frames.camera}/{kind}", np.datetime64(frames.arrived_nanos, "ns")]
            for kind in ["color", "depth", "points"]
        )
        assert bytes(color["buffer"][0]) == frames.color.tobytes()
        assert bytes(depth["buffer"][0]) == frames.depth.tobytes() and depth["meter"][0] == np.float32(1 / frames.depth.unit_meters)
        expected = frames.points()
        assert (np.stack(points["positions"]) == expected.xyz).all()
        # Red is the highest byte, opacity the lowest.
        rgb = np.stack([np.asarray(points["colors"]) >> shift & 255 for shift in (24, 16, 8)], axis=1)
        assert (rgb == expected.rgb).all()


def test_types_of_the_examples():
    files = [EXAMPLES / "edges.py", EXAMPLES / "show_in_rerun.py"]
    found = subprocess.run([sys.executable, "-m", "mypy", "--strict", *files], capture_output=True, text=True, cwd=EXAMPLES)
    assert found.returncode == 0, found.stdout
