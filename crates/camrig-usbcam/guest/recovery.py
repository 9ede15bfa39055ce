"""Cases in which cameras are lost and recovered."""

import os
import re
import time

from harness import ATTEMPTS, CAMERAS, DEPTH_ONLY, Rig, check, emulator, figure, not_delivered, topology, wait_for

WAITING = ("waiting-for-device",)
SILENT = ("stalled", "restarting", *WAITING)
# Seconds without a frameset after which a camera of these rigs is restarted: a slow guest must not look like a fault.
STALL = 8
RESTART = "restart = { max = 50, window = 60, backoff_max_millis = 500 }\n"
POLICY = f"{RESTART}stall_timeout_millis = {STALL}000\n"
# Framesets of a camera without a fault that are counted before and after a step: more than are on their way in the guest.
SURE = 5
# A rig whose cameras are lost a thousand times.
CYCLES_POLICY = "restart = { max = 1000, window = 1, backoff_millis = 50, backoff_max_millis = 200 }\nstall_timeout_millis = 20000\n"
# Rounds of unplugging after which caches are full.
SETTLED = 10
# MiB of private memory by which the measurements of a process differ.
MEMORY_MARGIN = 4
# An option that is sent to the camera.
WITH_EXPOSURE = {**DEPTH_ONLY, "set": {"global_time_enabled": False, "enable_auto_exposure": False, "exposure": 8500}}


class Recovery:
    """A rig some of whose cameras get faults: the others lose nothing."""

    def __init__(self, options=DEPTH_ONLY, keys=POLICY, reader="verify"):
        self.rig = Rig(topology(lambda _: options, keys=keys, reader=reader))
        figure("seconds to the first framesets of all cameras", round(self.rig.wait_first(), 1))

    def together(self, scenarios):
        """Runs at the same time a scenario for each camera of `scenarios()`: generators of facts to wait for. Where the
        guest did not hand each frame of the others to camrig, this is repeated. Returns the number of attempts."""
        for attempt in range(1, ATTEMPTS + 1):
            missing = self.attempt(scenarios())
            if not missing:
                return attempt
            print(f"    attempt {attempt}: {missing}", flush=True)
        check(False, f"{missing}\n{self.rig.log()}")

    def attempt(self, scenarios):
        """Returns the losses of the other cameras, without frames that the guest did not fetch in time."""
        others = [index for index in range(CAMERAS) if index not in scenarios]
        missed = not_delivered()
        # A lost frame is counted when the next one arrives.
        for index in others:
            self.rig.wait_frames(index, SURE)
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
        status = self.rig.status()
        missed = [now - then for now, then in zip(not_delivered(), missed)]
        now = {actor["name"]: actor for actor in status["actors"]}
        dropped = {link["from"]: sum(link["dropped"].values()) for link in status["links"]}
        missing = []
        for index in others:
            then, camera = before[f"c{index}"], now[f"c{index}"]
            lost, produced = camera["lost"] - then["lost"], camera["produced"] - then["produced"]
            check(camera["restarts"] == then["restarts"], f"camera {index} was restarted\n{self.rig.log()}")
            earlier, reasons = then.get("lost_by_reason", {}), camera.get("lost_by_reason", {})
            reasons = {name: count - earlier.get(name, 0) for name, count in reasons.items() if count != earlier.get(name)}
            figure(f"camera {index} meanwhile: framesets, lost by reason, not fetched in time", (produced, reasons, missed[index]))
            if lost > missed[index]:
                missing.append(f"camera {index} lost {lost} framesets, but {missed[index]} frames were not fetched")
            if dropped[f"c{index}"] and not missed[index]:
                missing.append(f"{dropped[f'c{index}']} framesets of camera {index} were dropped")
        return missing

    def end(self):
        """Stops the rig: no reader has found a wrong frameset."""
        report = self.rig.stop()
        for index in range(CAMERAS):
            reader = next(actor for actor in report["actors"] if actor["name"] == f"r{index}")
            check(not reader["restarts"], f"{reader['name']}: {reader['errors']}")
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


def is_opened_again(index):
    """A fact: the camera has been opened since now."""
    opens = emulator.stats()[index]["opens"]
    return lambda: emulator.stats()[index]["opens"] > opens


