"""Reads the merged points of two cameras, from `snapshot` and from `recording export`, with plyfile, pypcd4 and Open3D.

    merged.py FOLDER
"""

import sys
from pathlib import Path

import numpy
from plyfile import PlyData
from pypcd4 import PointCloud

FRAMESETS = 5
VOXEL_METERS = 0.02


def vertices(path):
    data = PlyData.read(path)["vertex"]
    return numpy.stack([data[axis] for axis in "xyz"], axis=1), numpy.stack([data[name] for name in ("red", "green", "blue")], axis=1)


def check_pcd(path, points, colors):
    cloud = PointCloud.from_path(path)
    assert cloud.fields == ("x", "y", "z", "rgb") and cloud.points == len(points), cloud.fields
    assert (cloud.numpy(("x", "y", "z")) == points).all()
    packed = cloud.pc_data["rgb"].view("u4").reshape(-1)
    assert (numpy.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=1) == colors).all()


def check_open3d(path, points):
    try:
        import open3d
    except ImportError as error:
        print(f"LEFT OUT: Open3D, which cannot be imported here: {error}")
        return
    cloud = open3d.io.read_point_cloud(str(path))
    assert numpy.allclose(numpy.asarray(cloud.points), points) and cloud.has_colors()


def main(folder):
    files = sorted((folder / "merged-ply").glob("*.ply"))
    assert len(files) == FRAMESETS, files
    exported = {format: sorted((folder / f"exported-{format}").rglob(f"points/*.{format}")) for format in ("ply", "pcd")}
    assert [len(of) for of in exported.values()] == [FRAMESETS, FRAMESETS], exported
    for number, file in enumerate(files):
        points, colors = vertices(file)
        assert len(points) > 5000 and len(colors) == len(points), len(points)
        # One point in each voxel, of both cameras: the front one sees no more than 90 degrees, of which the rear one sees others.
        assert len(numpy.unique(numpy.floor(points.astype(float) / VOXEL_METERS), axis=0)) > 0.999 * len(points)
        outside = numpy.abs(points[:, 0]) > points[:, 2]
        assert outside.sum() > 300 and (~outside).sum() > 1000, (outside.sum(), len(points))
        check_pcd(folder / "merged-pcd" / f"{file.stem}.pcd", points, colors)
        assert exported["ply"][number].read_bytes() == file.read_bytes()
        check_pcd(exported["pcd"][number], points, colors)
        for path in (file, exported["pcd"][number]):
            check_open3d(path, points)
    print(f"{folder}: merged points of {FRAMESETS} matches read by plyfile and pypcd4")


main(Path(sys.argv[1]))
