"""Shared parts of the cases: the emulator, runs of camrig, topologies, waits."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

CAMRIG = sys.argv[1]
OUT = os.environ["OUT"]
CAMERAS = int(os.environ["CAMERAS"])
# Seconds. The emulated processor shares two cores with its host: nothing here measures by it.
WATCHDOG = 600
POLL = 0.1
RATE = 5
# Number of attempts to count exactly, which needs a guest that fetches each frame in time.
ATTEMPTS = 5

figures = []


class Failed(Exception):
    pass


def check(fact, message):
    if not fact:
        raise Failed(message)


def figure(name, value):
    figures.append((name, value))
    print(f"    {name}: {value}", flush=True)


class Emulator:
    def __init__(self):
        host, _, port = os.environ["EMULATOR"].partition(":")
        self.connection = socket.create_connection((host, int(port)), timeout=WATCHDOG)
        self.lines = self.connection.makefile()

    def do(self, *commands):
        for command in commands:
            self.connection.sendall(command.encode() + b"\n")
            answer = self.lines.readline()
            check(answer == "ok\n", f"`{command}` was answered with {answer!r}")

    def ask(self, command):
        self.connection.sendall(command.encode() + b"\n")
        return self.lines.readline().strip()

    def is_detached(self, index):
        """Whether no kernel has the camera."""
        return self.stats()[index]["connected"] == 0

    def stats(self):
        """One dictionary a camera: model, serial and counters."""
        self.connection.sendall(b"stats\n")
        stats = []
        for _ in range(CAMERAS):
            head, _, counts = self.lines.readline().partition(": ")
            _, _, model, serial = head.split()
            counters = dict(re.findall(r"(\w+) (\d+)", counts))
            stats.append({"model": model, "serial": serial, **{name: int(value) for name, value in counters.items()}})
        return stats


emulator = Emulator()


def camrig(*arguments, expect=0):
    """Runs camrig, and returns its output."""
    done = subprocess.run([CAMRIG, *arguments], capture_output=True, text=True, timeout=WATCHDOG)
    check(
        expect is None or done.returncode == expect,
        f"camrig {' '.join(arguments)} ended with {done.returncode}, not {expect}:\n{done.stdout}{done.stderr}",
    )
    return done.stdout + done.stderr


def command(*arguments):
    """Runs a command for a camera that runs, again if its transfers take longer in a slow guest than camrig waits."""
    for _ in range(ATTEMPTS):
        answer = camrig(*arguments, expect=None)
        if "did not answer within" not in answer:
            break
    check("error:" not in answer, f"camrig {' '.join(arguments)} says\n{answer}")


def wait_for(what, fact, rig=None):
    """Waits until `fact()` is true and returns the seconds that it took."""
    began = time.monotonic()
    while not fact():
        if rig and rig.process.poll() is not None and not fact():
            raise Failed(f"{what}: the rig ended with {rig.process.returncode}\n{rig.log()}")
        if time.monotonic() > began + WATCHDOG:
            raise Failed(f"{what}: not within {WATCHDOG} s\n{rig.log() if rig else ''}")
        time.sleep(POLL)
    return time.monotonic() - began


def serials():
    return [camera["serial"] for camera in emulator.stats()]


def topology(options=None, cameras=None, keys="", reader="verify", rate=RATE, size="424x240"):
    """A topology of cameras c0, c1, ... by serial number, each with a reader of its own."""
    text = []
    for index, serial in enumerate(serials()[: cameras or CAMERAS]):
        camera_options = {
            "serial": serial,
            "depth": f"{size}@{rate}",
            "color": f"{size}@{rate}",
            "color_format": "yuyv",
            "allow_usb2": True,
            **(options(index) if options else {"set": {"global_time_enabled": False}}),
        }
        text.append(f'[camera.c{index}]\ndriver = "realsense"\nslots = 24\nstart_timeout_millis = {WATCHDOG}000\n{keys}')
        text.append(f"[camera.c{index}.options]\n" + "".join(f"{key} = {toml(it)}\n" for key, it in camera_options.items() if it is not None))
        text.append(f'[processor.r{index}]\nkind = "{reader}"\ninputs = ["c{index}"]\nqueue = 20\nprocess = "reader"\n')
        text.append("options = { emulated = true }\n" if reader == "verify" else "")
    path = "/tmp/rig.toml"
    with open(path, "w") as file:
        file.write("\n".join(text))
    return path


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(it)}" for key, it in value.items()) + " }"
    return json.dumps(value)


class Rig:
    """A running `camrig run`."""

    running = None

    def __init__(self, path, *arguments):
        self.stderr = open("/tmp/rig.log", "w+")
        self.report_path = "/tmp/report.json"
        if os.path.exists(self.report_path):
            os.remove(self.report_path)
        command = [CAMRIG, "run", path, "--report", self.report_path, *arguments]
        self.began = time.monotonic()
        self.process = subprocess.Popen(command, stdout=self.stderr, stderr=self.stderr)
        Rig.running = self

    def log(self):
        with open("/tmp/rig.log") as file:
            return file.read()

    def status(self):
        with open("/proc/net/unix") as file:
            names = [line.split()[-1][1:] for line in file if "@camrig" in line and f"{self.process.pid}-" in line]
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(WATCHDOG)
                connection.connect("\0" + names[0])
                return json.loads(connection.makefile().read())
        except (IndexError, OSError, json.JSONDecodeError):
            return {"actors": [], "links": []}

    def cameras(self):
        actors = {actor["name"]: actor for actor in self.status()["actors"]}
        return [actors.get(f"c{index}", {"state": "unknown", "produced": 0}) for index in range(CAMERAS)]

    def camera(self, index):
        return self.cameras()[index]

    def wait_state(self, index, *states):
        return wait_for(f"camera {index} {' or '.join(states)}", lambda: self.camera(index)["state"] in states, self)

    def wait_frames(self, index, count=2):
        """Waits until the camera runs and has produced so many framesets more."""
        before = self.camera(index)["produced"]

        def more():
            camera = self.camera(index)
            return camera["state"] == "running" and camera["produced"] >= before + count

        return wait_for(f"{count} framesets of camera {index}", more, self)

    def wait_first(self):
        """Waits until every camera has produced a frameset, and returns the seconds since the rig was started."""

        def all_have():
            cameras = [actor for actor in self.status()["actors"] if actor["role"] == "camera"]
            return self.process.poll() == 0 or (cameras and all(camera["produced"] for camera in cameras))

        wait_for("the first framesets of all cameras", all_have, self)
        return time.monotonic() - self.began

    def report(self):
        code = self.process.wait(WATCHDOG)
        try:
            with open(self.report_path) as file:
                return code, json.load(file)
        except OSError as error:
            raise Failed(f"no report: {error}\n{self.log()}") from error

    def stop(self, expect=0):
        self.process.send_signal(signal.SIGINT)
        code, report = self.report()
        check(code == expect, f"the rig ended with {code}, not {expect}:\n{self.log()}")
        return report


def attached():
    """Waits until the kernel has made the nodes of every camera, and udev has seen them."""
    wait_for("all cameras attached", lambda: all(camera["connected"] for camera in emulator.stats()))
    wait_for("nodes of all cameras", lambda: len([it for it in os.listdir("/dev") if it.startswith("video")]) >= 6 * CAMERAS)
    subprocess.run(["udevadm", "settle", "--timeout=60"], check=False)


class Kernel:
    """Counts the frames and the metadata that librealsense has taken from the kernel."""

    EVENT = "/sys/kernel/debug/tracing/events/v4l2/v4l2_dqbuf"
    # Types of buffers.
    FRAME, METADATA = 1, 13
    COUNT = re.compile(r"minor: +(\d+), type: +(\d+), bytesused: +(\d+) } hitcount: +(\d+)")
    # Number of looks, of which one meets no frame on its way.
    LOOKS = 5

    def __init__(self):
        with open(f"{self.EVENT}/trigger", "w") as file:
            file.write("hist:keys=minor,type,bytesused:size=4096")

    def counts(self):
        """Minor number of the node, type, size and number of buffers."""
        with open(f"{self.EVENT}/hist") as file:
            return [tuple(map(int, found)) for found in self.COUNT.findall(file.read())]

    def without_metadata(self):
        """The number of frames for whose metadata the kernel had no buffer in time."""
        return sum(count for _, kind, size, count in self.counts() if kind == self.METADATA and not size)

    def not_taken(self):
        """By camera: the number of frames and of metadata that were sent, and that librealsense has not taken."""
        looks = []
        for _ in range(self.LOOKS):
            taken = [[0, 0] for _ in range(CAMERAS)]
            cameras = node_cameras()
            for minor, kind, size, count in self.counts():
                if size and minor in cameras:
                    taken[cameras[minor]][kind == self.METADATA] += count
            # The kernel keeps torn frames to itself.
            looks.append([2 * (it["frames"] - it["torn"]) - sum(own) for it, own in zip(emulator.stats(), taken)])
            time.sleep(POLL)
        return [min(camera) for camera in zip(*looks)]


def node_cameras():
    """The index of each camera by the minor numbers of its nodes: cameras are at the ports of their index."""
    cameras, folder = {}, "/sys/class/video4linux"
    for node in os.listdir(folder):
        port = re.search(r"/\d+-(\d+)/", os.path.realpath(f"{folder}/{node}"))
        with open(f"{folder}/{node}/dev") as file:
            minor = int(file.read().rpartition(":")[2])
        if port and int(port[1]) <= CAMERAS:
            cameras[minor] = int(port[1]) - 1
    return cameras


kernel = Kernel()


def not_delivered():
    """By camera: the number of frames that the guest has not fetched in time, or that librealsense has not taken from the
    kernel. Those are counted as lost."""
    return [camera["overrun"] + lost for camera, lost in zip(emulator.stats(), kernel.not_taken())]


DEPTH_ONLY = {"color": None, "color_format": None, "set": {"global_time_enabled": False}}
