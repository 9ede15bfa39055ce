"""Writes a bag as realsense-ros would, with PyPI's rosbags, and checks the recording that camrig makes of it.

    bag.py write FOLDER
    bag.py check BAG-AS-RECORDING

The bag has a camera with depth, color and motion, whose depth and color are some milliseconds apart, and topics that are
none of a camera.
"""

import json
import sys
from pathlib import Path

import numpy
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory as RosFactory
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

FRAMES, MILLI, START = 30, 1_000_000, 1_790_000_000 * 10**9
WIDTH, HEIGHT = 64, 48
# The color camera is 15 mm to the right of depth.
RIGHT_METERS = 0.015

types = get_typestore(Stores.ROS2_HUMBLE)


def of(name):
    return types.types[name]


def header(nanos, frame_id):
    stamp = of("builtin_interfaces/msg/Time")(sec=nanos // 10**9, nanosec=nanos % 10**9)
    return of("std_msgs/msg/Header")(stamp=stamp, frame_id=frame_id)


def depth_of(number):
    return (numpy.arange(WIDTH * HEIGHT, dtype="<u2") + number * 7).reshape(HEIGHT, WIDTH)


def color_of(number):
    return (numpy.arange(WIDTH * HEIGHT * 3) + number).astype("u1").reshape(HEIGHT, WIDTH * 3)


def image(nanos, frame_id, encoding, pixels):
    data = numpy.ascontiguousarray(pixels).view("u1").reshape(-1)
    return of("sensor_msgs/msg/Image")(
        header=header(nanos, frame_id), height=HEIGHT, width=WIDTH, encoding=encoding, is_bigendian=0,
        step=len(data) // HEIGHT, data=data,
    )


def camera_info(nanos, frame_id, model, coefficients):
    roi = of("sensor_msgs/msg/RegionOfInterest")(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    k = numpy.array([50.5, 0, 32, 0, 51.5, 24, 0, 0, 1])
    return of("sensor_msgs/msg/CameraInfo")(
        header=header(nanos, frame_id), height=HEIGHT, width=WIDTH, distortion_model=model,
        d=numpy.array(coefficients), k=k, r=numpy.eye(3).reshape(-1), p=numpy.zeros(12), binning_x=0, binning_y=0,
        roi=roi,
    )


def vector(x, y, z):
    return of("geometry_msgs/msg/Vector3")(x=x, y=y, z=z)


def imu(nanos, number):
    known, unknown = numpy.zeros(9), numpy.array([-1.0, *[0] * 8])
    return of("sensor_msgs/msg/Imu")(
        header=header(nanos, "cam_gyro_optical_frame"),
        orientation=of("geometry_msgs/msg/Quaternion")(x=0, y=0, z=0, w=1), orientation_covariance=unknown,
        angular_velocity=vector(number * 0.5, -1, 0.25), angular_velocity_covariance=known,
        linear_acceleration=vector(0, 0, 0), linear_acceleration_covariance=unknown,
    )


def tree():
    rotations = {"level": (0, 0, 0, 1), "optical": (-0.5, 0.5, -0.5, 0.5)}
    edges = [
        ("cam_link", "cam_depth_frame", (0, 0, 0), "level"),
        ("cam_depth_frame", "cam_depth_optical_frame", (0, 0, 0), "optical"),
        ("cam_link", "cam_color_frame", (0, -RIGHT_METERS, 0), "level"),
        ("cam_color_frame", "cam_color_optical_frame", (0, 0, 0), "optical"),
    ]
    transforms = []
    for parent, child, at, turn in edges:
        x, y, z, w = rotations[turn]
        pose = of("geometry_msgs/msg/Transform")(
            translation=vector(*at), rotation=of("geometry_msgs/msg/Quaternion")(x=x, y=y, z=z, w=w)
        )
        transforms.append(
            of("geometry_msgs/msg/TransformStamped")(header=header(START, parent), child_frame_id=child, transform=pose)
        )
    return of("tf2_msgs/msg/TFMessage")(transforms=transforms)


def write(folder, plugin):
    with Writer(folder, version=9, storage_plugin=plugin) as writer:
        connections = {}

        def put(topic, message, nanos):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=types)
            writer.write(connections[topic], nanos, types.serialize_cdr(message, message.__msgtype__))

        put("/tf_static", tree(), START)
        put("/rosout", of("std_msgs/msg/String")(data="no camera"), START)
        for number in range(FRAMES):
            at = START + number * 33 * MILLI
            put("/camera/cam/depth/image_rect_raw", image(at, "cam_depth_optical_frame", "16UC1", depth_of(number)), at)
            put("/camera/cam/depth/camera_info", camera_info(at, "cam_depth_optical_frame", "plumb_bob", [0.0] * 5), at)
            later = at + 6 * MILLI
            color = image(later, "cam_color_optical_frame", "rgb8", color_of(number))
            put("/camera/cam/color/image_raw", color, later + MILLI)
            info = camera_info(later, "cam_color_optical_frame", "plumb_bob", [0.1, -0.2, 0.001, 0.002, 0.03])
            put("/camera/cam/color/camera_info", info, later + MILLI)
            for sample in range(6):
                put("/camera/cam/gyro/sample", imu(at + sample * 5 * MILLI, number), at + sample * 5 * MILLI)


def check(recording):
    with open(recording, "rb") as file:
        reader, ros = make_reader(file, validate_crcs=True), RosFactory()
        framesets, depths, samples = [], 0, 0
        for schema, channel, message in reader.iter_messages():
            if channel.topic == "/cam/frameset":
                framesets.append(json.loads(message.data))
                info = json.loads(channel.metadata["camera_info"])
            elif channel.topic == "/cam/depth/image":
                decoded = ros.decoder_for("cdr", schema)(message.data)
                pixels = numpy.frombuffer(bytes(decoded.data), "<u2").reshape(HEIGHT, WIDTH)
                assert decoded.encoding == "16UC1" and (pixels == depth_of(message.sequence)).all()
                depths += 1
            elif channel.topic == "/cam/color/image":
                assert color_of(message.sequence).tobytes() in message.data
            elif channel.topic == "/cam/gyro/samples":
                samples += len(json.loads(message.data)["samples"])
    assert len(framesets) == depths == FRAMES
    for number, frameset in enumerate(framesets):
        frames = {frame["stream"]: frame for frame in frameset["frames"]}
        assert set(frames) == {"depth", "color", "gyro"}
        at = START + number * 33 * MILLI
        assert frames["depth"]["timestamp_nanos"] == at
        assert frames["color"]["timestamp_nanos"] == at + 6 * MILLI, "the color of the same moment"
    # The samples after the last depth image are in no frameset.
    assert samples == 6 * (FRAMES - 1) + 1, samples
    depth, color, gyro = info["streams"]
    assert (depth["profile"], color["profile"]) == (f"{WIDTH}x{HEIGHT}@30",) * 2, info
    assert color["intrinsics"]["distortion"] == "brown-conrady" and depth["intrinsics"]["distortion"] == "none"
    assert abs(color["intrinsics"]["coefficients"][1] + 0.2) < 1e-6 and depth["intrinsics"]["fx"] == 50.5
    assert numpy.allclose(color["to_depth"]["translation_meters"], [RIGHT_METERS, 0, 0], atol=1e-6)
    print(f"{recording}: {FRAMES} framesets of a bag that rosbags wrote, {samples} samples of motion")


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]), StoragePlugin[sys.argv[3]])
    else:
        check(Path(sys.argv[2]))
