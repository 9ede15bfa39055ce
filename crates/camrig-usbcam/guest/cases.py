#!/usr/bin/env python3
"""Cases with camrig and emulated cameras, inside a guest: `cases.py CAMRIG CASE...`; suite.py starts it.

Each case waits for facts, under a watchdog, and fails with a message. Its figures are written to $OUT/figures.json.
Cases are the functions `case_*` of this module, options.py, recovery.py and starts.py; `cycles:1000` calls one with an argument.
"""

import json
import math
import os
import re
import subprocess
import sys
import time
import traceback

import options as options_cases
import recovery
import starts
from harness import ATTEMPTS, CAMERAS, CAMRIG, DEPTH_ONLY, Failed, OUT, RATE, Rig, WATCHDOG
from harness import attached, camrig, check, command, emulator, figure, figures, kernel, not_delivered, serials, topology, wait_for
from recovery import POLICY, WAITING

# Cases that may fail before the rest is left out.
FAILURES_MAX = 3
# For cameras that a slow guest must not restart.
PATIENT = "stall_timeout_millis = 120000\n"
# Framesets of each camera for which a link with a budget is watched.
BUDGET_FRAMES = 20

FIRMWARE = "5.16.0.1"


def devices():
    """Returns the output of `camrig devices` for each camera."""
    done = subprocess.run([CAMRIG, "devices", "--json"], capture_output=True, text=True, timeout=WATCHDOG, check=False)
    return json.loads(done.stdout)["devices"]


def case_list():
    """devices, init, check and plan report the attached cameras."""
    keys = ["serial", "model", "firmware", "usb_type", "usb_port"]
    # The version of librealsense decides whether the maker is part of the model.
    found = sorted(tuple(device.get(key).removeprefix("Intel ") for key in keys) for device in devices())
    names = {"d405": "RealSense D405", "d435": "RealSense D435", "d455": "RealSense D455"}
    stats = emulator.stats()
    expected = [
        (it["serial"], names[it["model"]], FIRMWARE, "3.2", f"2-{index + 1}") for index, it in enumerate(stats)
    ]
    check(found == expected, f"devices are {found}, not {expected}")
    path = "/tmp/init.toml"
    camrig("init", path)
    with open(path) as file:
        text = file.read()
    check(re.findall(r'serial = "(\d+)"', text) == [it["serial"] for it in stats], f"init wrote\n{text}")
    camrig("check", path)
    # All are on one controller of the emulated host, whose speed the kernel decides.
    plan = camrig("plan", path, expect=1 if CAMERAS == 6 else None)
    need, assessment = ("2345", "risky") if CAMERAS == 6 else (r"\d+", r"[\w-]+")
    summary = re.findall(rf"^vhci_hcd\.0 usb2 +(5000|10000) +{CAMERAS} +{need} .* {assessment} ", plan, re.MULTILINE)
    check(summary, f"plan says\n{plan}")


def pixels(placement, framesets):
    """Compares framesets of all cameras, again if the guest was too slow: then cameras may be lost, and frames of different
    instants joined. Case `fast` shows that no frame has the number of another one then."""
    path = topology(keys=PATIENT)
    camrig("check", path)
    for _ in range(ATTEMPTS):
        before, due = emulator.stats(), sum(not_delivered())
        rig = Rig(path, "--placement", placement, "--framesets", str(framesets))
        figure(f"{placement}: seconds to the first framesets of all cameras", round(rig.wait_first(), 1))
        code, report = rig.report()
        after, due = emulator.stats(), sum(not_delivered()) - due
        failed = [(actor["name"], actor["errors"]) for actor in report["actors"] if actor["restarts"] or actor["errors"]]
        if not failed or not due:
            break
        print(f"    {failed} failed, and {due} frames were not taken in time", flush=True)
    check(code == 0 and not failed, f"the rig ended with {code}, failed are {failed}:\n{rig.log()}")
    for link in report["links"]:
        check(link["delivered"] == framesets, f"{link['from']} delivered {link['delivered']} of {framesets}: {link['dropped']}")
    lost = sum(actor["lost"] for actor in report["actors"])
    check(lost <= due, f"{lost} framesets were lost, but only {due} frames were not fetched in time")
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


