"""The numbers of a real rig, read by Prometheus' own parser, against the report of the same run.

Needs prometheus-client; CAMRIG says where the program is.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

WATCHDOG_SECONDS = 60
PROGRAM = os.environ.get("CAMRIG", "target/debug/camrig")

# A camera that loses 7 of 100 framesets and ends, and one that keeps the rig going.
TOPOLOGY = """
[metrics]
listen = "127.0.0.1:0"

[camera.weak]
driver = "synthetic"
options = { model = "any", color = "16x16@30", depth = "16x16@30", paced = false, frames = 20000, drop_rate = 0.07, seed = 7 }

[camera.steady]
driver = "synthetic"
options = { model = "any", color = "16x16@30", depth = "16x16@30" }

[processor.all]
kind = "stats"
inputs = ["weak", "steady"]
overflow = "block"
options = { every_seconds = 0 }

[processor.some]
kind = "stats"
inputs = ["weak"]
overflow = "drop-newest"
options = { every_seconds = 0 }
"""


def main():
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/rig.toml", "w") as file:
            file.write(TOPOLOGY)
        # The kernel kills it when this process has ended.
        arguments = ["setpriv", "--pdeathsig=KILL", PROGRAM, "run", f"{folder}/rig.toml", "--report", f"{folder}/report.json"]
        rig = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        try:
            url = re.fullmatch(r"metrics: (\S+)\n", rig.stdout.readline()).group(1)
            metrics = until("the weak camera ends", lambda: ended(read(url)))
            status = json.loads(get(url.replace("/metrics", "/status"))[1])
            rig.send_signal(signal.SIGTERM)
            rig.communicate(timeout=WATCHDOG_SECONDS)
        finally:
            rig.kill()
        assert rig.returncode == 0, rig.returncode
        with open(f"{folder}/report.json") as file:
            report = json.load(file)
    compare(metrics, status, report)
    with open("examples/grafana.json") as file:
        drawn = set(re.findall(r"camrig_\w+", file.read()))
    assert len(drawn) > 8 and drawn <= {sample.name for sample in metrics.samples}, drawn
    print("the numbers are the report's")


def compare(metrics, status, report):
    actors = {actor["name"]: actor for actor in report["actors"]}
    weak = actors["weak"]
    assert metrics.of("camrig_framesets_produced_total", actor="weak") == weak["produced"] == 20000
    lost = metrics.of("camrig_framesets_lost_total", actor="weak")
    assert lost == weak["lost"]
    reasons = metrics.all("camrig_framesets_lost_by_reason_total", actor="weak")
    assert {labels["reason"]: count for labels, count in reasons} == weak["lost_by_reason"], reasons
    share = lost / (lost + weak["produced"])
    assert abs(share - 0.07) <= 0.005, share
    assert metrics.of("camrig_restarts_total", actor="weak") == weak["restarts"] == 0
    for link in report["links"]:
        labels = {"from": link["from"], "to": link["to"]}
        buckets = metrics.all("camrig_latency_seconds_bucket", **labels)
        counts = [count for _, count in sorted((float(labels["le"]), count) for labels, count in buckets)]
        assert len(counts) == 19 and counts == sorted(counts), counts
        assert counts[-1] == metrics.of("camrig_latency_seconds_count", **labels)
        assert metrics.of("camrig_latency_seconds_sum", **labels) > 0
        if link["from"] == "steady":
            continue
        assert metrics.of("camrig_framesets_offered_total", **labels) == link["produced"]
        assert metrics.of("camrig_framesets_delivered_total", **labels) == link["delivered"]
        dropped = metrics.all("camrig_framesets_dropped_total", **labels)
        assert {labels["reason"]: count for labels, count in dropped if count} == link["dropped"], link
        assert metrics.of("camrig_framesets_in_flight", **labels) == link["in_flight"] == 0
        mean = metrics.of("camrig_latency_seconds_sum", **labels) / link["delivered"]
        assert mean * 1e6 <= link["latency_us"]["max"]
    for process in report["processes"]:
        seconds = metrics.of("camrig_process_cpu_seconds_total", process=process["name"])
        assert 0 <= seconds <= process["cpu_seconds"], process
        assert metrics.of("camrig_process_private_bytes", process=process["name"]) > 0
    for actor in ["weak", "steady"]:
        assert 0 <= metrics.of("camrig_slots_in_use", actor=actor) <= metrics.of("camrig_slots", actor=actor)
    assert status["camrig_status"] == 1 and status["actors"][0]["produced"] == 20000, status


class Metrics:
    def __init__(self, text):
        families = list(text_string_to_metric_families(text))
        assert all(family.type in ("counter", "gauge", "histogram") for family in families), families
        assert all(family.documentation for family in families)
        self.samples = [sample for family in families for sample in family.samples]

    def all(self, name, **labels):
        """The samples with these labels: their labels and values."""
        found = [sample for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()]
        assert found, (name, labels)
        return [(sample.labels, sample.value) for sample in found]

    def of(self, name, **labels):
        [(_, value)] = self.all(name, **labels)
        return value


def read(url):
    content_type, text = get(url)
    assert content_type == "text/plain; version=0.0.4; charset=utf-8", content_type
    return Metrics(text)


def get(url):
    with urllib.request.urlopen(url, timeout=WATCHDOG_SECONDS) as answer:
        return answer.headers["content-type"], answer.read().decode()


def ended(metrics):
    """The metrics, when the weak camera has ended and its readers have all its framesets."""
    [(labels, _)] = metrics.all("camrig_actor_state", actor="weak")
    in_flight = sum(count for _, count in metrics.all("camrig_framesets_in_flight", **{"from": "weak"}))
    # Usage is read once a second.
    used = metrics.of("camrig_process_private_bytes", process="some")
    return metrics if labels["state"] == "finished" and in_flight == 0 and used > 0 else None


def until(what, look):
    end = time.monotonic() + WATCHDOG_SECONDS
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    sys.exit(f"in vain: {what}")


if __name__ == "__main__":
    main()
