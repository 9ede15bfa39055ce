"""Frames as arrays: views of memory, which stays as long as a view does."""

import gc
import importlib
import io
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor

import camrig
import numpy as np
import pytest
from conftest import WATCHDOG

HAS_GIL = not sysconfig.get_config_var("Py_GIL_DISABLED")

# OpenCV has no wheels for free-threaded Python.
cv2 = importlib.import_module("cv2") if HAS_GIL else None


@pytest.fixture
def frames(recording):
    return camrig.open(recording)["left"][5]


def test_an_array_is_a_view_that_cannot_be_written(frames):
    depth = frames.depth
    array = np.asarray(depth)
    assert (array.dtype, array.shape, depth.dtype, depth.shape) == (np.uint16, (48, 64), "<u2", (48, 64))
    assert not array.flags.writeable and not array.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1
    with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
        array.flags.writeable = True
    if cv2 is not None:
        with pytest.raises(cv2.error):
            cv2.rectangle(np.asarray(frames.color), (0, 0), (4, 4), (255, 0, 0))
    # A write into the frame's own buffer is refused by the buffer itself.
    with pytest.raises(TypeError, match="read-write bytes-like object"):
        io.BytesIO(bytes(6144)).readinto(depth)
    assert bytes(memoryview(depth)) == depth.tobytes() == array.tobytes()
    assert memoryview(depth).format == "<H" and memoryview(depth).readonly


def test_a_view_keeps_the_frame_and_frees_it(frames):
    depth = frames.depth
    assert depth.exports == 0
    array = np.asarray(depth)
    part = array[10:20, ::2]
    assert depth.exports == 1
    del array
    gc.collect()
    assert depth.exports == 1
    del part
    gc.collect()
    assert depth.exports == 0


def test_a_copy_can_be_written(frames):
    copy = frames.depth.copy()
    copy[0, 0] = 7
    assert copy.flags.writeable and copy.flags.owndata and frames.depth.exports == 0
    assert (np.array(frames.depth) == np.asarray(frames.depth)).all()
    assert frames.depth.__array__(dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="cannot be viewed as float64 without a copy"):
        frames.depth.__array__(dtype=np.float64, copy=False)


def test_a_copy_is_taken_through_dlpack(frames):
    copy = frames.depth.copy()
    array = np.from_dlpack(copy)
    assert array.__array_interface__["data"][0] == copy.__array_interface__["data"][0]
    copy[0, 0] = 7
    assert array[0, 0] == 7 and frames.depth.copy().flags.writeable


def test_dlpack_says_that_it_is_read_only(frames):
    depth = frames.depth
    array = np.from_dlpack(depth)
    assert (array == np.asarray(depth)).all() and not array.flags.writeable
    assert depth.exports == 1
    del array
    gc.collect()
    assert depth.exports == 0
    with pytest.raises(BufferError, match="DLPack before version 1"):
        depth.__dlpack__()
    with pytest.raises(BufferError, match="in memory of the CPU"):
        depth.__dlpack__(max_version=(1, 0), dl_device=(2, 0))
    # A capsule that no one takes frees its memory.
    capsule = depth.__dlpack__(max_version=(1, 0))
    assert depth.exports == 1
    del capsule
    assert depth.exports == 0
    assert depth.__dlpack_device__() == (1, 0)


def test_depth_in_metres(frames):
    meters = frames.depth.meters()
    expected = np.asarray(frames.depth).astype(np.float32) * np.float32(frames.depth.unit_meters)
    assert meters.dtype == np.float32 and (meters == expected).all() and 0.1 < meters.max() < 20
    out = np.empty((48, 64), np.float32)
    assert frames.depth.meters(out=out) is out and (out == meters).all()
    with pytest.raises(ValueError, match=r"`out` is float64 \(48, 64\); it must be an array of float32 \(48, 64\)"):
        frames.depth.meters(out=np.empty((48, 64)))


def test_calibration_is_that_of_opencv(frames):
    matrix, coefficients = frames.depth.intrinsics, frames.depth.distortion
    assert matrix.shape == (3, 3) and coefficients.shape == (5,) and frames.depth.distortion_model == "none"
    camera = frames.info
    assert (camera.intrinsics("depth") == matrix).all() and camera.size("depth") == (64, 48)
    assert camera.rate("depth") == 30 and camera.format("depth") == "z16" and camera.driver == "synthetic"
    assert frames.color.to_depth.shape == (4, 4) and (frames.color.to_depth[3] == [0, 0, 0, 1]).all()
    # The points are those that OpenCV computes from the same numbers.
    points = frames.points()
    assert points.xyz.dtype == np.float32 and points.xyz.shape == (len(points.rgb), 3) and points.rgb.dtype == np.uint8
    meters = frames.depth.meters()
    if cv2 is not None:
        seen, _ = cv2.projectPoints(points.xyz.astype(np.float64), np.zeros(3), np.zeros(3), matrix, coefficients)
        columns, rows = np.rint(seen[:, 0]).astype(int).T
        assert np.allclose(meters[rows, columns], points.xyz[:, 2], atol=1e-4)
    assert len(points.xyz) == (meters > 0).sum()
    assert points.rgb.any() and not frames.points(color=False).rgb.any()