def losses(faults):
    """Gives camera 0 faults: commands, the emulator's counters and their least increase. Each frame that was not sent whole is
    counted as lost."""
    rig = Rig(topology(lambda _: DEPTH_ONLY, cameras=1, keys=PATIENT))

    def lose(command, counter, count):
        """Returns the framesets that were counted as lost, the frames that were not sent whole, and those that the guest did
        not fetch in time."""
        overrun = not_delivered()[0]
        # A lost frame is counted when the next one arrives.
        rig.wait_frames(0, 3)
        lost, done = rig.camera(0)["lost"], emulator.stats()[0][counter]
        emulator.do(command)
        wait_for(command, lambda: emulator.stats()[0][counter] >= done + count, rig)
        rig.wait_frames(0, 4)
        stats = emulator.stats()[0]
        return rig.camera(0)["lost"] - lost, stats[counter] - done, not_delivered()[0] - overrun

    for command, counter, count in faults:
        for _ in range(ATTEMPTS):
            found, sent, overrun = lose(command, counter, count)
            check(sent <= found <= sent + overrun, f"`{command}`: {found} lost of {sent}; {overrun} were not fetched\n{rig.log()}")
            if not overrun:
                break
        figure(f"{command}: counted as lost, not sent whole, not fetched in time", (found, sent, overrun))
    rig.stop()


def case_gaps():
    """Frames that are torn or missing are counted exactly."""
    losses([("skip 0 7", "skipped", 7), ("tear 0 4", "torn", 4)])


def case_late():
    """Frames that a late one displaces are counted exactly."""
    losses([("late 0 700", "delayed", 2)])


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


def case_usb2():
    """A camera on USB 2 is refused, unless the topology accepts it; devices and plan say so."""
    listed = camrig("devices")
    check(listed.count("USB 2.1") == CAMERAS, f"devices says\n{listed}")
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
# librealsense applies a visual preset when the depth sensor is opened, and overwrites the options above.
VISUAL_PRESETS = {"d435": {"visual_preset": "high accuracy"}, "d455": {"visual_preset": "high density"}, "d405": {}}
# By model: the option `sync`, and the value that the camera must have.
SYNC = {"d405": (None, 0), "d435": ("master", 1), "d455": ("slave", 2)}


def case_options():
    """Options of each model are set, read back and refused; after a replug they are as the topology says."""
    models = [camera["model"] for camera in emulator.stats()]

    def options(index):
        depth, color = SETTINGS[models[index]]
        tables = ({name: value for name, (value, _) in table.items()} for table in (depth, color))
        tables = dict(zip(("set", "set_color"), tables))
        return {**tables, "set": {**tables["set"], **VISUAL_PRESETS[models[index]]}, "sync": SYNC[models[index]][0]}

    def check_controls(when):
        for index, model in enumerate(models):
            controls = emulator.ask(f"controls {index}")
            expected = [control for table in SETTINGS[model] for _, control in table.values()]
            expected.append(f"sync={SYNC[model][1]}")
            missing = [control for control in expected if f" {control}" not in f" {controls} "]
            check(not missing, f"{when}, {model} has not {missing}, but {controls}")

    rig = Rig(topology(options, keys=recovery.POLICY, reader="stats"))
    figure("seconds to the first framesets of all cameras, with all options", round(rig.wait_first(), 1))
    check_controls("after the start")
    figure("options set and read back", {model: sum(map(len, SETTINGS[model])) for model in models})
    for index in range(CAMERAS):
        emulator.do(f"unplug {index}")
        rig.wait_state(index, *recovery.WAITING)
        emulator.do(f"plug {index}")
        rig.wait_frames(index)
    check_controls("after it was plugged in again")
    for index in [index for index, model in enumerate(models) if "laser_power" in SETTINGS[model][0]]:
        command("set", f"c{index}", "laser_power=150", "--rig", str(rig.process.pid))
        line = f"option `emitter_enabled` of camera `{serials()[index]}` is 1 since `laser_power` was set; it was 0"
        check(line in rig.log(), f"the log has no line `{line}`:\n{rig.log()}")
    rig.stop()
    wrong = {"set": {"exposure": 165_001, "gain": 7}, "set_color": {"brightness": 65}}
    refused = camrig("check", topology(lambda _: wrong, reader="stats"), expect=78)
    named = [refused.count(f"`{name}`") >= CAMERAS for name in ("exposure", "gain", "brightness")]
    check(all(named), f"check says\n{refused}")


