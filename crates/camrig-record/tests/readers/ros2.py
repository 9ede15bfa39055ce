"""Reads the file of `recording export --format ros2` with PyPI's rosbags, which has message types of its own.

    ros2.py BAG SNAPSHOTS

The pixels have to be those of the PNG that the processor `snapshot` wrote. The topics, coordinate frames and types are
those of realsense-ros.
"""

import sys
from collections import Counter
from pathlib import Path

import numpy
from PIL import Image
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

EXPECTED = {
    "color/image_raw": "sensor_msgs/msg/Image",
    "color/camera_info": "sensor_msgs/msg/CameraInfo",
    "depth/image_rect_raw": "sensor_msgs/msg/Image",
    "depth/camera_info": "sensor_msgs/msg/CameraInfo",
}
OF_FRONT = {
    "infra1/image_rect_raw": "sensor_msgs/msg/Image",
    "infra1/camera_info": "sensor_msgs/msg/CameraInfo",
    "accel/sample": "sensor_msgs/msg/Imu",
    "gyro/sample": "sensor_msgs/msg/Imu",
}
CHANNELS = {"rgb8": 3, "bgr8": 3}


def png(folder, camera, sequence, image):
    return numpy.asarray(Image.open(folder / f"{camera}-{sequence:06}-{image}.png"))


def check_image(folder, camera, kind, sequence, message):
    assert message.is_bigendian == 0
    if kind == "depth":
        element = {"16UC1": "<u2", "32FC1": "<f4"}[message.encoding]
        assert (message.encoding == "16UC1") == (camera == "front"), "a D405 has no whole millimetres"
        pixels = message.data.view(element).reshape(message.height, message.width)
        expected = png(folder, camera, sequence, "depth16")
        expected = expected if camera == "front" else expected.astype("<f4") * numpy.float32(0.0001)
    elif kind == "color":
        pixels = message.data.reshape(message.height, message.width, CHANNELS[message.encoding])
        pixels = pixels[:, :, ::-1] if message.encoding == "bgr8" else pixels
        expected = png(folder, camera, sequence, "color")
    else:
        return False
    assert (pixels == expected).all(), (camera, kind, sequence)
    return True


def main(bag, folder):
    counts, compared = Counter(), 0
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
        types = {connection.topic: connection.msgtype for connection in reader.connections}
        expected = {f"/camera/{name}/{topic}": of for name in ("front", "rear") for topic, of in EXPECTED.items()}
        expected |= {f"/camera/front/{topic}": of for topic, of in OF_FRONT.items()}
        assert types == expected | {"/tf_static": "tf2_msgs/msg/TFMessage"}, types
        durability = {c.topic: c.ext.offered_qos_profiles[0].durability.name for c in reader.connections}
        assert durability["/tf_static"] == "TRANSIENT_LOCAL" and len(set(durability.values())) == 2, durability
        for connection, _, raw in reader.messages():
            # The types of the file itself, and those of rosbags: both read the same.
            message = reader.deserialize(raw, connection.msgtype)
            topic = connection.topic
            if topic == "/tf_static":
                parents = {it.child_frame_id: it.header.frame_id for it in message.transforms}
                continue
            _, _, camera, kind, what = topic.split("/")
            assert message.header.frame_id == f"{camera}_{kind}_optical_frame"
            if what.startswith("image"):
                compared += check_image(folder, camera, kind, counts[topic], message)
            elif what == "camera_info":
                assert message.distortion_model == "plumb_bob" and message.k[0] > 0 and message.p[10] == 1
            else:
                known = message.linear_acceleration if kind == "accel" else message.angular_velocity
                other = message.angular_velocity_covariance if kind == "accel" else message.linear_acceleration_covariance
                assert numpy.isfinite([known.x, known.y, known.z]).all() and other[0] == -1
            counts[topic] += 1
    for frame in [f"{name}_{kind}_optical_frame" for name in ("front", "rear") for kind in ("color", "depth")]:
        path = [frame]
        while path[-1] in parents:
            path.append(parents[path[-1]])
        name, kind = frame.split("_")[:2]
        assert path[1:] == [f"{name}_{kind}_frame", f"{name}_link", "rig"], path
    assert compared == 4 * 20, compared
    print(f"{bag}: {sum(counts.values())} messages on {len(counts)} topics, read by rosbags; {compared} images compared")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
