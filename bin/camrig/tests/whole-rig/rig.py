"""A rig of six cameras as people write it in Python, which `run` measures beside camrig's.

usage: rig.py SECONDS, with the variables of the environment of crates/camrig-realsense/examples/software-cameras.rs

Each camera is a software device of pyrealsense2 with a pipeline, in a process of its own. It puts its framesets into a
queue of multiprocessing for each consumer, if there is room. The consumers are processes as well: one converts to RGB and
metres, one records color in JPEG and raw depth, and one serves a page of pictures in MJPEG. Each process writes the processor
time of its stages and the number of its framesets into a file of its name, in JSON.
"""

import ctypes
import json
import multiprocessing
import os
import queue
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

COUNT = int(os.environ["SOFTWARE_CAMERAS"])
SIZE, _, RATE = os.environ["SOFTWARE_CAMERAS_PROFILE"].partition("@")
WIDTH, HEIGHT = map(int, SIZE.split("x"))
RATE = int(RATE)
TIMES = Path(os.environ["SOFTWARE_CAMERAS_TIMES"])
UNIT_METERS = 0.001
# Framesets of a camera that may wait for a consumer, and the rate, quality and size of the page's pictures, as camrig has them.
WAITING, PAGE_RATE, PAGE_QUALITY, PAGE_STEP, RECORD_QUALITY = 2, 15, 80, int(os.environ.get("PAGE_STEP", "3")), 90
NEAR, FAR = 0.3, 4.0


class Stages:
    """The processor time of the stages of a process, in seconds."""

    def __init__(self, name):
        self.file, self.stages, self.framesets, self.dropped, self.written = TIMES / name, {}, 0, 0, time.monotonic()
        # Without a thread of OpenCV for each core: the other processes use them.
        cv2.setNumThreads(1)

    def add(self, stage, since):
        """Adds the time of this thread since `since`, and returns it."""
        now = time.thread_time()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - since
        return now

    def tell(self):
        if time.monotonic() - self.written < 1:
            return
        self.written = time.monotonic()
        told = {"framesets": self.framesets, "dropped": self.dropped, "process": time.process_time(), **self.stages}
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(told))
        new.rename(self.file)


def images():
    """The framesets of the file: color as YUYV, and depth."""
    pixels = WIDTH * HEIGHT
    both = np.fromfile(os.environ["SOFTWARE_CAMERAS_IMAGES"], np.uint16).reshape(-1, 2, HEIGHT, WIDTH)
    assert both.size % pixels == 0
    return [(pair[0].copy(), pair[1].copy()) for pair in both]


def send(sensors, profiles, stages, started):
    """Sends framesets as a camera does, in a thread of its own."""
    import pyrealsense2 as rs

    started.wait()
    framesets, due = images(), time.monotonic()
    for number in range(1 << 31):
        time.sleep(max(0.0, due - time.monotonic()))
        due += 1 / RATE
        for kind, pixels in zip(("color", "depth"), framesets[number % len(framesets)]):
            now = time.thread_time()
            frame = rs.software_video_frame()
            frame.stride, frame.bpp, frame.frame_number = 2 * WIDTH, 2, number
            frame.timestamp, frame.domain = 1000 * number / RATE, rs.timestamp_domain.hardware_clock
            frame.profile, frame.depth_units, frame.pixels = profiles[kind], UNIT_METERS, pixels.view(np.uint8)
            now = stages.add("sending", now)
            sensors[kind].on_video_frame(frame)
            stages.add("librealsense", now)


def camera(number, queues):
    import pyrealsense2 as rs

    stages = Stages(f"c{number}")
    context, device, serial = rs.context(), rs.software_device(), f"c{number}"
    # As long as it exists, the context has the device.
    _hub = rs.device_hub(context)
    device.register_info(rs.camera_info.name, "Intel RealSense D435")
    device.register_info(rs.camera_info.serial_number, serial)
    sensors, profiles = {}, {}
    for kind, name, stream, form in [
        ("depth", "Stereo Module", rs.stream.depth, rs.format.z16),
        ("color", "RGB Camera", rs.stream.color, rs.format.yuyv),
    ]:
        described = rs.video_stream()
        described.type, described.index, described.uid, described.fmt = stream, 0, 10 * int(stream), form
        described.width, described.height, described.fps, described.bpp = WIDTH, HEIGHT, RATE, 2
        sensors[kind] = device.add_sensor(name)
        profiles[kind] = sensors[kind].add_video_stream(described).as_video_stream_profile()
    device.create_matcher(rs.matchers.default)
    device.add_to(context)
    config, pipeline, started = rs.config(), rs.pipeline(context), threading.Event()
    config.enable_device(serial)
    config.enable_stream(rs.stream.depth, WIDTH, HEIGHT, rs.format.z16, RATE)
    config.enable_stream(rs.stream.color, WIDTH, HEIGHT, rs.format.yuyv, RATE)
    threading.Thread(target=send, args=(sensors, profiles, stages, started), daemon=True).start()
    pipeline.start(config)
    started.set()
    now = time.thread_time()
    while True:
        frames = pipeline.wait_for_frames()
        # Copies: librealsense uses the memory of a frame again.
        depth = np.asanyarray(frames.get_depth_frame().get_data()).copy()
        color = np.asanyarray(frames.get_color_frame().get_data()).copy()
        now = stages.add("capture", now)
        for consumer in queues:
            try:
                consumer.put_nowait((number, frames.get_frame_number(), color, depth))
            except queue.Full:
                stages.dropped += 1
        now = stages.add("put", now)
        stages.framesets += 1
        stages.tell()


