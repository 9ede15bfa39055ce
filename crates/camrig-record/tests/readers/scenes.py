"""Reads the scenes that `recording export` writes, with COLMAP's own reader, and compares lenses, poses and images.

    scenes.py calibration FILE CAMERA.json...
    scenes.py check FOLDER SNAPSHOTS

The first writes the calibration of a rig of these two cameras. FOLDER has the exports `colmap`, `nerf` and `plain` of the same
recording; the pixels are those of the PNG that the processor `snapshot` wrote.
"""

import json
import sys
from pathlib import Path

import calibrations
import numpy
from PIL import Image

FRAMESETS = 20
HALF = 0.5**0.5
# The rear camera is 0.5 m to the right of the front one and looks to the left.
POSES = {"front": ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]), "rear": ([0.5, 0.0, 0.0], [0.0, -HALF, 0.0, HALF])}
# From the axes of a camera that looks along Z with Y down to those of one that looks along -Z with Y up.
TO_OPENGL = numpy.diag([1.0, -1.0, -1.0, 1.0])
INTRINSICS = """width = 4, height = 4, fx = 4.0, fy = 4.0, ppx = 2.0, ppy = 2.0, distortion = "none", coefficients = [0.0, 0.0, 0.0, 0.0, 0.0]"""


def calibration(path, serials):
    calibrations.write(path, POSES, serials, "depth", [0.0] * 3, INTRINSICS)


def transform(rotation, translation):
    matrix = numpy.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def expected_pose(name, color):
    """From the coordinates of a camera's color to those of the front camera's depth."""
    translation, (x, y, z, w) = POSES[name]
    axis = numpy.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    camera = transform(numpy.eye(3) + 2 * w * axis + 2 * axis @ axis, translation)
    own = color["to_depth"]
    return camera @ transform(numpy.array(own["rotation"]).reshape(3, 3).T, own["translation_meters"])


def check_colmap(folder, infos, snapshots):
    try:
        import pycolmap
    except ImportError as error:
        print(f"LEFT OUT: COLMAP, which cannot be imported here: {error}")
        return
    model = pycolmap.Reconstruction(str(folder / "sparse/0"))
    assert len(model.images) == len(model.cameras) * FRAMESETS == 2 * FRAMESETS
    for image in model.images.values():
        name, number = image.name.removesuffix(".png").split("/")
        color = infos[name]["color"]
        pose = transform(image.cam_from_world().rotation.matrix(), image.cam_from_world().translation)
        assert numpy.allclose(numpy.linalg.inv(pose), expected_pose(name, color), atol=1e-6), image.name
        camera, lens = model.cameras[image.camera_id], color["intrinsics"]
        assert (camera.width, camera.height) == (lens["width"], lens["height"])
        # COLMAP projects as OpenCV does, half a pixel beside camrig's pixels.
        k1, k2, p1, p2, k3 = lens["coefficients"] if lens["distortion"] != "none" else [0.0] * 5
        x, y = 0.2, -0.1
        r2 = x * x + y * y
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        v = y * radial + 2 * p2 * x * y + p1 * (r2 + 2 * y * y)
        must = [u * lens["fx"] + lens["ppx"] + 0.5, v * lens["fy"] + lens["ppy"] + 0.5]
        assert numpy.allclose(camera.img_from_cam(numpy.array([[x, y, 1.0]])), must, atol=1e-3), (image.name, must)
        check_pixels(folder / "images" / image.name, snapshots / f"{name}-{number}-color.png")
    print(f"{folder}: COLMAP reads {len(model.images)} images of {len(model.cameras)} cameras, with lenses and poses")


def check_nerf(folder, infos, snapshots):
    scene = json.loads((folder / "transforms.json").read_text())
    assert scene["camera_model"] == "OPENCV" and len(scene["frames"]) == 2 * FRAMESETS
    for frame in scene["frames"]:
        _, name, file = frame["file_path"].split("/")
        color = infos[name]["color"]
        lens = color["intrinsics"]
        assert [frame[key] for key in ("w", "h")] == [lens["width"], lens["height"]]
        must = [lens["fx"], lens["fy"], lens["ppx"] + 0.5, lens["ppy"] + 0.5]
        assert numpy.allclose([frame[key] for key in ("fl_x", "fl_y", "cx", "cy")], must, rtol=1e-6)
        pose = expected_pose(name, color) @ TO_OPENGL
        assert numpy.allclose(frame["transform_matrix"], pose, atol=1e-6), frame
        check_pixels(folder / frame["file_path"], snapshots / f"{name}-{file.removesuffix('.png')}-color.png")
        depth = numpy.asarray(Image.open(folder / frame["depth_file_path"]))
        assert depth.shape == (lens["height"], lens["width"]) and depth.dtype == numpy.uint16
        # The distances that the camera measures, in millimetres.
        assert 100 < numpy.median(depth[depth > 0]) < 20_000
    print(f"{folder}: {len(scene['frames'])} images in transforms.json, with lenses, poses and depth")


def check_pixels(path, snapshot):
    assert (numpy.asarray(Image.open(path)) == numpy.asarray(Image.open(snapshot))).all(), path


def main(folder, snapshots):
    infos = {}
    for name in POSES:
        info = json.loads((folder / "plain" / name / "camera.json").read_text())
        infos[name] = {stream["stream"]: stream for stream in info["streams"]}
    check_colmap(folder / "colmap", infos, snapshots)
    check_nerf(folder / "nerf", infos, snapshots)


if __name__ == "__main__":
    if sys.argv[1] == "calibration":
        infos = [json.loads(Path(path).read_text()) for path in sys.argv[3:]]
        calibration(Path(sys.argv[2]), {info["name"]: info["serial"] for info in infos})
    else:
        main(Path(sys.argv[2]), Path(sys.argv[3]))