def case_unplugged():
    """Cameras that are unplugged are found again at any port by their serial number; the others lose nothing."""
    recovery = Recovery()
    rig, stats = recovery.rig, emulator.stats()
    own = stats[2]["serial"]

    def still_waits():
        check(rig.camera(2)["state"] == "waiting-for-device", f"camera 2 is {rig.camera(2)}\n{rig.log()}")
        return True

    recovery.together(lambda: {
        0: recovery.scenario("unplugged, plugged in again", 0, ["unplug 0"], WAITING, "plug 0"),
        1: recovery.scenario("plugged in at another port", 1, ["unplug 1"], WAITING, "port 1 6", "plug 1"),
        2: recovery.scenario(
            "another serial number at its port, then its own", 2, ["unplug 2"], WAITING, "serial 2 230000009999", "plug 2",
            is_opened_again(2), still_waits, "unplug 2", f"serial 2 {own}", "plug 2",
        ),
    })
    emulator.do("port 1 1")
    log = rig.log()
    recovery.end()
    # The log line of a disconnected camera names the camera.
    check(re.search(f"{stats[0]['serial']}`\\): .*No such device", log), f"librealsense's message is not in the log:\n{log}")


def case_silent():
    """Cameras without frames are restarted, then reset, then waited for; the others lose nothing."""
    recovery = Recovery(reader="stats")
    rig, stats = recovery.rig, emulator.stats()
    attempts = recovery.together(lambda: {
        3: recovery.scenario("no frames until its streams start again", 3, ["freeze 3 until-restart"], SILENT),
        4: recovery.scenario("no frames until it is reset", 4, ["freeze 4 until-reset"], SILENT),
        5: recovery.scenario(
            "a reset that never ends, then plugged in again", 5, ["reset-time 5 never", "freeze 5 until-reset"], WAITING,
            "plug 5", "reset-time 5 1000",
        ),
    })
    resets = [now["resets"] - then["resets"] for now, then in zip(emulator.stats(), stats)]
    check(resets == [0, 0, 0, 0, attempts, attempts], f"resets of each camera are {resets}\n{rig.log()}")
    log = rig.log()
    recovery.end()
    # librealsense's notification of a silent stream.
    check("rames didn't arriv" in log, f"librealsense's notification is not in the log:\n{log}")


def case_recovery():
    """Each step of recovery on the last camera, one after the other; the others lose nothing."""
    recovery = Recovery()
    rig, last = recovery.rig, CAMERAS - 1
    own, free = emulator.stats()[last]["serial"], CAMERAS + 1
    resets = 0
    for name, resets_it, fault, *then in [
        ("unplugged, plugged in again", 0, [f"unplug {last}"], WAITING, f"plug {last}"),
        ("plugged in at another port", 0, [f"unplug {last}"], WAITING, f"port {last} {free}", f"plug {last}"),
        (
            "another serial number at its port, then its own", 0, [f"unplug {last}"], WAITING, f"serial {last} 230000009999",
            f"plug {last}", is_opened_again, f"unplug {last}", f"serial {last} {own}", f"plug {last}",
        ),
        ("no frames until its streams start again", 0, [f"freeze {last} until-restart"], SILENT),
        ("no frames until it is reset", 1, [f"freeze {last} until-reset"], SILENT),
        (
            "a reset that never ends, then plugged in again", 1, [f"reset-time {last} never", f"freeze {last} until-reset"],
            WAITING, f"plug {last}", f"reset-time {last} 1000",
        ),
    ]:
        def scenarios():
            steps = [step(last) if step is is_opened_again else step for step in then]
            return {last: recovery.scenario(name, last, fault, *steps)}

        resets += resets_it * recovery.together(scenarios)
    check(emulator.stats()[last]["resets"] == resets, f"not {resets} resets: {emulator.stats()[last]}\n{rig.log()}")
    log = rig.log()
    recovery.end()
    # librealsense's log line of a disconnected camera, and its notification of a silent stream.
    for message in (rf"{own}`\): .*No such device", f"{own}`: librealsense reports: Frames didn't arriv"):
        check(re.search(message, log), f"{message!r} is not in the log:\n{log}")


