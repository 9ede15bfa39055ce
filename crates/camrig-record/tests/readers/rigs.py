"""Reads the files that `calibration` writes for other programs, by their own readers where there are some, and compares the poses.

    rigs.py write FILE
    rigs.py check FOLDER

The first writes the calibration of two cameras; FOLDER has it in each format, as `own.FORMAT`.
"""

import json
import shlex
import shutil
import sys
from pathlib import Path

import calibrations
import numpy
import yaml
import yourdfpy

# Depth of each camera in the coordinates of the left one; the numbers of the quaternion are x, y, z, w.
POSES = {"left": ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]), "right": ([0.8, -0.1, 0.3], [0.1, -0.5, 0.3, 0.8062257748298549])}
INTRINSICS = """width = 848, height = 480, fx = 612.5, fy = 611.0, ppx = 424.5, ppy = 238.0, distortion = "brown-conrady", coefficients = [0.1, -0.2, 0.001, -0.002, 0.05]"""
COLOR = [0.015, -0.001, 0.002]
TO_OPENGL = numpy.diag([1.0, -1.0, -1.0, 1.0])
LENS = [612.5, 611.0, 424.5, 238.0]
COEFFICIENTS = [0.1, -0.2, 0.001, -0.002, 0.05]


def write(path):
    calibrations.write(path, POSES, {name: name for name in POSES}, "color", COLOR, INTRINSICS)


def matrix(translation, quaternion):
    x, y, z, w = quaternion
    axis = numpy.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    pose = numpy.eye(4)
    pose[:3, :3], pose[:3, 3] = numpy.eye(3) + 2 * w * axis + 2 * axis @ axis, translation
    return pose


DEPTH = {name: matrix(*pose) for name, pose in POSES.items()}
COLORS = {name: pose @ matrix(COLOR, [0, 0, 0, 1]) for name, pose in DEPTH.items()}
# Between the images of color: from the left to the right one.
FROM_LEFT = numpy.linalg.inv(COLORS["right"]) @ COLORS["left"]


def near(found, expected, what):
    assert numpy.allclose(found, expected, atol=1e-6), (what, found, expected)


def projected(coefficients):
    """Returns the pixels at which this distortion has the directions of all pixels of a lens without one, (n, 2)."""
    fx, fy, ppx, ppy = LENS
    k1, k2, p1, p2, k3 = coefficients
    columns, rows = numpy.meshgrid(numpy.arange(848.0), numpy.arange(480.0))
    x, y = (columns.ravel() - ppx) / fx, (rows.ravel() - ppy) / fy
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y)
    return numpy.column_stack([fx * u + ppx, fy * v + ppy])


def check_urdf(path):
    robot = yourdfpy.URDF.load(str(path))
    assert robot.base_link == "left"
    near(robot.get_transform("right", "left"), DEPTH["right"], "urdf")
    print("URDF: yourdfpy has the pose")


def check_kalibr(path):
    chain = yaml.safe_load(path.read_text())
    assert list(chain) == ["cam0", "cam1"]
    for camera in chain.values():
        # The keys that Kalibr's CameraParameters and CameraChainParameters read.
        assert camera["camera_model"] == "pinhole" and camera["distortion_model"] == "radtan"
        near(camera["intrinsics"], LENS, "kalibr")
        # It has two radial coefficients, whose pixels come near to those of three.
        k1, k2, p1, p2 = camera["distortion_coeffs"]
        near([p1, p2], COEFFICIENTS[2:4], "kalibr")
        off = numpy.linalg.norm(projected([k1, k2, p1, p2, 0]) - projected(COEFFICIENTS), axis=1).max()
        left_out = numpy.linalg.norm(projected([*COEFFICIENTS[:4], 0]) - projected(COEFFICIENTS), axis=1).max()
        assert off < 0.65 < left_out / 3, (off, left_out)
        assert camera["resolution"] == [848, 480] and camera["rostopic"].startswith("/")
    near(chain["cam1"]["T_cn_cnm1"], FROM_LEFT, "kalibr")
    print("Kalibr: PyYAML has the chain")


def check_open3d(path):
    try:
        import open3d
    except ImportError as error:
        print(f"LEFT OUT: Open3D, which cannot be imported here: {error}")
        return
    copy = path.with_suffix(".json")
    shutil.copy(path, copy)
    cameras = open3d.io.read_pinhole_camera_trajectory(str(copy)).parameters
    assert len(cameras) == 2
    for camera, name in zip(cameras, POSES):
        near(numpy.linalg.inv(camera.extrinsic), COLORS[name], "open3d")
        lens = camera.intrinsic
        near([*lens.get_focal_length(), *lens.get_principal_point()], LENS, "open3d")
        assert (lens.width, lens.height) == (848, 480)
    print("Open3D: its reader has the poses and lenses")


def check_nerf(path):
    scene = json.loads(path.read_text())
    for frame, name in zip(scene["frames"], POSES, strict=True):
        # The columns of a camera of OpenGL: to the right, up, and back.
        near(numpy.array(frame["transform_matrix"]) @ TO_OPENGL, COLORS[name], "nerf")
        near([frame[key] for key in ("fl_x", "fl_y", "cx", "cy")], numpy.add(LENS, [0, 0, 0.5, 0.5]), "nerf")
        near([frame[key] for key in ("k1", "k2", "p1", "p2", "k3")], COEFFICIENTS, "nerf")
    print("NeRF: the JSON has the poses and lenses")


def check_colmap(path):
    try:
        import pycolmap
    except ImportError as error:
        print(f"LEFT OUT: COLMAP, which cannot be imported here: {error}")
        return
    (rig,) = pycolmap.read_rig_config(path)
    left, right = rig.cameras
    assert left.ref_sensor and not right.ref_sensor
    assert [camera.image_prefix for camera in rig.cameras] == ["left/", "right/"]
    pose = numpy.eye(4)
    pose[:3] = right.cam_from_rig.matrix()
    near(pose, FROM_LEFT, "colmap")
    for camera in rig.cameras:
        near(camera.camera.params, [*numpy.add(LENS, [0, 0, 0.5, 0.5]), *COEFFICIENTS, 0, 0, 0], "colmap")
        assert camera.camera.model.name == "FULL_OPENCV"
    print("COLMAP: its reader has the pose and lenses")


def check_ros2(path):
    (line,) = path.read_text().splitlines()
    words = shlex.split(line)
    assert words[:4] == ["ros2", "run", "tf2_ros", "static_transform_publisher"]
    given = dict(zip(words[4::2], words[5::2], strict=True))
    assert (given["--frame-id"], given["--child-frame-id"]) == ("left", "right")
    numbers = [float(given[f"--{key}"]) for key in ("x", "y", "z", "qx", "qy", "qz", "qw")]
    near(matrix(numbers[:3], numbers[3:]), DEPTH["right"], "ros2")
    print("ROS 2: the arguments have the pose")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        for format, check in {
            "urdf": check_urdf,
            "kalibr": check_kalibr,
            "open3d": check_open3d,
            "nerf": check_nerf,
            "colmap": check_colmap,
            "ros2": check_ros2,
        }.items():
            check(Path(sys.argv[2]) / f"own.{format}")
