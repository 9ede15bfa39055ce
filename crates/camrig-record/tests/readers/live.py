"""Connects to the processor `foxglove` as a viewer, with PyPI's websockets, and decodes what it sends by the schemas that it
advertises.

    live.py CAMRIG TOPOLOGY
"""

import base64
import io
import json
import re
import struct
import subprocess
import sys
import time

import numpy
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from mcap.records import Schema
from mcap_ros2.decoder import DecoderFactory as RosFactory
from PIL import Image
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

WAIT = 60
SUBPROTOCOLS = [["foxglove.sdk.v1.1", "foxglove.sdk.v1"], ["foxglove.websocket.v1"]]


class Viewer:
    def __init__(self, address, subprotocols, **more):
        self.socket = connect(address, subprotocols=subprotocols, open_timeout=WAIT, max_size=None, **more)
        self.info, self.channels, self.wanted = None, {}, {}

    def receive(self):
        """The next message with data: its topic, its time and its bytes; texts change the channels."""
        while True:
            packet = self.socket.recv(timeout=WAIT)
            if isinstance(packet, bytes):
                kind, subscription, nanos = struct.unpack_from("<BIQ", packet)
                assert kind == 1
                return self.wanted[subscription], nanos, packet[13:]
            text = json.loads(packet)
            if text["op"] == "serverInfo":
                self.info = text
            elif text["op"] == "advertise":
                self.channels |= {channel["topic"]: channel for channel in text["channels"]}
            else:
                return text["op"], 0, text

    def learn(self, count):
        while len(self.channels) < count:
            packet = json.loads(self.socket.recv(timeout=WAIT))
            assert packet["op"] in ("serverInfo", "advertise"), packet
            if packet["op"] == "advertise":
                self.channels |= {channel["topic"]: channel for channel in packet["channels"]}

    def subscribe(self, *topics):
        first = len(self.wanted) + 1
        new = dict(enumerate(topics, first))
        self.wanted |= new
        subscriptions = [{"id": id, "channelId": self.channels[topic]["id"]} for id, topic in new.items()]
        self.socket.send(json.dumps({"op": "subscribe", "subscriptions": subscriptions}))

    def unsubscribe(self):
        self.socket.send(json.dumps({"op": "unsubscribe", "subscriptionIds": list(self.wanted)}))

    def decode(self, topic, data):
        channel = self.channels[topic]
        if channel["encoding"] == "json":
            return json.loads(data)
        if channel["encoding"] == "cdr":
            schema = Schema(1, channel["schema"].encode(), channel["schemaEncoding"], channel["schemaName"])
            return RosFactory().decoder_for("cdr", schema)(data)
        assert (channel["encoding"], channel["schemaEncoding"]) == ("protobuf", "protobuf"), channel
        pool = descriptor_pool.DescriptorPool()
        files = descriptor_pb2.FileDescriptorSet.FromString(base64.b64decode(channel["schema"]))
        for file in files.file:
            pool.Add(file)
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(channel["schemaName"])).FromString(data)


def topics():
    of_both = ["transform", *(f"{stream}/{what}" for stream in ("depth", "color") for what in ("image", "calibration"))]
    of_front = [f"{stream}/{what}" for stream in ("accel", "gyro") for what in ("samples", "imu")]
    return {f"/front/{topic}" for topic in of_both + of_front} | {f"/rear/{topic}" for topic in of_both}


def check_refused(address):
    plain = address.split("?")[0]
    for wrong, more, status in [
        (plain, {}, 401),
        (plain + "?token=another-secret", {}, 401),
        (plain, {"origin": "https://example.org"}, 403),
    ]:
        try:
            connect(wrong, subprotocols=SUBPROTOCOLS[1], open_timeout=WAIT, **more)
            raise AssertionError(f"{wrong} is answered")
        except InvalidStatus as error:
            assert error.response.status_code == status, error
    try:
        connect(address, subprotocols=["something.else"], open_timeout=WAIT)
        raise AssertionError("another protocol is answered")
    except InvalidStatus as error:
        assert error.response.status_code == 400, error


def check_viewer(address, subprotocols, **more):
    viewer = Viewer(address, subprotocols, **more)
    assert viewer.socket.subprotocol in subprotocols
    viewer.learn(len(topics()))
    assert set(viewer.channels) >= topics(), set(viewer.channels) ^ topics()
    wanted = ["/front/depth/image", "/rear/depth/image", "/front/color/image", "/front/color/calibration", "/front/gyro/imu"]
    viewer.subscribe(*wanted, "/front/transform")
    found = {}
    while not set(wanted) <= set(found) or len(found["/front/depth/image"]) < 15:
        topic, nanos, data = viewer.receive()
        found.setdefault(topic, []).append(nanos)
        message = viewer.decode(topic, data)
        if topic.endswith("depth/image"):
            assert message.encoding == ("16UC1" if topic.startswith("/front") else "32FC1")
            element = {"16UC1": "<u2", "32FC1": "<f4"}[message.encoding]
            meters = numpy.frombuffer(bytes(message.data), element) * (0.001 if element == "<u2" else 1)
            assert meters.size == 424 * 240 and 0.05 < numpy.median(meters[meters > 0]) < 20
        elif topic.endswith("color/image"):
            assert message.format == "jpeg" and Image.open(io.BytesIO(message.data)).size == (424, 240)
        elif topic.endswith("calibration"):
            assert (message.width, message.height) == (424, 240) and message.K[0] > 0
        elif topic.endswith("transform"):
            assert message.parent_frame_id == "rig"
    for topic, times in found.items():
        assert times == sorted(times) and abs(times[-1] / 1e9 - time.time()) < WAIT, topic
    # After the end of the subscriptions, only messages that were in flight arrive, before the answer to an error.
    viewer.unsubscribe()
    viewer.socket.send(json.dumps({"op": "subscribe", "subscriptions": [{"id": 77, "channelId": 4_000_000_000}]}))
    while viewer.receive()[0] != "status":
        pass
    viewer.socket.send("this is not JSON")
    try:
        packet = viewer.socket.recv(timeout=WAIT)
        raise AssertionError(f"{packet[:40]} after the end")
    except Exception as error:
        assert "close" in str(error).lower() or "closed" in type(error).__name__.lower(), repr(error)
    return sum(map(len, found.values()))


def main(camrig, topology):
    # The kernel ends the rig with this process.
    command = ["setpriv", "--pdeathsig", "KILL", camrig, "run", topology]
    rig = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = None
        while address is None:
            line = rig.stdout.readline()
            assert line, "the rig has ended"
            address = re.search(r"live: (ws://\S+)", line)
        address = address[1]
        check_refused(address)
        for subprotocols in SUBPROTOCOLS:
            # As a page of another origin, which has the token.
            count = check_viewer(address, subprotocols, origin="https://app.foxglove.dev")
            print(f"{subprotocols[-1]}: {count} messages, decoded by the schemas that are advertised")
    finally:
        rig.terminate()
        rig.communicate(timeout=WAIT)


if __name__ == "__main__":
    main(*sys.argv[1:])
