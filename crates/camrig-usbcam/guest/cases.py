#!/usr/bin/env python3
"""Cases with camrig and emulated cameras, inside a guest: `cases.py CAMRIG CASE...`; suite.py starts it.

Each case waits for facts, under a watchdog, and fails with a message. Its figures are written to $OUT/figures.json.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import traceback

CAMRIG = sys.argv[1]
OUT = os.environ["OUT"]
CAMERAS = int(os.environ["CAMERAS"])
# Seconds. The emulated processor shares two cores with its host: nothing here measures by it.
WATCHDOG = 600
POLL = 0.1
RATE = 5
# Cases that may fail before the rest is left out.
FAILURES_MAX = 3
# Frames for which a camera without a fault is watched after a step.
SURE = 5
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
    """Runs camrig, and returns what it wrote."""
    done = subprocess.run([CAMRIG, *arguments], capture_output=True, text=True, timeout=WATCHDOG)
    check(
        expect is None or done.returncode == expect,
        f"camrig {' '.join(arguments)} ended with {done.returncode}, not {expect}:\n{done.stdout}{done.stderr}",
    )
    return done.stdout + done.stderr


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
        text.append(f'[camera.c{index}]\ndriver = "realsense"\nslots = 24\n{keys}')
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

    def camera(self, index):
        actors = self.status()["actors"]
        return next((actor for actor in actors if actor["name"] == f"c{index}"), {"state": "unknown", "produced": 0})

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


FIRMWARE = {"d405": "5.16.0.1", "d435": "5.16.0.1", "d455": "5.15.1.0"}


def case_list():
    """devices, init, check and plan say what is attached."""
    devices = subprocess.run([CAMRIG, "devices", "--json"], capture_output=True, text=True, timeout=WATCHDOG).stdout
    keys = ["serial", "model", "firmware", "usb_type", "usb_port"]
    found = sorted(tuple(device.get(key) for key in keys) for device in json.loads(devices)["devices"])
    names = {"d405": "Intel RealSense D405", "d435": "Intel RealSense D435", "d455": "Intel RealSense D455"}
    stats = emulator.stats()
    expected = [
        (it["serial"], names[it["model"]], FIRMWARE[it["model"]], "3.2", f"2-{index + 1}") for index, it in enumerate(stats)
    ]
    check(found == expected, f"devices are {found}, not {expected}")
    path = "/tmp/init.toml"
    camrig("init", path)
    with open(path) as file:
        text = file.read()
    check(re.findall(r'serial = "(\d+)"', text) == [it["serial"] for it in stats], f"init wrote\n{text}")
    camrig("check", path)
    # All are on one controller of the emulated host.
    plan = camrig("plan", path, expect=1 if CAMERAS == 6 else None)
    need, assessment = ("2345", "risky") if CAMERAS == 6 else (r"\d+", r"[\w-]+")
    summary = re.findall(rf"^vhci_hcd\.0 usb2 +5000 +{CAMERAS} +{need} .* {assessment} ", plan, re.MULTILINE)
    check(summary, f"plan says\n{plan}")


def pixels(placement, framesets):
    path = topology()
    camrig("check", path)
    before = emulator.stats()
    rig = Rig(path, "--placement", placement, "--framesets", str(framesets))
    figure(f"{placement}: seconds to the first framesets of all cameras", round(rig.wait_first(), 1))
    code, report = rig.report()
    check(code == 0, f"the rig ended with {code}:\n{rig.log()}")
    for actor in report["actors"]:
        check(actor["restarts"] == 0 and not actor["errors"], f"{actor}\n{rig.log()}")
    for link in report["links"]:
        check(link["delivered"] == framesets, f"{link['from']} delivered {link['delivered']} of {framesets}: {link['dropped']}")
    after = emulator.stats()
    lost = sum(actor["lost"] for actor in report["actors"])
    overrun = sum(now["overrun"] - then["overrun"] for now, then in zip(after, before))
    check(lost <= overrun, f"{lost} framesets were lost, but only {overrun} frames were not fetched in time")
    figure(f"{placement}: framesets compared, lost", (framesets * CAMERAS, lost))
    opens = [now["opens"] - then["opens"] for now, then in zip(after, before)]
    # The check did it before, with the same options.
    check(opens == [1] * CAMERAS, f"opens of each camera are {opens}\n{rig.log()}")


def case_pixels_processes():
    """Each camera in a process: every pixel, number, timestamp and frame counter is as sent, and it is opened once."""
    pixels("multi-process", 15)


def case_pixels_together():
    """The same in one process."""
    pixels("in-process", 15)


DEPTH_ONLY = {"color": None, "color_format": None, "set": {"global_time_enabled": False}}
WAITING = ("waiting-for-device",)
SILENT = ("stalled", "restarting", *WAITING)
# Seconds without a frameset after which a camera of these rigs is restarted: a slow guest must not look like a fault.
STALL = 8
POLICY = f"restart = {{ max = 50, window = 60, backoff_max_millis = 500 }}\nstall_timeout_millis = {STALL}000\n"


class Recovery:
    """A rig some of whose cameras get faults: the others lose nothing."""

    def __init__(self):
        self.rig = Rig(topology(lambda _: DEPTH_ONLY, keys=POLICY))
        figure("seconds to the first framesets of all cameras", round(self.rig.wait_first(), 1))

    def together(self, scenarios):
        """Runs a scenario for each of some cameras at the same time: generators that yield facts to wait for."""
        others = [index for index in range(CAMERAS) if index not in scenarios]
        sent = emulator.stats()
        # A lost frame is counted when the next one arrives.
        for index in others:
            self.rig.wait_frames(index)
        before = {actor["name"]: actor for actor in self.rig.status()["actors"]}
        waits = {}
        for index, scenario in scenarios.items():
            waits[index] = next(scenario)

        def all_done():
            for index in list(waits):
                if waits[index]():
                    try:
                        waits[index] = next(scenarios[index])
                    except StopIteration:
                        del waits[index]
            return not waits

        wait_for(f"scenarios of cameras {list(scenarios)}", all_done, self.rig)
        for index in others:
            self.rig.wait_frames(index, SURE)
        status, stats = self.rig.status(), emulator.stats()
        now = {actor["name"]: actor for actor in status["actors"]}
        for index in others:
            then, camera = before[f"c{index}"], now[f"c{index}"]
            overrun = stats[index]["overrun"] - sent[index]["overrun"]
            lost, produced = camera["lost"] - then["lost"], camera["produced"] - then["produced"]
            check(camera["restarts"] == then["restarts"], f"camera {index} was restarted\n{self.rig.log()}")
            check(lost <= overrun, f"camera {index} lost {lost}, but {overrun} frames were not fetched\n{self.rig.log()}")
            figure(f"camera {index} meanwhile: framesets, lost", (produced, lost))
        dropped = sum(sum(link["dropped"].values()) for link in status["links"] if int(link["from"][1:]) in others)
        check(dropped == 0, f"{dropped} framesets of the others were dropped\n{self.rig.log()}")

    def end(self):
        """Stops the rig: no reader has found a wrong frameset."""
        report = self.rig.stop()
        for actor in report["actors"]:
            check(actor["role"] != "processor" or actor["restarts"] == 0, f"{actor['name']}: {actor['errors']}")
        restarts = [actor["restarts"] for actor in report["actors"] if actor["role"] == "camera"]
        figure("restarts of each camera", restarts)

    def scenario(self, name, index, fault, *then):
        """Gives a camera a fault with the commands `fault`, then takes the steps of `then`: waits for states and for
        facts, and runs commands. At the end waits for framesets of the camera."""
        began = time.monotonic()
        emulator.do(*fault)
        for step in then:
            if isinstance(step, str):
                emulator.do(step)
            elif isinstance(step, tuple):
                yield lambda: self.rig.camera(index)["state"] in step
                noticed, began = time.monotonic() - began, time.monotonic()
                figure(f"{name}: seconds until {step[0]}", round(noticed, 1))
            else:
                yield step
        before = self.rig.camera(index)["produced"]

        def runs():
            camera = self.rig.camera(index)
            return camera["state"] == "running" and camera["produced"] >= before + 2

        yield runs
        figure(f"{name}: seconds until its framesets", round(time.monotonic() - began, 1))


def case_unplugged():
    """Cameras that are unplugged are found again at any port by their serial number; the others lose nothing."""
    recovery = Recovery()
    rig, stats = recovery.rig, emulator.stats()
    own = stats[2]["serial"]

    def is_looked_at():
        return emulator.stats()[2]["opens"] > stats[2]["opens"]

    def still_waits():
        check(rig.camera(2)["state"] == "waiting-for-device", f"camera 2 is {rig.camera(2)}\n{rig.log()}")
        return True

    recovery.together({
        0: recovery.scenario("unplugged, plugged in again", 0, ["unplug 0"], WAITING, "plug 0"),
        1: recovery.scenario("plugged in at another port", 1, ["unplug 1"], WAITING, "port 1 6", "plug 1"),
        2: recovery.scenario(
            "another serial number at its port, then its own", 2, ["unplug 2"], WAITING,
            "serial 2 230000009999", "plug 2", is_looked_at, still_waits, "unplug 2", f"serial 2 {own}", "plug 2",
        ),
    })
    emulator.do("port 1 1")
    log = rig.log()
    recovery.end()
    # The log line of a camera that is gone names the camera.
    check(re.search(f"{stats[0]['serial']}`\\): .*No such device", log), f"librealsense's message is not in the log:\n{log}")


def case_silent():
    """Cameras without frames are restarted, then reset, then waited for; the others lose nothing."""
    recovery = Recovery()
    rig, stats = recovery.rig, emulator.stats()
    recovery.together({
        3: recovery.scenario("no frames until its streams start again", 3, ["freeze 3 until-restart"], SILENT),
        4: recovery.scenario("no frames until it is reset", 4, ["freeze 4 until-reset"], SILENT),
        5: recovery.scenario(
            "a reset that never ends, then plugged in again", 5, ["reset-time 5 never", "freeze 5 until-reset"], WAITING,
            "plug 5", "reset-time 5 1000",
        ),
    })
    resets = [now["resets"] - then["resets"] for now, then in zip(emulator.stats(), stats)]
    check(resets == [0, 0, 0, 0, 1, 1], f"resets of each camera are {resets}\n{rig.log()}")
    log = rig.log()
    recovery.end()
    # librealsense's notification of a silent stream.
    check("rames didn't arriv" in log, f"librealsense's notification is not in the log:\n{log}")


def case_recovery():
    """Each step of recovery on the last camera, one after the other; the others lose nothing."""
    recovery = Recovery()
    rig, last = recovery.rig, CAMERAS - 1
    own, free = emulator.stats()[last]["serial"], CAMERAS + 1

    def is_looked_at():
        return emulator.stats()[last]["opens"] > opens

    for name, fault, *then in [
        ("unplugged, plugged in again", [f"unplug {last}"], WAITING, f"plug {last}"),
        ("plugged in at another port", [f"unplug {last}"], WAITING, f"port {last} {free}", f"plug {last}"),
        (
            "another serial number at its port, then its own", [f"unplug {last}"], WAITING, f"serial {last} 230000009999",
            f"plug {last}", is_looked_at, f"unplug {last}", f"serial {last} {own}", f"plug {last}",
        ),
        ("no frames until its streams start again", [f"freeze {last} until-restart"], SILENT),
        ("no frames until it is reset", [f"freeze {last} until-reset"], SILENT),
        (
            "a reset that never ends, then plugged in again", [f"reset-time {last} never", f"freeze {last} until-reset"],
            WAITING, f"plug {last}", f"reset-time {last} 1000",
        ),
    ]:
        opens = emulator.stats()[last]["opens"]
        recovery.together({last: recovery.scenario(name, last, fault, *then)})
    check(emulator.stats()[last]["resets"] == 2, f"{emulator.stats()[last]}\n{rig.log()}")
    log = rig.log()
    recovery.end()
    # librealsense's log line of a camera that is gone, and its notification of a silent stream.
    for message in (rf"{own}`\): .*No such device", f"{own}`: librealsense reports: Frames didn't arriv"):
        check(re.search(message, log), f"{message!r} is not in the log:\n{log}")


def case_brownout():
    """All cameras are gone at once, and come back."""
    recovery = Recovery()
    rig = recovery.rig
    everyone = ",".join(map(str, range(CAMERAS)))
    emulator.do(f"brownout {everyone} 3000")
    seen = set()

    def all_missed():
        seen.update(index for index in range(CAMERAS) if rig.camera(index)["state"] != "running")
        return len(seen) == CAMERAS

    wait_for("all cameras missed", all_missed, rig)
    began = time.monotonic()
    for index in range(CAMERAS):
        rig.wait_frames(index)
    figure("all gone and back at once: seconds until framesets of all", round(time.monotonic() - began, 1))
    recovery.end()


def case_gaps():
    """Frames that are torn or missing are counted exactly."""
    rig = Rig(topology(lambda _: DEPTH_ONLY, cameras=1))

    def lose(command, counter, count):
        """Returns the framesets that were counted as lost, and the frames that the guest did not fetch in time."""
        overrun = emulator.stats()[0]["overrun"]
        # A lost frame is counted when the next one arrives.
        rig.wait_frames(0, 3)
        lost, done = rig.camera(0)["lost"], emulator.stats()[0][counter]
        emulator.do(command)
        wait_for(command, lambda: emulator.stats()[0][counter] == done + count, rig)
        rig.wait_frames(0, 4)
        return rig.camera(0)["lost"] - lost, emulator.stats()[0]["overrun"] - overrun

    for command, counter, count in [("skip 0 7", "skipped", 7), ("tear 0 4", "torn", 4)]:
        for _ in range(ATTEMPTS):
            found, overrun = lose(command, counter, count)
            check(count <= found <= count + overrun, f"`{command}`: {found} lost; {overrun} were not fetched\n{rig.log()}")
            if not overrun:
                break
        figure(f"{command}: counted as lost, frames that were not fetched in time", (found, overrun))
    rig.stop()


def case_selected():
    """A camera that is selected by serial number is the only one that is opened; the number is remembered in /tmp."""
    path, remembered = topology(lambda _: DEPTH_ONLY), "/tmp/camrig-realsense.cameras"
    if os.path.exists(remembered):
        os.remove(remembered)
    with open(path) as file:
        cameras = re.split(r"(?=^\[camera\.\w+\]$)", file.read(), flags=re.MULTILINE)[1:]
    last = CAMERAS - 1
    with open(path, "w") as file:
        file.write(cameras[last])

    def opened():
        before = emulator.stats()
        camrig("check", path)
        return [now["opens"] - then["opens"] for now, then in zip(emulator.stats(), before)]

    first, second = opened(), opened()
    figure("opens of each camera for the last one, serial numbers unknown", first)
    figure("opens of each camera for the last one, serial numbers known", second)
    check(second == [0] * last + [1], f"opens are {second}")
    with open(remembered) as file:
        check(file.read() == "".join(f"{240_000_001_001 + index} {serial}\n" for index, serial in enumerate(serials())), remembered)


def case_cold(count="2"):
    """Cold starts of a rig of all cameras, each in a process of its own, the only one that opens its camera."""
    times = []
    path = topology(lambda _: DEPTH_ONLY)
    camrig("check", path)
    for _ in range(int(count)):
        before = emulator.stats()
        rig = Rig(path, "--framesets", "1")
        times.append(rig.wait_first())
        code, report = rig.report()
        check(code == 0 and not any(actor["restarts"] for actor in report["actors"]), f"ended with {code}\n{rig.log()}")
        opens = [now["opens"] - then["opens"] for now, then in zip(emulator.stats(), before)]
        check(opens == [1] * CAMERAS, f"opens are {opens}\n{rig.log()}")
    times.sort()
    median = times[len(times) // 2]
    figure(f"{count} cold starts: seconds to the first framesets of all, median and longest", (round(median, 1), round(times[-1], 1)))


def case_cold_two(count="1"):
    """Cold starts of two rigs at once, of one half of the cameras each."""
    times = []
    path = topology(lambda _: DEPTH_ONLY)
    camrig("check", path)
    for _ in range(int(count)):
        before = emulator.stats()
        with open(path) as file:
            parts = re.split(r"(?=^\[camera\.\w+\]$)", file.read(), flags=re.MULTILINE)[1:]
        began, rigs = time.monotonic(), []
        for number, half in enumerate([parts[: CAMERAS // 2], parts[CAMERAS // 2 :]]):
            path = f"/tmp/half{number}.toml"
            with open(path, "w") as file:
                file.write("".join(half))
            log = open(f"{path}.log", "w+")
            command = [CAMRIG, "run", path, "--framesets", "1"]
            rigs.append((log, subprocess.Popen(command, stdout=log, stderr=log)))
        for log, process in rigs:
            code = process.wait(WATCHDOG)
            log.seek(0)
            check(code == 0, f"one of two rigs ended with {code}:\n{log.read()}")
        times.append(time.monotonic() - began)
        opens = [now["opens"] - then["opens"] for now, then in zip(emulator.stats(), before)]
        check(opens == [1] * CAMERAS, f"opens are {opens}")
    figure(f"{count} cold starts of two rigs at once: seconds until both had their framesets and ended, longest", round(max(times), 1))


def case_unplug_while(*transfers):
    """A camera that is unplugged while it is opened, set or started is found again; the others lose nothing."""
    recovery = Recovery()
    for count in transfers or ("60", "80", "100"):
        attached = emulator.stats()[0]["attached"]

        def is_gone_again():
            return emulator.stats()[0]["attached"] > attached and emulator.is_detached(0)

        recovery.together({
            0: recovery.scenario(
                f"unplugged again at control transfer {count} after it was attached", 0, ["unplug 0"], WAITING,
                f"unplug-after 0 {count}", "plug 0", is_gone_again, "plug 0",
            )
        })
    recovery.end()


def case_cycles(count="20"):
    """A camera is unplugged and plugged in again and again: no descriptor, no thread and no memory is lost."""
    policy = "restart = { max = 1000, window = 1, backoff_millis = 50, backoff_max_millis = 200 }\nstall_timeout_millis = 20000\n"
    rig = Rig(topology(lambda _: DEPTH_ONLY, cameras=1, keys=policy))
    rig.wait_frames(0)

    def used():
        """Descriptors, threads and MiB of private memory of each process."""
        uses = {}
        for process in rig.status()["processes"]:
            folder = f"/proc/{process['pid']}"
            with open(f"{folder}/smaps_rollup") as file:
                private = sum(int(kib) for kib in re.findall(r"^Private_\w+: +(\d+)", file.read(), re.MULTILINE))
            counts = (len(os.listdir(f"{folder}/fd")), len(os.listdir(f"{folder}/task")), round(private / 1024, 1))
            uses[process["name"]] = (process["pid"], *counts)
        return uses

    settled = None
    for cycle in range(int(count)):
        emulator.do("unplug 0")
        rig.wait_state(0, *WAITING)
        emulator.do("plug 0")
        rig.wait_frames(0)
        # The first cycles fill caches.
        if cycle == min(9, int(count) // 2):
            settled = used()
    after = used()
    figure(f"processes after some cycles: pid, descriptors, threads, private MiB", settled)
    figure(f"processes after {count} cycles", after)
    for name, (pid, descriptors, threads, private) in after.items():
        then = settled[name]
        check(pid == then[0], f"process {name} was replaced\n{rig.log()}")
        check(descriptors <= then[1] and threads <= then[2], f"{name} has {after[name]} after {then}\n{rig.log()}")
        check(private <= then[3] + 4, f"{name} has {private} MiB after {then[3]}")
    rig.stop()


def case_usb2():
    """A camera on USB 2 is refused, unless the topology accepts it; devices and plan say so."""
    devices = camrig("devices")
    check(devices.count("USB 2.1") == CAMERAS, f"devices says\n{devices}")
    refused = topology(lambda _: {**DEPTH_ONLY, "allow_usb2": None})
    plan = camrig("plan", refused, expect=None)
    check(plan.count("USB 2") >= CAMERAS, f"plan says\n{plan}")
    said = camrig("run", refused, expect=78)
    check(said.count("or set `allow_usb2 = true`") == CAMERAS, f"run says\n{said}")
    rig = Rig(topology(lambda _: DEPTH_ONLY), "--framesets", "10")
    code, report = rig.report()
    check(code == 0, f"the rig ended with {code}\n{rig.log()}")
    figure("USB 2, accepted: framesets of each camera", [link["delivered"] for link in report["links"]])


# By model: options of `set` and `set_color` with the control (interface, entity, selector) that has to hold the value.
SETTINGS = {
    "d435": (
        {"enable_auto_exposure": (False, "0.3.11=0"), "exposure": (8500, "0.3.3=8500"), "gain": (32, "0.2.4=32"),
         "laser_power": (300, "0.3.4=300"), "emitter_enabled": (0, "0.3.2=0"), "output_trigger_enabled": (True, "0.3.8=1"),
         "depth_units": (0.0005, "depth-table=500,")},
        {"brightness": (10, "3.2.2=10"), "contrast": (60, "3.2.3=60"), "saturation": (70, "3.2.7=70"),
         "hue": (20, "3.2.6=20"), "sharpness": (60, "3.2.8=60"), "gamma": (200, "3.2.9=200"), "gain": (64, "3.2.4=64"),
         "enable_auto_exposure": (False, "3.1.2=1"), "exposure": (300, "3.1.4=300"),
         "enable_auto_white_balance": (False, "3.2.11=0"), "white_balance": (5000, "3.2.10=5000"),
         "backlight_compensation": (1, "3.2.1=1"), "auto_exposure_priority": (True, "3.1.3=1")},
    ),
    "d405": (
        {"enable_auto_exposure": (False, "0.3.11=0"), "exposure": (8500, "0.3.3=8500"), "gain": (32, "0.2.4=32"),
         "depth_units": (0.0002, "depth-table=200,")},
        {"brightness": (10, "0.2.2=10"), "contrast": (60, "0.2.3=60"), "saturation": (70, "0.2.7=70"),
         "hue": (20, "0.2.6=20"), "sharpness": (60, "0.2.8=60"), "gamma": (200, "0.2.9=200"),
         "enable_auto_white_balance": (False, "0.2.11=0"), "white_balance": (5000, "0.2.10=5000")},
    ),
}

SETTINGS["d455"] = SETTINGS["d435"]
# By model: the option `sync` and what the camera has to hold.
SYNC = {"d405": (None, 0), "d435": ("master", 1), "d455": ("slave", 2)}


def case_options():
    """Options of each model are set, read back and refused; after a replug they are as the topology says."""
    models = [camera["model"] for camera in emulator.stats()]

    def options(index):
        depth, color = SETTINGS[models[index]]
        tables = ({name: value for name, (value, _) in table.items()} for table in (depth, color))
        return {**dict(zip(("set", "set_color"), tables)), "sync": SYNC[models[index]][0]}

    def check_controls(when):
        for index, model in enumerate(models):
            controls = emulator.ask(f"controls {index}")
            expected = [control for table in SETTINGS[model] for _, control in table.values()]
            expected.append(f"sync={SYNC[model][1]}")
            missing = [control for control in expected if f" {control}" not in f" {controls} "]
            check(not missing, f"{when}, {model} has not {missing}, but {controls}")

    rig = Rig(topology(options, keys=POLICY, reader="stats"))
    figure("seconds to the first framesets of all cameras, with all options", round(rig.wait_first(), 1))
    check_controls("after the start")
    figure("options set and read back", {model: sum(map(len, SETTINGS[model])) for model in models})
    for index in range(CAMERAS):
        emulator.do(f"unplug {index}")
        rig.wait_state(index, *WAITING)
        emulator.do(f"plug {index}")
        rig.wait_frames(index)
    check_controls("after it was plugged in again")
    rig.stop()
    wrong = {"set": {"exposure": 165_001, "gain": 7}, "set_color": {"brightness": 65}}
    refused = camrig("check", topology(lambda _: wrong, reader="stats"), expect=78)
    named = [refused.count(f"`{name}`") >= CAMERAS for name in ("exposure", "gain", "brightness")]
    check(all(named), f"check says\n{refused}")
    emulator.do("monitor-error 0 -6")
    said = camrig("check", topology(options, cameras=1, reader="stats"), expect=None)
    emulator.do("monitor-error 0 off")
    figure("each command of the hardware monitor fails: check says", [line for line in said.splitlines() if "error" in line])
    emulator.do("bad-calibration 0 on")
    said = camrig("check", topology(cameras=1, reader="stats"), expect=None)
    emulator.do("bad-calibration 0 off")
    figure("calibration with a wrong checksum: check says", [line for line in said.splitlines() if "error" in line])


def case_budget():
    """What plan says of a link's budget is what arrives over it."""
    path = topology(lambda _: {}, cameras=1, reader="stats")
    for megabits, fits in [(100, True), (8, False)]:
        plan = camrig("plan", path, "--cautious", str(megabits), "--optimistic", str(megabits), expect=0 if fits else 1)
        check(("fits" in plan) == fits or "too-much" in plan, plan)
        emulator.do(f"megabits {megabits}")
        rig = Rig(path, "--for", "10s")
        code, report = rig.report()
        emulator.do("megabits off")
        camera = next(actor for actor in report["actors"] if actor["role"] == "camera")
        rates = [round(stream["rate_hz"], 1) for stream in camera["streams"]]
        figure(f"a camera of 16 Mb/s on a link of {megabits} Mb/s: plan fits, rates, lost", (fits, rates, camera["lost"]))
        check(code == 0 and (min(rates) > 0.8 * RATE) == fits, f"ended with {code}, rates {rates}\n{rig.log()}")


