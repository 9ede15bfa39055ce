"""Measures dora on the work of `bench.rs`: six cameras of 848x480@30 with depth and color on two hosts, read on a third.

usage: with_dora.py

`just bench-hosts-dora` runs it beside `bench.rs`. It needs root, iproute2, and an interpreter with dora-rs, dora-rs-cli and
numpy. Hosts are network namespaces with a cable between them. `with_dora.py send PHASE` and `with_dora.py receive FILE` are the
nodes.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

HOSTS = ["arm", "base"]
CAMERAS = 3
FRAMESET_BYTES = 848 * 480 * (2 + 3)
PERIOD_NANOS = 1_000_000_000 // 30
BEFORE_SECONDS = 4
SECONDS = 12
START_SECONDS = 40
PARTS = {"coordinator": "coordinator", "daemon": "daemons", "send": "cameras", "receive": "reader"}


def send(phase):
    """Sends the frames of one camera, which are made once."""
    import numpy
    import pyarrow
    from dora import Node

    node = Node()
    index = numpy.arange(FRAMESET_BYTES, dtype=numpy.uint32)
    frames = pyarrow.array(((index // 7) ^ (index >> 9)).astype(numpy.uint8))
    while True:
        passed = (time.monotonic_ns() + PERIOD_NANOS - phase) % PERIOD_NANOS
        time.sleep((PERIOD_NANOS - passed) / 1e9)
        node.send_output("frames", frames, {"sent": time.monotonic_ns()})


def receive(file):
    """Notes when each frameset arrives and how long it took, and writes that once a second. Does not read the frames."""
    from dora import Node

    arrived, written = [], time.monotonic()
    for event in Node():
        if event["type"] != "INPUT":
            continue
        now = time.monotonic_ns()
        arrived.append([event["id"], now, now - event["metadata"]["sent"]])
        if time.monotonic() - written > 1:
            written = time.monotonic()
            pathlib.Path(file + ".new").write_text(json.dumps(arrived))
            os.replace(file + ".new", file)


def flow(file):
    """Returns the dataflow, in JSON, which is YAML."""
    nodes, inputs = [], {}
    for place, host in enumerate(HOSTS):
        for camera in range(CAMERAS):
            phase = PERIOD_NANOS // 6 * (camera * len(HOSTS) + place)
            deploy = {"machine": host}
            nodes.append({"id": f"{host}{camera}", "path": __file__, "args": f"send {phase}", "deploy": deploy, "outputs": ["frames"]})
            inputs[f"{host}{camera}"] = {"source": f"{host}{camera}/frames", "queue_size": 4}
    reader = {"id": "reader", "path": __file__, "args": f"receive {file}", "deploy": {"machine": "first"}, "inputs": inputs}
    return json.dumps({"nodes": nodes + [reader]})


class Network:
    """Network namespaces, and the processes in them."""

    def __init__(self, folder):
        self.folder, self.started = folder, []
        for host in ["first", *HOSTS]:
            self.ip("netns", "add", self.of(host))
            self.ip("-n", self.of(host), "link", "set", "lo", "up")
        for number, host in enumerate(HOSTS):
            there = f"10.79.{number}"
            self.ip("-n", self.of("first"), "link", "add", host, "type", "veth", "peer", "name", "cable", "netns", self.of(host))
            for name, interface, end in [("first", host, 1), (host, "cable", 2)]:
                self.ip("-n", self.of(name), "address", "add", f"{there}.{end}/24", "dev", interface)
                self.ip("-n", self.of(name), "link", "set", interface, "up")
            # Daemons connect to each other too.
            self.ip("-n", self.of(host), "route", "add", "default", "via", f"{there}.1")
        self.ip("netns", "exec", self.of("first"), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")

    def ip(self, *words):
        subprocess.run(["ip", *words], check=True)

    def of(self, host):
        return f"camrig-dora-{host}-{os.getpid()}"

    def start(self, host, *words):
        programs = pathlib.Path(sys.executable).parent
        environment = dict(os.environ, PATH=f"{programs}:{os.environ['PATH']}", HOME=str(self.folder), RUST_LOG="error")
        log = open(self.folder / f"{words[0]}-{host}.log", "w")
        # Hosts have no memory in common: Zenoh would not use the network.
        own_memory = ["unshare", "--mount", "--ipc", "sh", "-c", 'mount -t tmpfs none /dev/shm && exec "$@"', "sh"]
        command = ["ip", "netns", "exec", self.of(host), *own_memory, str(programs / "dora"), *words]
        self.started.append(subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log))

    def received_bytes(self):
        return sum(
            int(subprocess.check_output(["ip", "netns", "exec", self.of("first"), "cat", f"/sys/class/net/{host}/statistics/rx_bytes"]))
            for host in HOSTS
        )

    def processes(self):
        """Returns the processor time in seconds and the words of each process that was started here, or by one of these."""
        parents, found, own = {}, {}, {process.pid for process in self.started}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            except OSError:
                continue
            parents[int(pid)] = int(fields[1])
            found[int(pid)] = ((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), words)

        def is_own(pid):
            while pid > 1 and pid not in own:
                pid = parents.get(pid, 0)
            return pid in own

        return {pid: it for pid, it in found.items() if is_own(pid)}

    def end(self):
        for pid in sorted(self.processes(), reverse=True):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for process in self.started:
            process.wait()
        for host in ["first", *HOSTS]:
            subprocess.run(["ip", "netns", "delete", self.of(host)], check=False)


def measure(network, folder):
    file = folder / "arrived.json"
    (folder / "flow.yml").write_text(flow(str(file)))
    network.start("first", "coordinator", "--interface", "0.0.0.0", "--store", "memory")
    time.sleep(2)
    for host, coordinator in [("first", "10.79.0.1"), ("arm", "10.79.0.1"), ("base", "10.79.1.1")]:
        network.start(host, "daemon", "--machine-id", host, "--coordinator-addr", coordinator, "--zenoh-no-multicast")
        time.sleep(1)
    time.sleep(2)
    network.start("first", "start", "flow.yml", "--coordinator-addr", "10.79.0.1", "--attach")
    until = time.monotonic() + START_SECONDS
    cameras = set()
    while len(cameras) < len(HOSTS) * CAMERAS:
        if time.monotonic() > until:
            logs = "".join(log.read_text()[-2000:] for log in folder.glob("*.log"))
            sys.exit(f"after {START_SECONDS} s, framesets of {sorted(cameras)} have arrived\n{logs}")
        time.sleep(0.5)
        cameras = {row[0] for row in json.loads(file.read_text())} if file.exists() else set()
    time.sleep(BEFORE_SECONDS)
    begin, before, bytes_before = time.monotonic_ns(), network.processes(), network.received_bytes()
    time.sleep(SECONDS)
    end, after, received = time.monotonic_ns(), network.processes(), network.received_bytes() - bytes_before
    time.sleep(3)
    rows = [row for row in json.loads(file.read_text()) if begin <= row[1] < end]
    used = dict.fromkeys(PARTS.values(), 0.0)
    for pid, (seconds, words) in after.items():
        part = next((PARTS[word] for word in words if word in PARTS), None)
        if part:
            used[part] += seconds - before.get(pid, (0, []))[0]
    each = {part: round(seconds * 1e6 / max(len(rows), 1)) for part, seconds in used.items()}
    latencies = [sorted(row[2] for row in rows if row[0] == camera) for camera in sorted(cameras)]
    p99 = max((of[len(of) * 99 // 100] for of in latencies if of), default=0) / 1e6
    p50 = sorted(row[2] for row in rows)[len(rows) // 2] / 1e6 if rows else 0
    sent = SECONDS * 30 * len(cameras)
    rate = received * 8 / ((end - begin) / 1e9) / 1e6
    version = subprocess.check_output([pathlib.Path(sys.executable).parent / "dora", "--version"], text=True).strip()
    print(f"bench: {version}: {len(rows)} of {sent} framesets, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {rate:.0f} Mb/s")
    print(f"bench: {version}: CPU us per frameset: {sum(each.values())}: {each}")


def main():
    with tempfile.TemporaryDirectory() as folder:
        network = Network(pathlib.Path(folder))
        try:
            measure(network, pathlib.Path(folder))
        finally:
            network.end()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["send", phase]:
            send(int(phase))
        case ["receive", file]:
            receive(file)
        case _:
            main()
