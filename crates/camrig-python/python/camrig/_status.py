"""The status and the report of a rig as dataclasses. Fields are those of camrig's JSON; unknown ones are left out."""

import dataclasses
import json
from dataclasses import dataclass, field


def of(kind):
    """Returns a field that is a list of dataclasses."""
    return field(default_factory=list, metadata={"of": kind})


def one(kind):
    """Returns a field that is a dataclass."""
    return field(default_factory=kind, metadata={"of": kind})


@dataclass(frozen=True)
class Latency:
    p50: int = 0
    p99: int = 0
    max: int = 0


@dataclass(frozen=True)
class LinkLatency(Latency):
    sum: int = 0
    below: list = field(default_factory=list)


@dataclass(frozen=True)
class StreamStatus:
    stream: str = ""
    frames: int = 0
    rate_hz: float = 0.0
    age_ms: float | None = None
    silences: int = 0


@dataclass(frozen=True)
class ActorWarning:
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class ActorStatus:
    name: str = ""
    role: str = ""
    kind: str = ""
    process: str = ""
    state: str = ""
    produced: int = 0
    lost: int = 0
    lost_by_reason: dict = field(default_factory=dict)
    copied: int = 0
    restarts: int = 0
    rate_hz: float = 0.0
    slots: int = 0
    slots_in_use: int = 0
    error: str = ""
    progress: str = ""
    warned: int = 0
    warnings: list = of(ActorWarning)
    streams: list = of(StreamStatus)


@dataclass(frozen=True)
class ActorReport:
    name: str = ""
    role: str = ""
    process: str = ""
    state: str = ""
    changes: dict = field(default_factory=dict)
    produced: int = 0
    copied: int = 0
    lost: int = 0
    lost_by_reason: dict = field(default_factory=dict)
    restarts: int = 0
    errors: list = field(default_factory=list)
    warned: int = 0
    warnings: list = of(ActorWarning)
    streams: list = of(StreamStatus)


class Counted:
    @property
    def dropped_sum(self):
        return sum(self.dropped.values())


@dataclass(frozen=True)
class LinkStatus(Counted):
    from_: str = field(default="", metadata={"key": "from"})
    to: str = ""
    produced: int = 0
    delivered: int = 0
    dropped: dict = field(default_factory=dict)
    in_flight: int = 0
    rate_hz: float = 0.0
    latency_us: LinkLatency = one(LinkLatency)


@dataclass(frozen=True)
class LinkReport(Counted):
    from_: str = field(default="", metadata={"key": "from"})
    to: str = ""
    placement: str = ""
    produced: int = 0
    delivered: int = 0
    dropped: dict = field(default_factory=dict)
    in_flight: int = 0
    rate_hz: float = 0.0
    latency_us: Latency = one(Latency)
    began_seconds: float | None = None
    ended_seconds: float | None = None


@dataclass(frozen=True)
class ClockStatus:
    offset_ms: float = 0.0
    drift_ppm: float = 0.0
    uncertainty_us: float = 0.0


@dataclass(frozen=True)
class MatchedCameraStatus:
    name: str = ""
    matched: int = 0
    offset_us: float | None = None
    unmatched: dict = field(default_factory=dict)
    epochs: int = 0
    clock: ClockStatus | None = field(default=None, metadata={"of": ClockStatus})


@dataclass(frozen=True)
class MatchingStatus:
    processor: str = ""
    matches: int = 0
    partial: int = 0
    rate_hz: float = 0.0
    spread_us: Latency = one(Latency)
    cameras: list = of(MatchedCameraStatus)


@dataclass(frozen=True)
class ProcessStatus:
    name: str = ""
    pid: int = 0
    cpu_seconds: float = 0.0
    cpu_percent: float = 0.0
    private_bytes: int = 0
    shared_bytes: int = 0


@dataclass(frozen=True)
class ProcessReport:
    name: str = ""
    pid: int = 0
    cpu_seconds: float = 0.0
    private_bytes_peak: int = 0
    shared_bytes: int = 0


@dataclass(frozen=True)
class ChangeReport:
    seconds: float = 0.0
    unix_nanos: int = 0
    by: str = ""
    changes: list = field(default_factory=list)


class Named:
    def actor(self, name):
        found = [it for it in self.actors if it.name == name]
        if not found:
            names = ", ".join(f"`{it.name}`" for it in self.actors)
            raise LookupError(f"the rig has no actor `{name}`; it has: {names}")
        return found[-1]

    def link(self, from_, to):
        found = [it for it in self.links if (it.from_, it.to) == (from_, to)]
        if not found:
            links = ", ".join(f"`{it.from_}` to `{it.to}`" for it in self.links)
            raise LookupError(f"the rig has no link from `{from_}` to `{to}`; it has: {links}")
        return found[-1]


@dataclass(frozen=True)
class RigStatus(Named):
    topology: str = ""
    pid: int = 0
    seconds: float = 0.0
    actors: list = of(ActorStatus)
    links: list = of(LinkStatus)
    matching: list = of(MatchingStatus)
    processes: list = of(ProcessStatus)
    changes: list = of(ChangeReport)


@dataclass(frozen=True)
class Report(Named):
    topology: str = ""
    seconds: float = 0.0
    exit: str = ""
    actors: list = of(ActorReport)
    links: list = of(LinkReport)
    matching: list = of(MatchingStatus)
    processes: list = of(ProcessReport)
    changes: list = of(ChangeReport)
    problems: list = field(default_factory=list)

    @property
    def failure(self):
        if self.exit not in ("an actor failed", "a camera is unavailable"):
            return None
        # A camera that failed for good does not end a rig.
        failed = [it for it in self.actors if it.state in ("failed", "waiting-for-device") and it.errors]
        facts = "; ".join(f"{it.role} `{it.name}`: {it.errors[-1]}" for it in failed)
        return f"{self.exit}: {facts}" if facts else self.exit


@dataclass(frozen=True)
class Control:
    name: str = ""
    key: str = ""
    description: str = ""
    unit: str = ""
    range: object = None
    default: object = None
    value: object = None
    read_only: bool = False
    live: bool = True


def read(kind, data):
    """Makes a dataclass of a value of JSON."""
    values = {}
    for it in dataclasses.fields(kind):
        key, inner = it.metadata.get("key", it.name), it.metadata.get("of")
        if key not in data:
            continue
        value = data[key]
        if inner is not None and value is not None:
            value = [read(inner, each) for each in value] if isinstance(value, list) else read(inner, value)
        values[it.name] = value
    return kind(**values)


def parse(kind, text):
    return read(kind, json.loads(text))


def controls(text):
    return {it["name"]: read(Control, it) for it in json.loads(text)}


def changes(text):
    return [read(ChangeReport, it) for it in json.loads(text)]