def mend():
    """Ends the rig of a case that failed, and takes back its faults. Returns whether all cameras are back."""
    if Rig.running and Rig.running.process.poll() is None:
        Rig.running.process.kill()
        Rig.running.process.wait()
    for index in range(CAMERAS):
        emulator.do(f"freeze {index} off", f"reset-time {index} 1000", f"monitor-delay {index} 0", f"monitor-error {index} off")
        emulator.do(f"serial {index} {230_000_001_001 + index}", f"plug {index}")
    try:
        attached()
    except Failed as error:
        print(f"cases: {error}", flush=True)
        return False
    return True


def main():
    attached()
    print(f"cases: {CAMERAS} cameras attached, {float(open('/proc/uptime').read().split()[0]):.0f} s after the kernel's start", flush=True)
    failures = 0
    for name in sys.argv[2:]:
        name, *arguments = name.split(":")
        case = globals()[f"case_{name}"]
        print(f"cases: {name}: {case.__doc__}", flush=True)
        began = time.monotonic()
        try:
            case(*arguments)
            print(f"cases: {name} passed in {time.monotonic() - began:.0f} s", flush=True)
        # Whatever went wrong in a case, the next one is run.
        except Exception as error:
            failures += 1
            message = str(error) if isinstance(error, Failed) else "".join(traceback.format_exception(error))
            print(f"cases: {name} FAILED after {time.monotonic() - began:.0f} s: {message}", flush=True)
            kernel = subprocess.run(["dmesg"], capture_output=True, text=True, check=False).stdout.splitlines()
            usual = ("Not yet", "pdev(", "devid(", "new SuperSpeed", "new high-speed", "Product:", "Manufacturer:", "SerialNumber:", "New USB")
            lines = [line for line in kernel if "vhci" in line or "usb" in line]
            print("\n".join([line for line in lines if not any(word in line for word in usual)][-12:]), flush=True)
            if failures == FAILURES_MAX or not mend():
                break
    with open(f"{OUT}/figures.json", "w") as file:
        json.dump(figures, file, indent=1)
    sys.exit(1 if failures else 0)


main()
