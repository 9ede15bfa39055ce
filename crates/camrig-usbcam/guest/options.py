"""Cases of options and metadata: each option that librealsense lists, and metadata beside numbers and times."""

import json
import os
import re
import subprocess

from harness import ATTEMPTS, CAMERAS, CAMRIG, DEPTH_ONLY, Failed, Rig, WATCHDOG
from harness import camrig, check, command, emulator, figure, topology
from recovery import POLICY, WAITING

# Options that load others, which case `presets` sets.
OTHER_CASES = ("preset",)
# Options that give others another meaning, or rule them out.
SET_BACK = ("hdr_enabled", "sequence_name", "sequence_size", "sequence_id", "emitter_on_off")
# Options that librealsense ignores, without an error, while the first one is on.
RULED_OUT = {"emitter_on_off": "emitter_always_on"}
# The part of a value by which a number that was read back may differ from the one that was set.
PRECISION = 1e-6


def controls(rig, index):
    """The options of a camera that runs, by name."""
    asked = [CAMRIG, "get", f"c{index}", "--json", "--rig", str(rig.process.pid)]
    for _ in range(ATTEMPTS):
        done = subprocess.run(asked, capture_output=True, text=True, timeout=WATCHDOG, check=False)
        if "did not answer within" not in done.stderr:
            break
    check(done.returncode == 0, f"camrig get c{index} says\n{done.stderr}")
    return {control["name"]: control for control in json.loads(done.stdout)}


def only(path, index):
    """A topology with one camera of this one and its reader."""
    with open(path) as file:
        cameras = re.split(r"(?=^\[camera\.\w+\]$)", file.read(), flags=re.MULTILINE)[1:]
    with open(path, "w") as file:
        file.write(cameras[index])
    return path


def other_value(control):
    """A value of the option beside its present one, and one that it has not."""
    kind, value = control["range"], control["value"]
    if kind == "Switch":
        return not value, 7
    if "Choice" in kind:
        names = kind["Choice"]
        return names[(names.index(value) + 1) % len(names) if value in names else 0], "none of its names"
    least, most, step = (kind["Number"][key] for key in ("min", "max", "step"))
    step = step or (most - least) / 4
    middle = round(least + step * (round((most - least) / step) // 2), 6)
    return middle if middle != value else round(middle + step, 6), most + step


def are_equal(one, other):
    """Whether two values are the same, as far as a number of 32 bits can be."""
    if isinstance(one, float) or isinstance(other, float):
        return abs(float(one) - float(other)) <= PRECISION * max(1, abs(one))
    return one == other


def case_every_option(*models):
    """Every option that librealsense lists for a model is set while the camera runs, read back, and refused outside its range;
    those that have a place in a topology have their values again after a replug."""
    attached = [camera["model"] for camera in emulator.stats()]
    for model in models or sorted(set(attached)):
        every_option(model, attached.index(model))


def every_option(model, index):
    name_of = f"c{index}"
    rig = Rig(only(topology(keys=POLICY, reader="stats"), index))
    rig.wait_first()
    own = ["--live", "--rig", str(rig.process.pid)]
    failed, counts = [], {"set and read back": 0, "read-only, refused": 0, "at the next start only, refused": 0}

    def refused(name, value):
        answer = camrig("set", name_of, f"{name}={json.dumps(value)}", *own, expect=None)
        if "error:" not in answer or name.rpartition(".")[2] not in answer:
            failed.append(f"{name} = {value} was not refused: {answer.strip()}")

    now = controls(rig, index)
    # A visual preset changes others.
    for name in sorted((name for name in now if name not in OTHER_CASES), key=lambda name: name != "visual_preset"):
        control = now[name]
        if control["read_only"] or not control["live"]:
            refused(name, control["default"])
            counts["read-only, refused" if control["read_only"] else "at the next start only, refused"] += 1
            continue
        value, wrong = other_value(control)
        refused(name, wrong)
        try:
            command("set", name_of, f"{name}={json.dumps(value)}", *own)
        except Failed as error:
            failed.append(f"{name} = {value}, which was {control['value']}: {error}")
            continue
        # Other options may follow this one.
        now = controls(rig, index)
        found = now[name]["value"]
        print(f"    {name} = {found}; it was {control['value']}", flush=True)
        if found is None or not are_equal(found, value):
            failed.append(f"{name} is {found}, not {value}; it was {control['value']}")
        counts["set and read back"] += 1
        if value is True and name in RULED_OUT:
            refused(RULED_OUT[name], True)
        if name in SET_BACK:
            command("set", name_of, f"{name}={json.dumps(control['value'])}", *own)
            now = controls(rig, index)
    figure(f"options of a {model}", counts)
    emulator.do(f"unplug {index}")
    rig.wait_state(index, *WAITING)
    emulator.do(f"plug {index}")
    rig.wait_frames(index)
    after = controls(rig, index)
    kept = [it for it in now.values() if it["key"] and it["live"] and not it["read_only"] and it["name"] not in OTHER_CASES]
    for control in kept:
        found = after[control["name"]]["value"]
        if found is None or not are_equal(found, control["value"]):
            failed.append(f"{control['name']} is {found} after a replug, not {control['value']}")
    figure(f"options of a {model} that a topology has, compared after a replug", len(kept))
    check(rig.camera(index)["restarts"] == 1, f"restarted {rig.camera(index)['restarts']} times\n{rig.log()}")
    rig.stop()
    check(not failed, "\n".join(failed))


# Exposure, gain and laser power of cameras whose metadata are compared.
EXPOSURE, GAIN, LASER = 8500, 32, 300
# Laser power in the metadata of a camera without a projector.
LASER_DEFAULT = 150
# Least number of recorded frames.
FRAMES_MIN = 10


def case_metadata():
    """The metadata of recorded frames are those that the cameras sent."""
    models = [camera["model"] for camera in emulator.stats()]
    file = "/tmp/metadata.mcap"
    if os.path.exists(file):
        os.remove(file)

    def options(index):
        own = {"global_time_enabled": False, "enable_auto_exposure": False, "exposure": EXPOSURE, "gain": GAIN}
        return {**DEPTH_ONLY, "set": {**own, **({} if models[index] == "d405" else {"laser_power": LASER})}}

    path = topology(options, reader="stats")
    with open(path, "a") as topology_file:
        inputs = ", ".join(f'"c{index}"' for index in range(CAMERAS))
        topology_file.write(f'[processor.file]\nkind = "record"\ninputs = [{inputs}]\noptions = {{ file = "{file}" }}\n')
    camrig("run", path, "--framesets", "10")
    with open(file, "rb") as recording:
        found = re.findall(rb'"metadata":(\{[^}]*\})', recording.read())
    frames = [json.loads(text) for text in found]
    # The recorder of a slow guest may drop some, and counts them.
    check(len(frames) >= FRAMES_MIN, f"the recording has metadata of {len(frames)} frames")
    figure("frames with metadata, number of kinds", (len(frames), len(set().union(*frames))))
    lasers = {frame.get("frame-laser-power") for frame in frames}
    expected = {LASER_DEFAULT if model == "d405" else LASER for model in models}
    check(lasers <= expected, f"laser powers are {lasers}, not {expected}")
    sent = {"actual-exposure": EXPOSURE, "gain-level": GAIN, "auto-exposure": 0, "exposure-roi-right": 423}
    for frame in frames:
        wrong = {name: frame.get(name) for name, value in sent.items() if frame.get(name) != value}
        check(not wrong, f"{wrong} in {frame}")
    figure("metadata of a frame", frames[0])
