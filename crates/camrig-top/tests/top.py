"""`camrig top` and the table of `camrig run`, on a real terminal: tmux. Whole screens are compared.

CAMRIG is the path of the program. Numbers differ from run to run: on the screens each one is a `#`.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

WATCHDOG_SECONDS = 60
WIDTH = 150
HEIGHT = 20
# The word of a shell for a job that Ctrl-Z has stopped.
STOPPED = re.compile(r"(Stopped|Suspended)")
PROGRAM = os.path.abspath(os.environ.get("CAMRIG", "target/debug/camrig"))
# A name of this test alone: other rigs may run on this machine.
RIG = f"top-{os.getpid()}.toml"

TOPOLOGY = """
[camera.left]
driver = "synthetic"
options = { depth = "424x240@15", color = "424x240@15" }

[camera.loose]
driver = "synthetic"
options = { depth = "424x240@15", color = "424x240@15", seed = 1, unplug_at = 0.5 }
device_timeout_millis = 3600000

[processor.stats]
kind = "stats"
inputs = ["left", "loose"]
options = { every_seconds = 0 }
"""

TOP = """\
camrig top top-#.toml, #:#:#, # actors in # processes

ACTOR KIND PROCESS STATE FPS MADE LOST DROPPED P# MS RESTARTS CPU % MB
left synthetic left running # # # # # # # #
loose synthetic loose waiting-for-device # # # # # # # #
stats stats stats running # - - # # # # #
q quits, the rig keeps running; up and down select an actor and show its last error; ? shows the other keys"""

MARKED = "loose: the device with serial # was unplugged, as option `unplug_at` asks"

# The whole lines of `camrig top` by the width of the terminal: a column is there with every digit, or not at all.
NARROW = {
    80: [
        r"ACTOR +STATE +FPS +MADE +LOST +DROPPED +P99 MS +RESTARTS +CPU %",
        r"left +running +\d+\.\d +\d+ +\d+ +\d+ +\d+\.\d +\d+ +\d+",
        r"loose +waiting-for-device +0\.0 +\d+ +\d+ +\d+ +\d+\.\d +\d+ +\d+",
    ],
    60: [
        r"ACTOR +STATE +FPS +LOST +DROPPED +P99 MS",
        r"left +running +\d+\.\d +\d+ +\d+ +\d+\.\d",
        r"loose +waiting-for-device +0\.0 +\d+ +\d+ +\d+\.\d",
    ],
    40: [
        r"ACTOR +STATE +FPS +DROPPED",
        r"left +running +\d+\.\d +\d+",
        r"loose +waiting-for-device +0\.0 +\d+",
    ],
}

TABLE = """\
top-#.toml, #:#:#, # actors in # processes
actor process state fps dropped lost p# ms cpu % MB
left left running # # # # # #
loose loose waiting-for-device # # # # # #
stats stats running # # - # # #"""


