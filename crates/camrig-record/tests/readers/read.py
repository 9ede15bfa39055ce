"""Reads a recording as others do: with PyPI's mcap, its protobuf support and Foxglove's schemas.

    read.py RECORDING SNAPSHOTS

Every message is read and decoded. The pixels of every frame that is stored raw have to be those of the PNG
that the processor `snapshot` wrote of the same frameset; those of JPEG have to be near. It knows nothing of camrig
but what the recording says by itself and the names of snapshots.
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
    RawImage_pb2,
)
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from PIL import Image

FOXGLOVE = {
    "foxglove.RawImage": RawImage_pb2.RawImage,
    "foxglove.CompressedImage": CompressedImage_pb2.CompressedImage,
    "foxglove.CameraCalibration": CameraCalibration_pb2.CameraCalibration,
    "foxglove.FrameTransform": FrameTransform_pb2.FrameTransform,
}
ENCODINGS = {"rgb8": 3, "bgr8": 3, "mono8": 1, "16UC1": 2}
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
    depth = message.encoding == "16UC1"
    pixels = numpy.frombuffer(data, "<u2" if depth else "u1").reshape(message.height, -1)
    if stream == "depth":
        expected = png(folder, camera, sequence, "depth16")
    elif stream == "color":
        expected = png(folder, camera, sequence, "color")
        pixels = pixels.reshape(*size, ENCODINGS[message.encoding])
        pixels = pixels[:, :, ::-1] if message.encoding == "bgr8" else pixels
    else:
        return False
    assert pixels.shape == expected.shape and (pixels == expected).all(), (camera, stream, sequence)
    return True


def main(recording, folder):
    counts, compared = Counter(), Counter()
    records, images = {}, defaultdict(dict)
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
            elif channel.topic.endswith("/image"):
                images[key][channel.metadata["stream"]] = decoded
            elif schema.name == "foxglove.CameraCalibration":
                assert decoded.distortion_model == "plumb_bob" and decoded.K[0] > 0 and decoded.P[10] == 1
            elif schema.name == "foxglove.FrameTransform":
                assert decoded.parent_frame_id == f"{camera}/depth"
            if len(images[key]) == len(records.get(key, {"frames": " "})["frames"]):
                # All of one frameset: its pixels need not be kept.
                for frame in records[key]["frames"]:
                    image = images[key][frame["stream"]]
                    done = check_pixels(folder, camera, frame["stream"], message.sequence, frame, image)
                    compared["compared" if done else "read"] += 1
                images[key] = {}
                del records[key]
        assert not records, f"framesets without all their images: {sorted(records)}"
        assert sum(counts.values()) == summary.statistics.message_count
    assert compared["compared"] > 0
    shown = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(f"{recording}: {shown}; {compared['compared']} images compared, {compared['read']} read")


def decode(reader):
    """Every message with what it says, in the order of the file's log times."""
    protobuf = DecoderFactory()
    for schema, channel, message in reader.iter_messages():
        if channel.message_encoding == "json":
            yield schema, channel, message, json.loads(message.data)
        else:
            yield schema, channel, message, protobuf.decoder_for("protobuf", schema)(message.data)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