# The parameters of a preset that are changed, the controls that must have their values, and the table of the advanced mode.
PRESET = {"controls-autoexposure-auto": "False", "controls-autoexposure-manual": "3000", "controls-depth-gain": "40",
          "param-scanlinep1": "77"}
PRESET_HELD = ["0.3.11=0", "0.3.3=3000", "0.2.4=40"]
PRESET_TABLE = "6:4d"
# Its depth unit in um, which a camera has from its next start on, and those of the models.
PRESET_UNIT = 500
UNITS = {"d405": 100, "d435": 1000, "d455": 1000}


def case_presets():
    """A preset is saved from each camera, and another one loaded while it runs; after a replug the camera has it again."""
    # A preset takes some 80 transfers, longer than a slow guest may be silent otherwise.
    rig = Rig(topology(keys=PATIENT + recovery.RESTART, reader="stats"))
    rig.wait_first()
    own = ["--rig", str(rig.process.pid)]

    def check_controls(when, index, unit):
        controls = emulator.ask(f"controls {index}")
        missing = [control for control in (*PRESET_HELD, f"depth-table={unit},") if f" {control}" not in f" {controls} "]
        tables = re.search(r" advanced-tables=(\S*) ", controls)[1].split(",")
        check(not missing and PRESET_TABLE in tables, f"{when}, c{index} has not {missing}, but {controls}\n{rig.log()}")

    def saved(index, path):
        """The preset that the camera has, and its parameters."""
        command("options", f"c{index}", "--save", path, *own)
        with open(path) as file:
            preset = json.load(file)
        return preset, preset.get("parameters", preset)

    for index, camera in enumerate(emulator.stats()):
        path, unit = f"/tmp/c{index}.json", UNITS[camera["model"]]
        preset, parameters = saved(index, path)
        check(set(PRESET) <= set(parameters), f"the preset has {sorted(parameters)}")
        figure(f"c{index}: parameters of the preset that was saved", len(parameters))
        parameters.update(PRESET)
        units = dict.fromkeys(("param-depthunits", "param-zunits"), str(PRESET_UNIT))
        with open(path, "w") as file:
            json.dump({**preset, "parameters": {**parameters, **units}} if "parameters" in preset else {**preset, **units}, file)
        command("options", f"c{index}", "--load", path, *own)
        check_controls("after the preset was loaded", index, unit)
        line = f"has a depth unit of {PRESET_UNIT} um: camera `{camera['serial']}` keeps {unit} um until it is opened again"
        check(line in rig.log(), f"the log has no line `{line}`:\n{rig.log()}")
        _, held = saved(index, f"/tmp/held{index}.json")
        wrong = {name: (value, held.get(name)) for name, value in parameters.items() if held.get(name) != value}
        check(not wrong, f"the preset that was saved after this one was loaded differs: {wrong}")
        check(rig.camera(index)["restarts"] == 0, f"c{index} was restarted\n{rig.log()}")
        running = camrig("topology", str(rig.process.pid))
        check(path in running, f"the topology that runs is\n{running}")
        rig.wait_frames(index, 3)
        emulator.do(f"unplug {index}")
        rig.wait_state(index, *recovery.WAITING)
        emulator.do(f"plug {index}")
        rig.wait_frames(index)
        check_controls("after it was plugged in again", index, PRESET_UNIT)
    rig.stop()


# Frames per second that are more than a guest fetches, and framesets for which such cameras are watched.
FAST, FAST_FRAMESETS = 60, 200