class Terminal:
    """A terminal with a tmux server of its own, which ends with it."""

    def __init__(self, folder, name):
        self.tmux = ["tmux", "-S", f"{folder}/{name}", "-f", "/dev/null"]
        # The kernel closes this pipe when this process ends, however that happens, and then the server is ended.
        ends = f"cat >/dev/null; exec {shlex.join(self.tmux)} kill-server"
        words = ["setsid", "sh", "-c", ends]
        self.ender = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.call("new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), "env", "-i", "sh")
        self.call("set-option", "-g", "remain-on-exit", "on")

    def call(self, *words):
        return subprocess.run([*self.tmux, *words], check=True, capture_output=True, text=True).stdout

    def type(self, *keys):
        self.call("send-keys", *keys)

    def resize(self, width):
        self.call("resize-window", "-x", str(width))

    def screen(self):
        return self.call("capture-pane", "-p")

    def modes(self):
        """Returns the words of `stty -a`."""
        device = self.call("display-message", "-p", "#{pane_tty}").strip()
        return re.split(r"[\s;]+", subprocess.check_output(["stty", "-a", "-F", device], text=True))

    def shell(self):
        return int(self.call("display-message", "-p", "#{pane_pid}"))

    def foreground(self):
        """Returns the first process of the job in the foreground; without a job it is the shell."""
        with open(f"/proc/{self.shell()}/stat") as stat:
            # The eighth field; the second one, in parentheses, may have spaces.
            return int(stat.read().rpartition(")")[2].split()[5])

    def end(self):
        self.ender.stdin.close()
        self.ender.wait()


def plain(screen):
    """Returns a screen without the parts that differ from run to run."""
    screen = re.sub(r"\d+(\.\d+)?", "#", re.sub(r"[▁▂▃▄▅▆▇█]+", " ", screen))
    lines = [re.sub(r" +", " ", line).strip() for line in screen.rstrip().split("\n")]
    # The screen is as high as the terminal: removes empty lines.
    return re.sub(r"\n{3,}", "\n", "\n".join(lines))


def main():
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/{RIG}", "w") as file:
            file.write(TOPOLOGY)
        rig, viewer = Terminal(folder, "rig"), Terminal(folder, "viewer")
        try:
            watch(folder, rig, viewer)
        finally:
            rig.end()
            viewer.end()
    print("the screens are as they should be")


def watch(folder, rig, viewer):
    rig.type(f"cd {folder}; {PROGRAM} run {RIG}", "Enter")
    until("the table of the run", rig, lambda screen: plain(screen).endswith(TABLE))

    viewer.type(f"cd {folder}; TERM=screen {PROGRAM} top {RIG}", "Enter")
    until("the whole screen", viewer, lambda screen: plain(screen) == TOP)
    for width, lines in NARROW.items():
        viewer.resize(width)
        until(f"{width} columns", viewer, lambda screen: all(re.search(f"^{line}$", screen, re.M) for line in lines))
    viewer.resize(WIDTH)
    until("the whole screen again", viewer, lambda screen: plain(screen) == TOP)
    viewer.type("C-z")
    until("the shell of a stopped screen", viewer, lambda screen: STOPPED.search(screen) and "ACTOR" not in screen)
    viewer.type("fg", "Enter")
    until("the whole screen after its stop", viewer, lambda screen: plain(screen) == TOP)
    viewer.type("Down", "Down")
    until("the last error", viewer, lambda screen: plain(screen).endswith(MARKED))
    viewer.type("Up", "p")
    until("a paused camera", viewer, lambda screen: re.search(r"^left .* paused ", plain(screen), re.M))
    viewer.type("p")
    until("the camera again", viewer, lambda screen: re.search(r"^left .* running ", plain(screen), re.M))
    viewer.type("s", "gain=32", "Enter")
    until("what was set", viewer, lambda screen: re.search(r"option `gain` .*-> 32$", screen.rstrip().split("\n")[-1]))
    viewer.type("s", "gain=9999", "Enter")
    until("a refusal", viewer, lambda screen: "it must be 16 to 248" in screen)
    viewer.type("r")
    until("a restart", viewer, lambda screen: "restart camera `left`: as requested" in screen)
    viewer.type("m")
    until("a recorder", viewer, lambda screen: re.search(r"^record-\S+ +record ", screen, re.M))
    viewer.type("w")
    until("pictures", viewer, lambda screen: "the pictures are in the folder where the rig was started" in screen)
    pictures = sorted(re.sub(r"\d+", "#", name) for name in os.listdir(folder) if name.endswith(".png"))
    assert pictures == [f"left-#-{what}.png" for what in ("color", "depth#", "depth")], pictures
    # The recorder is the last row.
    viewer.type("Down", "Down", "Down", "x")
    until("the end of the recording", viewer, lambda screen: "remove processor `record-" in screen)
    recordings = [name for name in os.listdir(folder) if re.fullmatch(r"left-[\d-]+\.mcap", name)]
    assert len(recordings) == 1, os.listdir(folder)
    subprocess.run([PROGRAM, "recording", "verify", f"{folder}/{recordings[0]}"], check=True, stdout=subprocess.DEVNULL)
    viewer.type("?")
    until("the keys", viewer, lambda screen: "r restarts the selected actor, p pauses or resumes a camera" in screen)
    viewer.type("q")
    until("the shell", viewer, lambda screen: "ACTOR" not in screen)
    viewer.type("echo top ended with $?", "Enter")
    until("its exit code", viewer, lambda screen: "top ended with 0" in screen)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        viewer.type(f"clear; TERM=screen {PROGRAM} top {RIG}", "Enter")
        until("the screen before a signal", viewer, lambda screen: "ACTOR" in screen)
        os.kill(viewer.foreground(), number)
        until("a shell in the foreground", viewer, lambda _: viewer.foreground() == viewer.shell())
        viewer.type("echo ended with $?", "Enter")
        code = 128 + number
        until(f"the shell after signal {number}", viewer, lambda screen: f"ended with {code}" in screen)
        check_terminal(viewer, f"after signal {number}")
    viewer.type(f"clear; {PROGRAM} top {RIG} >/dev/full; echo ended with $?", "Enter")
    until("the end without a screen", viewer, lambda screen: "ended with 70" in screen)
    check_terminal(viewer, "after a screen that cannot be written")

    # The rig was not affected.
    assert plain(rig.screen()).endswith(TABLE), rig.screen()
    rig.type("C-z")
    until("the shell without the table", rig, lambda screen: STOPPED.search(screen) and "loose loose" not in plain(screen))
    # The output of the shell now uses the whole screen.
    rig.type("seq 100 130", "Enter")
    until("lines on the whole screen", rig, lambda screen: screen.rstrip().splitlines()[-2:-1] == ["130"])
    assert len(rig.screen().rstrip().splitlines()) == HEIGHT, rig.screen()
    rig.type("fg", "Enter")
    until("the table again", rig, lambda screen: plain(screen).endswith(TABLE) and "130" in screen)

    # Without a name `top` shows the only rig: name it if there are others.
    name = RIG if others() else ""
    viewer.type("clear", "Enter", f"TERM=screen {PROGRAM} top {name}", "Enter")
    until("the rig", viewer, lambda screen: "loose" in screen)

    rig.type("C-c", "echo ended with $?", "Enter")
    # A camera that never came back is a failure of the run.
    until("the end", rig, lambda screen: re.search(r"ended with \d+", screen) and "waiting" not in screen)
    until("the end of the rig", viewer, lambda screen: "the rig has ended" in screen)


def check_terminal(terminal, when):
    """Checks that the shell has its screen, and a terminal in which lines are edited and echoed."""
    assert "ACTOR" not in terminal.screen(), (when, terminal.screen())
    modes = terminal.modes()
    assert {"icanon", "echo", "isig", "icrnl", "opost"} <= set(modes), (when, modes)


def others():
    """Returns whether other rigs run: each has a status socket with a name like `camrig-0-PID-...`."""
    with open("/proc/net/unix") as sockets:
        names = re.findall(r"@(camrig-\d+-\S+)", sockets.read())
    return len(set(names)) > 1


def until(what, terminal, look):
    end = time.monotonic() + WATCHDOG_SECONDS
    while time.monotonic() < end:
        screen = terminal.screen()
        if look(screen):
            return
        time.sleep(0.05)
    sys.exit(f"timed out: {what}; the screen is\n{terminal.screen()}\nwhich is\n{plain(terminal.screen())}")


if __name__ == "__main__":
    main()
