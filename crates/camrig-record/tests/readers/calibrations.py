"""Writes files as `camrig calibrate` does, for rigs whose poses are known."""

HEAD = """version = 1
date = "2026-01-01T00:00:00Z"
root = "{root}"
board = "a board"
moments = 20
error_pixels = 0.2
"""

CAMERA = """
[camera.{name}]
serial = "{serial}"
model = ""
stream = "{stream}"
translation_meters = {translation}
quaternion_xyzw = {quaternion}
deviation_millimeters = 0.5
deviation_degrees = 0.02
error_pixels = 0.2
views = 20
corners = 900
false_corners = 0
covariance = {covariance}
stream_to_camera = {{ translation_meters = {to_camera}, quaternion_xyzw = [0.0, 0.0, 0.0, 1.0] }}
intrinsics = {{ {intrinsics} }}
"""


def write(path, poses, serials, stream, to_camera, intrinsics):
    """Writes the calibration of cameras with these poses, of which the first one is the root: name to translation and
    quaternion x, y, z, w. `stream` was calibrated; it is at `to_camera` in the coordinates of its camera."""
    text = HEAD.format(root=next(iter(poses)))
    for name, (translation, quaternion) in poses.items():
        text += CAMERA.format(
            name=name,
            serial=serials[name],
            stream=stream,
            translation=translation,
            quaternion=quaternion,
            covariance=[[0.0] * 6] * 6,
            to_camera=to_camera,
            intrinsics=intrinsics,
        )
    path.write_text(text)