def consume(name, framesets, use):
    """Calls `use` for each frameset of a queue."""
    stages = Stages(name)
    now = time.thread_time()
    while True:
        frameset = framesets.get()
        now = stages.add("get", now)
        use(*frameset)
        now = stages.add("work", now)
        stages.framesets += 1
        stages.tell()


def convert(framesets):
    def use(number, frame, color, depth):
        rgb = cv2.cvtColor(color.view(np.uint8).reshape(HEIGHT, WIDTH, 2), cv2.COLOR_YUV2RGB_YUY2)
        meters = depth.astype(np.float32) * UNIT_METERS
        cv2.sumElems(rgb), cv2.sumElems(meters)

    consume("convert", framesets, use)


def record(framesets, folder):
    files = [[open(Path(folder) / f"{number}.{kind}", "wb") for kind in ("mjpeg", "z16")] for number in range(COUNT)]

    def use(number, frame, color, depth):
        bgr = cv2.cvtColor(color.view(np.uint8).reshape(HEIGHT, WIDTH, 2), cv2.COLOR_YUV2BGR_YUY2)
        _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, RECORD_QUALITY])
        files[number][0].write(jpeg)
        files[number][1].write(depth)

    consume("record", framesets, use)


def page(framesets, port):
    pictures, changed, due = [None] * COUNT, threading.Condition(), [0.0] * COUNT

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            self.send_response(200)
            if self.path == "/":
                tags = "".join(f'<img src="/{number}" style="width: 33%">' for number in range(COUNT))
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(f"<!doctype html><body style='margin: 0'>{tags}".encode())
                return
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            number, shown = int(self.path[1:]), None
            try:
                while True:
                    with changed:
                        changed.wait_for(lambda: pictures[number] is not shown)
                        shown = pictures[number]
                    head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(shown)}\r\n\r\n"
                    self.wfile.write(head.encode() + shown + b"\r\n")
            except OSError:
                pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    port.put(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def use(number, frame, color, depth):
        now = time.monotonic()
        if now < due[number]:
            return
        due[number] = max(due[number] + 1 / PAGE_RATE, now)
        bgr = cv2.cvtColor(color.view(np.uint8).reshape(HEIGHT, WIDTH, 2), cv2.COLOR_YUV2BGR_YUY2)
        size = (WIDTH // PAGE_STEP, HEIGHT // PAGE_STEP)
        bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
        small = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)
        scaled = cv2.convertScaleAbs(small, alpha=255 * UNIT_METERS / (FAR - NEAR), beta=-255 * NEAR / (FAR - NEAR))
        both = np.hstack([bgr, cv2.applyColorMap(scaled, cv2.COLORMAP_TURBO)])
        _, jpeg = cv2.imencode(".jpg", both, [cv2.IMWRITE_JPEG_QUALITY, PAGE_QUALITY])
        with changed:
            pictures[number] = jpeg.tobytes()
            changed.notify_all()

    consume("page", framesets, use)


def main():
    ctypes.CDLL(None).prctl(1, 15)
    context = multiprocessing.get_context("spawn")
    queues = [context.Queue(WAITING * COUNT) for _ in range(3)]
    port = context.Queue()
    consumers = [(convert, (queues[0],)), (record, (queues[1], TIMES)), (page, (queues[2], port))]
    cameras = [(camera, (number, queues)) for number in range(COUNT)]
    processes = [context.Process(target=target, args=args, daemon=True) for target, args in consumers + cameras]
    for process in processes:
        process.start()
    print(f"http://127.0.0.1:{port.get()}/", flush=True)
    sys.stdin.read()
    for process in processes:
        process.terminate()


if __name__ == "__main__":
    main()
