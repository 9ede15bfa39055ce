"""Recordings as sequences, compared with the files of `camrig recording export`."""

import gc
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import camrig
import numpy as np
import pytest
from conftest import WATCHDOG, program


def test_every_array_equals_the_exported_one(recording, tmp_path):
    for name in ["rig.mcap", "jpeg.mcap"]:
        output = tmp_path / name
        command = [program(), "recording", "export", recording.with_name(name), "-o", output, "--format", "npy"]
        subprocess.run(command, check=True, capture_output=True, timeout=WATCHDOG)
        opened = camrig.open(recording.with_name(name))
        assert len(opened) == 40
        for camera in ["left", "right"]:
            lines = (output / camera / "framesets.jsonl").read_text().splitlines()
            framesets = opened[camera]
            assert len(framesets) == len(lines) == 20
            for frames, line in zip(framesets, map(json.loads, lines)):
                assert (frames.camera, frames.sequence) == (camera, line["sequence"])
                assert frames.arrival_nanos == line["arrival_nanos"]
                file = f"{frames.sequence:06}.npy"
                depth = np.load(output / camera / "depth" / file)
                color = np.load(output / camera / "color" / file)
                assert (np.asarray(frames.depth) == depth).all() and frames.depth.shape == (48, 64)
                assert (frames.color.rgb() == color).all()
                assert frames.depth.number == next(it["number"] for it in line["frames"] if it["stream"] == "depth")


def test_a_recording_is_a_sequence(recording):
    opened = camrig.open(str(recording))
    assert list(opened.cameras) == ["left", "right"]
    assert opened.path == recording
    numbers = [(frames.camera, frames.sequence) for frames in opened]
    assert sorted(numbers) == [(camera, number) for camera in ["left", "right"] for number in range(20)]
    assert [frames.arrived_nanos for frames in opened] == sorted(frames.arrived_nanos for frames in opened)
    left = opened["left"]
    assert [left[index].sequence for index in (0, 19, -1, -20)] == [0, 19, 19, 0]
    assert [frames.sequence for frames in left[3:9:2]] == [3, 5, 7]
    assert [frames.sequence for frames in left[::-1]][:2] == [19, 18]
    # A slice of seconds: half open, and counted from the start of the recording.
    both = opened["left", "right"]
    assert len(both) == 40 and len(opened[("right",)]) == 20 and both[7].arrived_nanos == opened[7].arrived_nanos
    middle = left.seconds[10]
    assert [frames.sequence for frames in left[: float(middle)]] == list(range(10))
    assert [frames.sequence for frames in left[float(middle) :]] == list(range(10, 20))
    assert len(opened[0.0 : opened.duration + 1]) == 40
    assert opened.damage == []
    assert repr(opened) == f"<camrig.Recording {recording}: 40 framesets, {opened.duration:.3f} s>"


def test_parts_of_parts_are_exact(recording):
    opened = camrig.open(recording)
    numbers = [(frames.camera, frames.sequence) for frames in opened]

    def found(part):
        return [(frames.camera, frames.sequence) for frames in part]

    for part, expected in [
        (opened[::3], numbers[::3]),
        (opened[::3]["left"], [it for it in numbers[::3] if it[0] == "left"]),
        (opened[30:5:-1]["right"][::2], [it for it in numbers[30:5:-1] if it[0] == "right"][::2]),
        (opened["left"]["left", "right"], [it for it in numbers if it[0] == "left"]),
        (opened["left"]["right"], []),
        (opened[50:], []),
        (opened[5:5]["left"], []),
        (opened[::-1][: opened.duration / 2], [it for it in numbers[::-1] if it in found(opened[: opened.duration / 2])]),
    ]:
        assert found(part) == expected and len(part) == len(expected) == len(part.seconds)
        assert [part[index].sequence for index in range(-len(part), 0)] == [number for _, number in expected]


