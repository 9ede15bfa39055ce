"""Reads the files that `recording export` writes for other programs, with independent readers: Pillow, pypcd4,
plyfile, ffmpeg, Open3D.

    exports.py FOLDER SNAPSHOTS

FOLDER has the exports `tum`, `open3d`, `pcd`, `ply`, `video` and `plain` of the same recording, and its `mesh.ply`; the pixels are those of the
PNG that the processor `snapshot` wrote.
"""

import csv
import json
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy
from PIL import Image
from plyfile import PlyData
from pypcd4 import PointCloud

FRAMESETS = 20
# Mean difference of a channel between a frame of a video and its original.
VIDEO_TOLERANCE = 10.0


def image(path):
    return numpy.asarray(Image.open(path))


def snapshot(folder, camera, sequence, kind):
    return image(folder / f"{camera}-{sequence:06}-{kind}.png")


def lists(folder, name):
    lines = (folder / name).read_text().splitlines()
    return [line.split() for line in lines if not line.startswith("#")]


def check_aligned(info, depth, aligned, unit):
    """The center of each pixel of depth, projected by numpy, has this depth or a nearer one in the aligned image."""
    streams = {stream["stream"]: stream for stream in info["streams"]}
    lens, eye = streams["depth"]["intrinsics"], streams["color"]["intrinsics"]
    pose = streams["color"]["to_depth"]
    rotation = numpy.array(pose["rotation"]).reshape(3, 3).T
    rows, columns = numpy.nonzero(depth)
    z = depth[rows, columns] * unit
    points = numpy.stack([(columns - lens["ppx"]) / lens["fx"] * z, (rows - lens["ppy"]) / lens["fy"] * z, z])
    points = rotation.T @ (points - numpy.array(pose["translation_meters"])[:, None])
    u = numpy.rint(points[0] / points[2] * eye["fx"] + eye["ppx"]).astype(int)
    v = numpy.rint(points[1] / points[2] * eye["fy"] + eye["ppy"]).astype(int)
    inside = (u >= 1) & (v >= 1) & (u < aligned.shape[1] - 1) & (v < aligned.shape[0] - 1)
    found = aligned[v[inside], u[inside]]
    assert (found > 0).mean() > 0.99, "holes"
    same = numpy.abs(found - z[inside]) < 0.02 * z[inside]
    assert (same | (found < z[inside])).mean() > 0.97 and same.mean() > 0.9, (same.mean(), "another depth")


def check_tum(folder, snapshots, camera, info):
    both = lists(folder, "associations.txt")
    assert len(both) == FRAMESETS and len(lists(folder, "rgb.txt")) == len(lists(folder, "depth.txt")) == FRAMESETS
    times = [float(line[0]) for line in both]
    assert times == sorted(times) and times[0] > 1.7e9
    unit = info["depth_unit_meters"]
    for sequence, (at, rgb, depth_at, depth) in enumerate(both):
        assert rgb == f"rgb/{at}.png" and depth == f"depth/{depth_at}.png"
        color = image(folder / rgb)
        assert (color == snapshot(snapshots, camera, sequence, "color")).all(), (camera, sequence)
        aligned = image(folder / depth)
        assert aligned.shape == color.shape[:2]
        check_aligned(info, snapshot(snapshots, camera, sequence, "depth16"), aligned / 5000, unit)
    if camera == "front":
        forces = numpy.array(lists(folder, "accelerometer.txt"), float)
        assert len(forces) > 20 and 5 < numpy.linalg.norm(forces[:, 1:], axis=1).mean() < 15


def check_open3d(folder, tum, unit):
    try:
        import open3d
    except ImportError as error:
        print(f"LEFT OUT: Open3D, which cannot be imported here: {error}")
        return
    lens = open3d.io.read_pinhole_camera_intrinsic(str(folder / "camera_intrinsic.json"))
    config = json.loads((folder / "config.json").read_text())
    assert abs(config["depth_scale"] * unit - 1) < 1e-3
    colors, depths = sorted((folder / "color").iterdir()), sorted((folder / "depth").iterdir())
    assert len(colors) == len(depths) == FRAMESETS
    color, depth = open3d.io.read_image(str(colors[0])), open3d.io.read_image(str(depths[0]))
    rgbd = open3d.geometry.RGBDImage.create_from_color_and_depth(
        color, depth, depth_scale=config["depth_scale"], depth_trunc=20.0, convert_rgb_to_intensity=False
    )
    cloud = open3d.geometry.PointCloud.create_from_rgbd_image(rgbd, lens)
    points = numpy.asarray(cloud.points)
    # The same depth as in the other data set, which has other units.
    other = image(tum / lists(tum, "depth.txt")[0][1]) / 5000
    assert len(points) == (image(depths[0]) > 0).sum() and len(cloud.colors) == len(points)
    assert abs(numpy.median(points[:, 2]) - numpy.median(other[other > 0])) < 2e-4
    print(f"{folder}: Open3D makes {len(points)} points of its first images")