def case_fast(framesets=FAST_FRAMESETS):
    """Cameras that are faster than the guest: no frameset has the pixels of another one, although the kernel delivers
    frames without their metadata."""
    policy = PATIENT + "restart = { max = 1000, window = 1, backoff_millis = 10, backoff_max_millis = 10 }\n"
    for placement in ("in-process", "multi-process"):
        path = topology(lambda _: DEPTH_ONLY, keys=policy, rate=FAST)
        with open(path) as file:
            text = file.read().replace('process = "reader"\n', 'restart = { max = 1000, window = 1, backoff_millis = 10 }\n')
        with open(path, "w") as file:
            file.write(text)
        without = kernel.without_metadata()
        rig = Rig(path, "--placement", placement)
        rig.wait_first()
        for index in range(CAMERAS):
            rig.wait_frames(index, int(framesets))
        report, without = rig.stop(), kernel.without_metadata() - without
        actors = {actor["name"]: actor for actor in report["actors"]}
        cameras = [actors[f"c{index}"] for index in range(CAMERAS)]
        counts = [(camera["produced"], camera.get("lost_by_reason", {})) for camera in cameras]
        wrong = [actors[f"r{index}"]["restarts"] for index in range(CAMERAS)]
        figure(
            f"cameras at {FAST} Hz, {placement}: framesets and lost ones of each, frames without metadata, wrong framesets of each",
            (counts, without, wrong),
        )
        check(not any(wrong), f"framesets are wrong: {[actors[f'r{index}']['errors'] for index in range(CAMERAS)]}\n{rig.log()}")


# Megabits per second of the depth of one camera of these rigs.
NEED = 424 * 240 * 16 * RATE / 1e6


def case_regions():
    """Auto exposure is limited to a region as soon as the camera takes one, also after a replug; other settings exclude it."""
    models = [camera["model"] for camera in emulator.stats()]
    # Left, top, right and bottom; the cameras hold top, bottom, left and right.
    depth, color = [10, 20, 300, 200], [30, 40, 100, 90]

    def options(index):
        # Color of a D405 comes from its depth sensor. Cameras keep the exposure of an earlier case.
        auto = {"enable_auto_exposure": True}
        return {"exposure_region": depth, "set": auto} | (
            {} if models[index] == "d405" else {"exposure_region_color": color, "set_color": auto}
        )

    def has_regions(index):
        own = emulator.ask(f"controls {index}").rpartition(" exposure-regions=")[2]
        return own.startswith("20,200,10,300,") and (models[index] == "d405" or own.endswith(",40,90,30,100"))

    rig = Rig(topology(options, keys=POLICY, reader="stats"))
    for when in ("the start", "a replug"):
        for index in range(CAMERAS):
            if when == "a replug":
                emulator.do(f"unplug {index}")
                rig.wait_state(index, *WAITING)
                emulator.do(f"plug {index}")
            wait_for(f"regions of camera {index} after {when}", lambda index=index: has_regions(index), rig)
    report = rig.stop()
    check(all(not actor["errors"] or "unplugged" in actor["errors"][0] for actor in report["actors"]), rig.log())
    refused = camrig("check", topology(lambda _: {"exposure_region": depth, "set": {"gain": 32}}, reader="stats"), expect=78)
    check("`exposure_region` needs automatic exposure, which `gain` in `set` turns off" in refused, refused)
    figure("regions of auto exposure", {model: "depth" if model == "d405" else "depth and color" for model in models})


def case_budget():
    """The assessment of a link by plan agrees with the frames that arrive over it."""
    path, need = topology(lambda _: DEPTH_ONLY, keys=PATIENT, reader="stats"), NEED * CAMERAS
    for share, assessment in [(3, "fits"), (1.5, "fits"), (0.6, "too-much"), (0.25, "too-much")]:
        megabits = round(need * share)
        plan = camrig("plan", path, "--cautious", str(megabits), "--optimistic", str(megabits), expect=int(assessment != "fits"))
        said = re.search(rf"^vhci_hcd\.0 usb2 .* {CAMERAS} +{round(need)} .* {assessment} ", plan, re.MULTILINE)
        check(said, f"plan does not say `{assessment}` of {need:.1f} Mb/s:\n{plan}")
        emulator.do(f"megabits {megabits}")
        rig = Rig(path)
        rig.wait_first()
        before = emulator.stats()
        for index in range(CAMERAS):
            rig.wait_frames(index, BUDGET_FRAMES)
        after = emulator.stats()
        report = rig.stop()
        emulator.do("megabits off")
        sent, congested, overrun = (
            sum(now[name] - then[name] for now, then in zip(after, before)) for name in ("frames", "congested", "overrun")
        )
        figure(
            f"{CAMERAS} cameras of {need:.1f} Mb/s on a link of {megabits} Mb/s: plan, share of frames that arrive, frames sent, "
            "that the link did not carry, that were not fetched in time",
            (assessment, round(sent / (sent + congested + overrun), 2), sent, congested, overrun),
        )
        due = sent + congested + overrun
        check(assessment != "fits" or congested <= 0.1 * due, f"the link did not carry {congested} frames of {due}")
        check(sent <= (share + 0.1) * due, f"{sent} frames of {due} arrived, which is more than {megabits} Mb/s")
        check(assessment == "fits" or congested, f"the link carried all {due} frames")
        check(not any(actor["restarts"] for actor in report["actors"]), f"an actor was restarted\n{rig.log()}")