def test_changes_of_the_rig_are_in_its_recording(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    camera = {"driver": "synthetic", "options": {"model": "any", "depth": "64x48@30"}}
    recorder = {"kind": "record", "inputs": ["left"], "options": {"file": "rig.mcap"}}
    with camrig.Rig({"camera": {"left": camera}, "processor": {"recorder": recorder}}) as rig:
        for frames in rig.frames("left"):
            if frames.sequence == 5:
                break
        rig.set("left", exposure=5000)
    opened = camrig.open("rig.mcap")
    assert [type(it) for it in opened.changes] == [camrig.ChangeReport] * len(opened.changes)
    (change,) = [it for it in opened.changes if "option `exposure`" in it.changes[0]]
    (reported,) = [it for it in rig.report.changes if "option `exposure`" in it.changes[0]]
    assert (change.by, change.changes, change.unix_nanos) == (reported.by, reported.changes, reported.unix_nanos)
    assert 0 < change.seconds and change.unix_nanos == pytest.approx(opened.began_nanos + change.seconds * 1e9, abs=1000)
    command = [program(), "recording", "info", "rig.mcap"]
    info = subprocess.run(command, check=True, capture_output=True, text=True, timeout=WATCHDOG).stdout
    lines = [f"changed at {it.seconds:.2f} s by {it.by}: {'; '.join(it.changes)}" for it in opened.changes]
    assert [line for line in info.splitlines() if line.startswith("changed")] == lines
    info = subprocess.run([*command, "--json"], check=True, capture_output=True, timeout=WATCHDOG).stdout
    assert [it["unix_nanos"] for it in json.loads(info)["changes"]] == [it.unix_nanos for it in opened.changes]
    assert camrig.open("rig.mcap")["left"][:2].changes == opened.changes


def test_matches_have_a_frameset_of_each_camera(recording):
    for clock in [None, "capture", "arrival"]:
        matches = list(camrig.open(recording).matches(window=0.016, clock=clock))
        assert len(matches) >= 15, clock
        assert [matched.number for matched in matches] == list(range(len(matches)))
        used = set()
        for matched in matches:
            assert matched.cameras == ["left", "right"] and matched.complete and len(matched) == 2
            assert 0 <= matched.spread <= 0.016
            assert {frames.camera for frames in matched} == {"left", "right"}
            used.add((matched["left"].sequence, matched["right"].sequence))
        assert len(used) == len(matches)
    (lone,) = list(camrig.open(recording)["left"][:1].matches(window=0.01))
    assert lone.cameras == ["left"] and "right" not in lone and lone.get("right") is None


def test_a_part_without_framesets_of_a_camera_has_no_matches(recording):
    opened = camrig.open(recording)
    part = opened[:1]
    present = part[0].camera
    (absent,) = {"left", "right"} - {present}
    assert list(part.matches(window=0.01)) == []
    (lone,) = part.matches(window=0.01, partial=True)
    assert lone.cameras == [present] and not lone.complete
    assert [it.complete for it in part[present].matches(window=0.01)] == [True]
    assert list(part[absent].matches(window=0.01)) == []
    # As `opened["left"]` takes names, so does `in`.
    assert "left" in opened and "rear" not in opened and absent not in part[present]


def test_errors_are_one_line_with_the_choices(recording, tmp_path):
    opened = camrig.open(recording)
    for act, kind, message in [
        (lambda: camrig.open(tmp_path / "no.mcap"), camrig.CamrigError, "No such file or directory"),
        (lambda: opened["rear"], LookupError, f"`{recording}` has no camera `rear`; it has: `left`, `right`"),
        (lambda: opened["left", "rear"], LookupError, f"`{recording}` has no camera `rear`; it has: `left`, `right`"),
        (lambda: opened[40], IndexError, "the recording has 40 framesets, so no number 40"),
        (lambda: opened[-41], IndexError, "the recording has 40 framesets, so no number -41"),
        (lambda: opened[1.5], TypeError, "a recording is indexed by a number, the name of a camera or several, or a slice"),
        (lambda: opened[0.0:1.0:2], TypeError, "a slice of seconds has no step"),
        (lambda: opened.matches(11), ValueError, "`window` is 11; it must be 0 to 10 seconds"),
        (lambda: opened.matches(0.1, clock="own"), ValueError, "expected one of: `capture`, `arrival`"),
        (
            lambda: opened["right"][0].gyro,
            camrig.MissingStream,
            "frameset 0 of camera `right` has no stream `gyro`; it has: `color`, `depth`",
        ),
        (lambda: opened["left"][0].color.meters(), camrig.CamrigError, "has the format `rgb8`, which is not depth"),
        (lambda: opened["left"][0].depth.rgb(), camrig.CamrigError, "has the format `z16`, which has no color"),
    ]:
        with pytest.raises(kind) as raised:
            act()
        text = str(raised.value)
        assert message in text and "\n" not in text, text


def test_a_damaged_frameset_is_named_and_the_others_are_read(recording, tmp_path):
    bytes_ = bytearray(recording.read_bytes())
    bytes_[len(bytes_) // 2] ^= 4
    damaged = tmp_path / "damaged.mcap"
    damaged.write_bytes(bytes_)
    opened, read, errors = camrig.open(damaged), 0, []
    for index in range(len(opened)):
        try:
            opened[index].depth.meters()
            read += 1
        except camrig.CamrigError as error:
            errors.append(str(error))
    assert read == 39 and len(errors) == 1 and "is damaged in frameset" in errors[0], errors


    # A loop continues after it, as does one over matches.
    for framesets, expected in [(iter(opened), 39), (opened.matches(window=0.0, partial=True), None)]:
        found, errors = 0, []
        while True:
            try:
                next(framesets)
                found += 1
            except StopIteration:
                break
            except camrig.CamrigError as error:
                errors.append(str(error))
        assert len(errors) == 1 and found >= 20 and (expected is None or found == expected)


def test_several_threads_read_one_loop(recording):
    loop = iter(camrig.open(recording))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: [(it.camera, it.sequence, it.depth.tobytes()) for it in loop], range(4)))
    expected = [(it.camera, it.sequence, it.depth.tobytes()) for it in camrig.open(recording)]
    assert sorted(sum(found, [])) == sorted(expected)


def test_only_the_index_is_read_to_open(recording):
    bytes_ = bytearray(recording.read_bytes())
    first = len(bytes_) // 4
    # Damage of every chunk of the first half is not noticed before it is read.
    bytes_[first : 2 * first] = bytes(first)
    damaged = recording.with_name("zeros.mcap")
    damaged.write_bytes(bytes_)
    opened = camrig.open(damaged)
    assert len(opened) == 40 and opened.damage == []


def test_nothing_is_decoded_before_an_array_is_asked_for(recording):
    frames = camrig.open(recording)[0]
    depth = frames.depth
    # Uncompressed frames are views of the bytes read from the file, in the same memory each time.
    first, second = np.asarray(depth), np.asarray(frames.depth)
    assert first.__array_interface__["data"] == second.__array_interface__["data"]
    del frames, depth, second
    gc.collect()
    assert first.sum() > 0