def check_points(pcd, ply):
    """The same points as in the PLY file, of which only the binary part is read."""
    cloud = PointCloud.from_path(pcd)
    assert cloud.fields == ("x", "y", "z", "rgb"), cloud.fields
    data = ply.read_bytes()
    vertices = numpy.frombuffer(
        data[data.index(b"end_header\n") + 11 :], [("xyz", "<f4", 3), ("rgb", "u1", 3)]
    )
    assert len(vertices) == cloud.points > 10_000
    assert (cloud.numpy(("x", "y", "z")) == vertices["xyz"]).all()
    packed = cloud.pc_data["rgb"].view("u4").reshape(-1)
    rgb = numpy.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=1)
    assert (rgb == vertices["rgb"]).all()


def check_mesh(path):
    """The triangles that plyfile and Open3D read."""
    data = PlyData.read(path)
    vertices, faces = data["vertex"], numpy.stack(data["face"]["vertex_indices"])
    assert faces.shape[1] == 3 and len(faces) > 1000 and 0 <= faces.min() and faces.max() < len(vertices)
    points = numpy.stack([vertices[axis] for axis in "xyz"], axis=1)
    assert 0.3 < points[:, 2].min() and points[:, 2].max() < 3.1, points[:, 2]
    # Triangles face the camera at the origin.
    a, b, c = (points[faces[:, corner]] for corner in range(3))
    normals = numpy.cross(b - a, c - a)
    assert ((normals * a).sum(axis=1) < 0).mean() > 0.99
    colors = numpy.stack([vertices[name] for name in ("red", "green", "blue")], axis=1)
    # Near the camera, color shows only a quarter of the floor that depth shows.
    assert (colors.max(axis=1) > 0).mean() > 0.1
    try:
        import open3d
    except ImportError as error:
        print(f"LEFT OUT: Open3D, which cannot be imported here: {error}")
        return
    mesh = open3d.io.read_triangle_mesh(str(path))
    assert len(mesh.triangles) == len(faces) and len(mesh.vertices) == len(mesh.vertex_colors) == len(points)
    print(f"{path}: Open3D and plyfile read {len(faces)} triangles")


def check_video(folder, snapshots, camera):
    reader = imageio_ffmpeg.read_frames(str(folder / "color.mp4"))
    meta = next(reader)
    rows = list(csv.DictReader((folder / "color.csv").open()))
    frames = [numpy.frombuffer(frame, "u1") for frame in reader]
    assert len(frames) == len(rows) == FRAMESETS and meta["fps"] == 30, (len(frames), len(rows), meta)
    for sequence, (row, frame) in enumerate(zip(rows, frames)):
        assert (int(row["frame"]), int(row["sequence"])) == (sequence, sequence) and int(row["timestamp_nanos"]) > 0
        expected = snapshot(snapshots, camera, sequence, "color").astype(int)
        width, height = meta["source_size"]
        pixels = frame.reshape(height, width, 3)[: expected.shape[0], : expected.shape[1]]
        assert numpy.abs(pixels - expected).mean() < VIDEO_TOLERANCE, (camera, sequence)
    assert imageio_ffmpeg.count_frames_and_secs(str(folder / "depth.mp4"))[0] == FRAMESETS


def main(folder, snapshots):
    for camera in ("front", "rear"):
        info = json.loads((folder / "plain" / camera / "camera.json").read_text())
        check_tum(folder / "tum" / camera, snapshots, camera, info)
        check_open3d(folder / "open3d" / camera, folder / "tum" / camera, info["depth_unit_meters"])
        name = next((folder / "pcd" / camera / "points").iterdir()).stem
        check_points(folder / "pcd" / camera / "points" / f"{name}.pcd", folder / "ply" / camera / "points" / f"{name}.ply")
        check_video(folder / "video" / camera, snapshots, camera)
    check_mesh(folder / "mesh.ply")
    print(f"{folder}: data sets of TUM read by Pillow, points by pypcd4, videos by ffmpeg")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