def test_calibration_is_that_of_the_recording(recording, tmp_path):
    text = recording.read_bytes()
    # The footer has the start of the summary, where cameras are read from, and its checksum; 0 is none.
    at = int.from_bytes(text[-28:-20], "little")
    start, summary = text[:at], text[at:-12] + bytes(4) + text[-8:]
    identity = b'"rotation":[1.0,0.0,0.0,0.0,1.0,0.0,0.0,0.0,1.0],"translation_meters":[0.0,0.0,0.0]'
    # Column-major: x goes to y, y to z and z to x.
    turned = b'"rotation":[0.0,1.0,0.0,0.0,0.0,1.0,1.0,0.0,0.0],"translation_meters":[1.0,2.0,3.0]'

    def changed(old, new):
        """Opens the recording with other calibration of the same size, as JSON."""
        assert len(new) <= len(old) and old in summary
        path = tmp_path / "changed.mcap"
        path.write_bytes(start + summary.replace(old, new.ljust(len(old))))
        return camrig.open(path)

    opened = changed(identity, turned)
    expected = [[0, 0, 1, 1], [1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]]
    assert opened.cameras["left"].to_depth("color").tolist() == opened[0].color.to_depth.tolist() == expected
    numbers = [0.5, 0.25, 0.125, 0.75, 1.0]
    none = b'"distortion":"none","coefficients":[0.0,0.0,0.0,0.0,0.0]},"to_depth":{' + identity + b"}"
    for model, coefficients in [
        ("none", [0.0] * 5),
        ("brown-conrady", numbers),
        ("modified-brown-conrady", numbers),
        ("inverse-brown-conrady", numbers),
        ("kannala-brandt4", numbers[:4]),
        ("ftheta", None),
    ]:
        of_model = b'"distortion":"%s","coefficients":[0.5,0.25,0.125,0.75,1.0]},"to_depth":null' % model.encode()
        camera = changed(none, of_model).cameras["left"]
        assert camera.distortion_model("color") == model
        if coefficients is None:
            with pytest.raises(camrig.CamrigError, match="^OpenCV has no model of the distortion `ftheta`$"):
                camera.distortion("color")
        else:
            assert camera.distortion("color").tolist() == coefficients
        with pytest.raises(camrig.CamrigError, match="^the transform to depth of this stream of camera `left` is not known$"):
            camera.to_depth("color")


def test_samples_of_motion_have_fields(frames):
    gyro = np.asarray(frames.gyro)
    assert gyro.dtype.names == ("nanos", "x", "y", "z") and gyro.shape == (frames.gyro.width,)
    assert (np.diff(gyro["nanos"].astype(np.int64)) > 0).all() and len(np.asarray(frames.accel)) > 0
    with pytest.raises(BufferError, match="have fields"):
        np.from_dlpack(frames.gyro)


def test_images_for_pillow(frames):
    color, depth = frames.color.to_pil(), frames.depth.to_pil()
    assert (color.mode, color.size, depth.mode, depth.size) == ("RGB", (64, 48), "I;16", (64, 48))
    assert (np.asarray(depth) == np.asarray(frames.depth)).all()


def test_a_missing_numpy_is_named():
    script = "import sys; sys.modules['numpy'] = None\nimport camrig\nimport camrig._arrays"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=WATCHDOG)
    assert found.stderr.splitlines()[-1] == (
        "ImportError: camrig needs NumPy for arrays, and this Python has none: `pip install numpy`; "
        "without it `memoryview(frame)` and `frame.tobytes()` work"
    )


@pytest.mark.skipif(HAS_GIL, reason="this Python has a GIL")
def test_free_threaded_python_stays_without_its_gil():
    code = "import sys, camrig, numpy; print(sys._is_gil_enabled())"
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=WATCHDOG)
    assert (found.stdout, found.stderr) == ("False\n", "")


def test_threads_use_the_frames_of_one_frameset(recording):
    opened = camrig.open(recording)["left"]
    expected = [(it.depth.tobytes(), it.color.rgb().tobytes(), it.points().xyz.tobytes()) for it in opened]

    def read(frames):
        assert np.from_dlpack(frames.depth).sum() == np.asarray(frames.depth).sum()
        return frames.depth.tobytes(), frames.color.rgb().tobytes(), frames.points().xyz.tobytes()

    with ThreadPoolExecutor(4) as pool:
        for frames, content in zip(opened, expected):
            depth = frames.depth
            assert list(pool.map(read, [frames] * 4)) == [content] * 4
            list(pool.map(lambda _: np.asarray(depth).copy(), range(16)))
            gc.collect()
            assert depth.exports == 0