# Rates of the motion sensors of these rigs, and framesets of their cameras.
MOTION, MOTION_FRAMESETS = {"accel": 63, "gyro": 200}, 25
# By stream: one step of the first axis, in m/s2 or rad/s, and the second axis.
MOTION_UNITS = {"accel": (0.00980665, 9.80665), "gyro": (math.radians(0.0001), 0)}
# Times of the camera's clock are below, those of the host above.
HARDWARE_NANOS_MAX = 10**18
# Number of values of the first axis.
MOTION_VALUES = 1000


def motion_errors(stream, text):
    """Compares samples with those that the camera sent: returns how many are missing between the first and the last, and
    the lines that are wrong."""
    step, second = MOTION_UNITS[stream]
    samples = [[float(word) for word in line.split(",")] for line in text.split()]
    first_nanos, first_number = samples[0][0], round(abs(samples[0][1]) / step)
    numbers, wrong = [], []
    for nanos, x, y, z in samples:
        numbers.append(round((nanos - first_nanos) * MOTION[stream] / 1e9))
        value = step * ((first_number + numbers[-1]) % MOTION_VALUES)
        if abs(abs(x) - value) > step / 10 or abs(abs(y) - second) > 1e-3 or abs(z) > 1e-3:
            wrong.append((nanos, x, y, z))
    wrong += [f"sample {number} after {before}" for before, number in zip(numbers, numbers[1:]) if number <= before]
    return numbers[-1] + 1 - len(numbers), wrong


def case_motion():
    """Motion sensors send through HID and IIO: every sample arrives once, with its time and values."""
    index = next((index for index, camera in enumerate(emulator.stats()) if camera["model"] == "d455"), None)
    check(index is not None, "no camera has motion sensors")
    path = topology(lambda it: {**DEPTH_ONLY, **(MOTION if it == index else {})}, keys=PATIENT, reader="stats")
    folder = "/tmp/motion"
    os.makedirs(folder, exist_ok=True)
    with open(path, "a") as file:
        file.write(f'[processor.files]\nkind = "snapshot"\ninputs = ["c{index}"]\nqueue = 20\n')
        file.write(f'options = {{ folder = "{folder}", every = 1 }}\n')
    rig = Rig(path)
    rig.wait_first()
    # By default the times of samples are estimates of the host's.
    command("set", f"c{index}", "motion.global_time_enabled=false", "--live", "--rig", str(rig.process.pid))
    rig.wait_frames(index, MOTION_FRAMESETS)
    report = rig.stop()
    for stream in MOTION:
        files = sorted(name for name in os.listdir(folder) if name.endswith(f"-{stream}.csv"))
        text = ""
        for name in files:
            with open(f"{folder}/{name}") as file:
                lines = file.read().removeprefix("nanos,x,y,z\n").splitlines(keepends=True)
                text += "".join(line for line in lines if int(line.partition(",")[0]) < HARDWARE_NANOS_MAX)
        check(text, f"no samples of {stream} came\n{rig.log()}")
        missing, wrong = motion_errors(stream, text)
        check(not wrong, f"{len(wrong)} samples of {stream} are wrong, such as {wrong[:3]}, of\n{text[:600]}")
        figure(f"{stream} at {MOTION[stream]} Hz: samples with the right values and times, missing", (len(text.split()), missing))
    lost = {actor["name"]: actor["lost"] for actor in report["actors"] if actor["lost"]}
    figure("framesets and samples that were lost", lost)


