"""Reads a recording as others do: with PyPI's mcap, its support of protobuf and ROS 2, and Foxglove's schemas.

    read.py RECORDING SNAPSHOTS

Every message is read and decoded. The pixels of every frame that is stored raw have to be those of the PNG
that the processor `snapshot` wrote of the same frameset; those of JPEG have to be near. Depth is in the forms that
viewers show as depth: whole millimetres, or metres. It knows nothing of camrig but what the recording says by itself and
the names of snapshots.
"""

import io
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy
from foxglove_schemas_protobuf import (
    CameraCalibration_pb2,
    CompressedImage_pb2,
    FrameTransform_pb2,
    PointCloud_pb2,
    RawImage_pb2,
)
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from mcap_ros2.decoder import DecoderFactory as RosFactory
from PIL import Image

FOXGLOVE = {
    "foxglove.RawImage": RawImage_pb2.RawImage,
    "foxglove.CompressedImage": CompressedImage_pb2.CompressedImage,
    "foxglove.CameraCalibration": CameraCalibration_pb2.CameraCalibration,
    "foxglove.FrameTransform": FrameTransform_pb2.FrameTransform,
    "foxglove.PointCloud": PointCloud_pb2.PointCloud,
}
ENCODINGS = {"rgb8": 3, "bgr8": 3, "mono8": 1}
# Mean difference of a channel between a JPEG of quality 90 and its original.
JPEG_TOLERANCE = 4.0


def fields(message):
    return {(f.name, f.number, f.type) for f in message.field}


def check_schema(schema):
    """The schema in the file has Foxglove's fields: those that the file knows, under the same numbers."""
    described = FileDescriptorSet.FromString(schema.data)
    package, name = schema.name.rsplit(".", 1)
    found = [m for f in described.file if f.package == package for m in f.message_type if m.name == name]
    ours = FOXGLOVE[schema.name].DESCRIPTOR
    expected = {(f.name, f.number, f.type) for f in ours.fields}
    assert len(found) == 1 and fields(found[0]) >= expected, schema.name


def png(folder, camera, sequence, image):
    return numpy.asarray(Image.open(folder / f"{camera}-{sequence:06}-{image}.png"))


def check_depth(folder, camera, sequence, unit, record, message):
    """Depth as Rerun and Foxglove read ROS's images: 16 bits are millimetres, floating point is metres."""
    stamp = message.header.stamp
    assert stamp.sec * 10**9 + stamp.nanosec == record["timestamp_nanos"]
    assert message.header.frame_id == f"{camera}/depth"
    assert (message.height, message.width) == (record["height"], record["width"])
    element = {"16UC1": "<u2", "32FC1": "<f4"}[message.encoding]
    pixels = numpy.frombuffer(bytes(message.data), element).reshape(message.height, -1)
    meters = pixels * 0.001 if message.encoding == "16UC1" else pixels.astype(float)
    expected = png(folder, camera, sequence, "depth16") * unit
    assert meters.shape == expected.shape and abs(meters - expected).max() < 1e-6 * expected.max()
    assert 0.05 < numpy.median(meters[meters > 0]) < 20, "metres"


def check_pixels(folder, camera, stream, sequence, record, message):
    """Whether there was a picture to compare with."""
    data = bytes(message.data)
    assert message.frame_id == f"{camera}/{stream}"
    nanos = message.timestamp.seconds * 10**9 + message.timestamp.nanos
    assert nanos == record["timestamp_nanos"], (nanos, record)
    size = (record["height"], record["width"])
    if record["coding"] == "jpeg":
        assert message.format == "jpeg"
        pixels = numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
        assert pixels.shape == (*size, 3)
        difference = numpy.abs(pixels - png(folder, camera, sequence, "color")).mean()
        assert difference < JPEG_TOLERANCE, (camera, sequence, difference)
        return True
    assert (message.height, message.width, message.step) == (*size, record["stride_bytes"])
    pixels = numpy.frombuffer(data, "u1").reshape(message.height, -1)
    if stream == "color":
        expected = png(folder, camera, sequence, "color")
        pixels = pixels.reshape(*size, ENCODINGS[message.encoding])
        pixels = pixels[:, :, ::-1] if message.encoding == "bgr8" else pixels
    else:
        return False
    assert pixels.shape == expected.shape and (pixels == expected).all(), (camera, stream, sequence)
    return True