def case_brownout():
    """All cameras are gone at the same time, and come back."""
    recovery = Recovery()
    rig, then = recovery.rig, emulator.stats()
    restarts = [rig.camera(index)["restarts"] for index in range(CAMERAS)]
    began = time.monotonic()
    emulator.do(f"brownout {','.join(map(str, range(CAMERAS)))} 3000")

    def all_attached_again():
        return all(now["attached"] > before["attached"] and now["connected"] for now, before in zip(emulator.stats(), then))

    wait_for("all cameras attached again", all_attached_again, rig)
    wait_for(
        "all cameras restarted",
        lambda: all(rig.camera(index)["restarts"] > restarts[index] for index in range(CAMERAS)), rig,
    )
    for index in range(CAMERAS):
        rig.wait_frames(index)
    figure(f"all {CAMERAS} gone for 3 s: seconds until framesets of all", round(time.monotonic() - began, 1))
    check(emulator.stats()[0]["resets"] == then[0]["resets"], f"camera 0 was reset\n{rig.log()}")
    recovery.end()


def case_unplug_while(*transfers):
    """A camera that is unplugged while it is opened, set, started and stopped is found again; the others lose nothing."""
    recovery = Recovery(WITH_EXPOSURE)
    moments = [(f"it is {word}", f"unplug-at 0 {moment}") for word, moment in
               [("opened", "open"), ("set", "set"), ("started", "start")]]
    moments += [(f"transfer {count} after it was attached", f"unplug-after 0 {count}") for count in transfers]
    for name, fault in moments:
        def scenarios():
            attached = emulator.stats()[0]["attached"]

            def is_gone_again():
                return emulator.stats()[0]["attached"] > attached and emulator.is_detached(0)

            return {0: recovery.scenario(
                f"unplugged again while {name}", 0, ["unplug 0"], WAITING, fault, "plug 0", is_gone_again, "plug 0",
            )}

        recovery.together(scenarios)
    emulator.do("unplug-at 0 stop")
    recovery.end()
    check(emulator.is_detached(0), "camera 0 was not unplugged at its stop")
    emulator.do("plug 0")


def used(rig):
    """Process id, descriptors, threads and MiB of private memory of each process."""
    uses = {}
    for process in rig.status()["processes"]:
        folder = f"/proc/{process['pid']}"
        with open(f"{folder}/smaps_rollup") as file:
            private = sum(int(kib) for kib in re.findall(r"^Private_\w+: +(\d+)", file.read(), re.MULTILINE))
        counts = (len(os.listdir(f"{folder}/fd")), len(os.listdir(f"{folder}/task")), round(private / 1024, 1))
        uses[process["name"]] = (process["pid"], *counts)
    return uses


def case_cycles(count="20", seconds="3600"):
    """Cameras are unplugged and plugged in again and again, all at a time: no descriptor, no thread and no memory is lost."""
    count, until = int(count), time.monotonic() + float(seconds)
    rig = Rig(topology(lambda _: DEPTH_ONLY, keys=CYCLES_POLICY, reader="stats"))
    rig.wait_first()
    settled, rounds = None, 0
    while rounds * CAMERAS < count and time.monotonic() < until:
        emulator.do(*(f"unplug {index}" for index in range(CAMERAS)))
        wait_for("all cameras to be missed", lambda: all(it["state"] in WAITING for it in rig.cameras()), rig)
        before = [it["produced"] for it in rig.cameras()]
        emulator.do(*(f"plug {index}" for index in range(CAMERAS)))

        def all_run():
            now = rig.cameras()
            return all(it["state"] == "running" and it["produced"] >= then + 2 for it, then in zip(now, before))

        wait_for("framesets of all cameras", all_run, rig)
        rounds += 1
        if rounds == min(SETTLED, max(1, count // CAMERAS // 2)):
            settled = used(rig)
        if rounds % SETTLED == 0:
            print(f"    {rounds * CAMERAS} unplugged: {used(rig)}", flush=True)
    after = used(rig)
    figure(f"processes after {min(SETTLED, rounds) * CAMERAS} cameras were unplugged: pid, descriptors, threads, private MiB", settled)
    figure(f"processes after {rounds * CAMERAS} were unplugged", after)
    for name, (pid, descriptors, threads, private) in after.items():
        then = settled[name]
        check(pid == then[0], f"process {name} was replaced\n{rig.log()}")
        check(descriptors <= then[1] and threads <= then[2], f"{name} has {after[name]} after {then}\n{rig.log()}")
        check(private <= then[3] + MEMORY_MARGIN, f"{name} has {private} MiB after {then[3]}")
    rig.stop()