# Commands that give camera 0 a fault and remove it, the exit code of a run of camera 0, and a part of its message.
FAULTY = {
    "each command of the hardware monitor fails": (
        "monitor-error 0 -6", "monitor-error 0 off", 69, "one that cannot be opened (hwmon command",
    ),
    "calibration with a wrong checksum": (
        "bad-calibration 0 on", "bad-calibration 0 off", 0, "cannot be read, and is missing in every frameset: ",
    ),
    "each command of the hardware monitor takes 1 s longer": ("monitor-delay 0 1000", "monitor-delay 0 0", 0, ""),
    "each command of the hardware monitor takes 6 s longer": ("monitor-delay 0 6000", "monitor-delay 0 0", 69, "timed out"),
}


def case_faulty():
    """A camera that answers wrongly or too late is named with librealsense's reason; a slow one is waited for."""
    # The calibration of color needs the table; librealsense has another source of that of depth.
    path = topology(cameras=1, keys=PATIENT, reader="stats")
    for name, (fault, mended, code, says) in FAULTY.items():
        emulator.do(fault)
        began = time.monotonic()
        said = camrig("run", path, "--framesets", "3", expect=code)
        check(says in said, f"{name}: run says\n{said}")
        figure(f"{name}: exit code and seconds of a run", (code, round(time.monotonic() - began)))
        emulator.do(mended)
    # Other firmware: the result of an earlier check is no longer valid.
    for firmware, expected in (("5.10.3.2", 2), (FIRMWARE, 1)):
        attached_before = emulator.stats()[0]["attached"]
        emulator.do("unplug 0", f"firmware 0 {firmware}", "plug 0")
        wait_for("another firmware", lambda: emulator.stats()[0]["attached"] > attached_before)
        attached()
        opens = emulator.stats()[0]["opens"]
        camrig("run", path, "--framesets", "3")
        opens = emulator.stats()[0]["opens"] - opens
        check(opens == expected, f"with firmware {firmware}, camera 0 was opened {opens} times, not {expected}")
        found = [device["firmware"] for device in devices() if device["serial"] == serials()[0]]
        check(found == [firmware], f"devices says firmware {found}, not {firmware}")
        figure(f"with firmware {firmware}, which a check did not see before or did: opens by a run", opens)


MODULES = [sys.modules[__name__], options_cases, recovery, starts]


def mend():
    """Ends the rig of a case that failed, and takes back its faults. Returns whether all cameras are back."""
    if Rig.running and Rig.running.process.poll() is None:
        Rig.running.process.kill()
        Rig.running.process.wait()
    for index in range(CAMERAS):
        emulator.do(f"freeze {index} off", f"reset-time {index} 1000", f"monitor-delay {index} 0", f"monitor-error {index} off")
        emulator.do(f"bad-calibration {index} off", f"unplug-at {index} off", f"port {index} {index}", "megabits off")
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
        case = next(getattr(module, f"case_{name}") for module in MODULES if hasattr(module, f"case_{name}"))
        print(f"cases: {name}: {case.__doc__}", flush=True)
        began = time.monotonic()
        try:
            case(*arguments)
            print(f"cases: {name} passed in {time.monotonic() - began:.0f} s", flush=True)
        # After any failure of a case, the next one runs.
        except Exception as error:
            failures += 1
            message = str(error) if isinstance(error, Failed) else "".join(traceback.format_exception(error))
            print(f"cases: {name} FAILED after {time.monotonic() - began:.0f} s: {message}", flush=True)
            kernel = subprocess.run(["dmesg"], capture_output=True, text=True, check=False).stdout.splitlines()
            usual = ("Not yet", "pdev(", "devid(", "new SuperSpeed", "new high-speed", "Product:", "Manufacturer:", "SerialNumber:",
                     "New USB", "unlink->", "urb->status", "given back", "suppressed")
            lines = [line for line in kernel if "vhci" in line or "usb" in line]
            print("\n".join([line for line in lines if not any(word in line for word in usual)][-12:]), flush=True)
            if failures == FAILURES_MAX or not mend():
                break
    with open(f"{OUT}/figures.json", "w") as file:
        json.dump(figures, file, indent=1)
    sys.exit(1 if failures else 0)


main()