def main(recording, folder):
    counts, compared = Counter(), Counter()
    records, images, parents, imu = {}, defaultdict(dict), {}, []
    with open(recording, "rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        summary = reader.get_summary()
        for schema in summary.schemas.values():
            if schema.name in FOXGLOVE:
                check_schema(schema)
        for schema, channel, message, decoded in decode(reader):
            counts[schema.name] += 1
            camera = channel.metadata["camera"]
            key = (camera, message.sequence)
            if schema.name == "camrig.FrameSet":
                records[key] = decoded
                assert decoded["sequence"] == message.sequence
            elif schema.name == "sensor_msgs/msg/Imu":
                imu.append((channel.topic, message.publish_time, decoded))
            elif schema.name == "foxglove.PointCloud":
                check_points(decoded)
                images[key][channel.metadata["stream"]] = decoded
            elif channel.topic.endswith(("/image", "/samples")):
                images[key][channel.metadata["stream"]] = decoded
            elif schema.name == "foxglove.CameraCalibration":
                assert decoded.distortion_model == "plumb_bob" and decoded.K[0] > 0 and decoded.P[10] == 1
            elif schema.name == "foxglove.FrameTransform":
                assert decoded.parent_frame_id in ("rig", f"{camera}/depth") and decoded.rotation.w > 0.9
                parents[decoded.child_frame_id] = decoded.parent_frame_id
            if len(images[key]) == len(records.get(key, {"frames": " "})["frames"]):
                # All of one frameset: its pixels need not be kept.
                for frame in records[key]["frames"]:
                    image = images[key][frame["stream"]]
                    if frame["format"] in ("motion", "xyzrgb"):
                        done = False
                    elif frame["stream"] == "depth":
                        unit = float(channel.metadata["depth_unit_meters"])
                        check_depth(folder, camera, message.sequence, unit, frame, image)
                        done = True
                    else:
                        done = check_pixels(folder, camera, frame["stream"], message.sequence, frame, image)
                    compared["compared" if done else "read"] += 1
                images[key] = {}
                del records[key]
        assert not records, f"framesets without all their images: {sorted(records)}"
        assert sum(counts.values()) == summary.statistics.message_count
        check_recorder(reader)
    # One tree: each frame of an image leads to the root.
    for child in list(parents):
        while child != "rig":
            child = parents[child]
    check_imu(imu)
    assert compared["compared"] > 0 or counts["foxglove.PointCloud"] > 0
    shown = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(f"{recording}: {shown}; {compared['compared']} images compared, {compared['read']} read")


def check_points(message):
    """There are no empty points; any reader of the schema finds the others."""
    points = numpy.frombuffer(message.data, "<f4").reshape(-1, message.point_stride // 4)[:, :3]
    assert 10_000 < len(points) < 424 * 240 and numpy.isfinite(points).all() and (points[:, 2] > 0.05).all()


def check_imu(imu):
    """Samples in the order of their own times: gravity, and slow turns."""
    for topic in {topic for topic, *_ in imu}:
        samples = [(at, message) for name, at, message in imu if name == topic]
        stamps = [m.header.stamp.sec * 10**9 + m.header.stamp.nanosec for _, m in samples]
        assert stamps == [at for at, _ in samples] and stamps == sorted(stamps), topic
        for _, message in samples:
            part = message.linear_acceleration if "accel" in topic else message.angular_velocity
            length = (part.x**2 + part.y**2 + part.z**2) ** 0.5
            assert 5 < length < 15 if "accel" in topic else length < 5, (topic, length)


def check_recorder(reader):
    """The recording holds the topology, and version and options of the recorder."""
    metadata = {record.name: record.metadata for record in reader.iter_metadata()}
    assert metadata["camrig.recorder"]["version"].startswith("camrig ")
    assert json.loads(metadata["camrig.recorder"]["options"])["memory_mib"] == 256
    attached = {attachment.name: attachment.data for attachment in reader.iter_attachments()}
    assert b"[camera.front]" in attached["topology.toml"]


def decode(reader):
    """Every message with its content, in the order of the file's log times."""
    protobuf, ros = DecoderFactory(), RosFactory()
    for schema, channel, message in reader.iter_messages():
        if channel.message_encoding == "json":
            yield schema, channel, message, json.loads(message.data)
        elif channel.message_encoding == "cdr":
            yield schema, channel, message, ros.decoder_for("cdr", schema)(message.data)
        else:
            yield schema, channel, message, protobuf.decoder_for("protobuf", schema)(message.data)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
