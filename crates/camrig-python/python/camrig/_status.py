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
    """Latencies of a link in microseconds: the median, the 99th percentile and the maximum."""

    p50: int = 0
    p99: int = 0
    max: int = 0


@dataclass(frozen=True)
class LinkLatency(Latency):
    """Latencies of all framesets of a link so far, in microseconds.

    `below` is a cumulative histogram: pairs of a bound, in rising order, and the number of framesets below it.
    """

    sum: int = 0
    below: list = field(default_factory=list)


@dataclass(frozen=True)
class StreamStatus:
    """The frames of a camera's stream so far, of motion its samples.

    `rate_hz` counts those of the last second, in a report those per second of the run. `age_ms` is the time since the last
    one in milliseconds, `None` before the first one. `silences` counts how often others continued without it.
    """

    stream: str = ""
    frames: int = 0
    rate_hz: float = 0.0
    age_ms: float | None = None
    silences: int = 0


@dataclass(frozen=True)
class ActorWarning:
    """What a processor found that its user has to know: `seconds` of the run, and the fact as one line."""

    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class ActorStatus:
    """An actor at one moment.

    `produced` counts framesets including dropped ones, `lost` those that the device lost, `copied` those that were copied
    into shared memory. `rate_hz` is that of the last second. `slots_in_use` of `slots` are queued for readers, or held by
    them, in other processes. `error` and `progress` are empty without one. `warnings` are the newest of `warned`.
    """

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
    """An actor of a run that has ended.

    `produced` counts framesets including dropped ones, `lost` those that the device lost, `copied` those that were copied
    into shared memory. `warnings` are the newest of `warned`.
    """

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
        """Number of dropped framesets, over all reasons."""
        return sum(self.dropped.values())


@dataclass(frozen=True)
class LinkStatus(Counted):
    """A link at one moment, in framesets: `produced = delivered + dropped_sum + in_flight`.

    `rate_hz` is that of the last second. `latency_us` is the time from the arrival in the camera's actor to the call of the
    reader, in microseconds.
    """

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
    """A link of a run that has ended, in framesets: `produced = delivered + dropped_sum + in_flight`.

    `rate_hz` is that of the whole run. `latency_us` is the time from the arrival in the camera's actor to the call of the
    reader, in microseconds. `began_seconds` and `ended_seconds` of the run are those of a change that added or ended it.
    """

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
    """The clock of a camera relative to the host's monotonic clock.

    `offset_ms` is host time minus camera time in milliseconds, `drift_ppm` the error of its rate in parts per million,
    positive if it runs fast, `uncertainty_us` that of the offset in microseconds.
    """

    offset_ms: float = 0.0
    drift_ppm: float = 0.0
    uncertainty_us: float = 0.0


@dataclass(frozen=True)
class MatchedCameraStatus:
    """The matching of one camera's framesets.

    `matched` counts them, `unmatched` the others by reason. `offset_us` is the mean time of its last matched framesets after
    the earliest ones of their matches, in microseconds. `epochs` counts the starts of its clock.
    """

    name: str = ""
    matched: int = 0
    offset_us: float | None = None
    unmatched: dict = field(default_factory=dict)
    epochs: int = 0
    clock: ClockStatus | None = field(default=None, metadata={"of": ClockStatus})


@dataclass(frozen=True)
class MatchingStatus:
    """The matches of a processor.

    `partial` counts those that lack a camera. `rate_hz` is that of the last second. `spread_us` is the time from the earliest
    to the latest frameset of a match, in microseconds.
    """

    processor: str = ""
    matches: int = 0
    partial: int = 0
    rate_hz: float = 0.0
    spread_us: Latency = one(Latency)
    cameras: list = of(MatchedCameraStatus)


@dataclass(frozen=True)
class ProcessStatus:
    """A process at one moment.

    `cpu_seconds` is the time of processors since its start, `cpu_percent` that of the last second, where 100 is one core.
    `private_bytes` and `shared_bytes` are resident memory; slots are shared.
    """

    name: str = ""
    pid: int = 0
    cpu_seconds: float = 0.0
    cpu_percent: float = 0.0
    private_bytes: int = 0
    shared_bytes: int = 0


@dataclass(frozen=True)
class ProcessReport:
    """A process of a run that has ended.

    `cpu_seconds` is the time of processors since its start. `private_bytes_peak` is the largest resident memory of its own,
    `shared_bytes` the last one that it shares, such as slots.
    """

    name: str = ""
    pid: int = 0
    cpu_seconds: float = 0.0
    private_bytes_peak: int = 0
    shared_bytes: int = 0


@dataclass(frozen=True)
class ChangeReport:
    """A change of a rig while it ran.

    `seconds` are those of the run, `unix_nanos` nanoseconds since 1970. `by` names the program, `changes` has a line each.
    """

    seconds: float = 0.0
    unix_nanos: int = 0
    by: str = ""
    changes: list = field(default_factory=list)


class Named:
    def actor(self, name):
        """Returns the actor of this name; the last one, if several had it. Raises `LookupError` without one."""
        found = [it for it in self.actors if it.name == name]
        if not found:
            names = ", ".join(f"`{it.name}`" for it in self.actors)
            raise LookupError(f"the rig has no actor `{name}`; it has: {names}")
        return found[-1]

    def link(self, from_, to):
        """Returns the link between these actors; the last one, if there were several. Raises `LookupError` without one."""
        found = [it for it in self.links if (it.from_, it.to) == (from_, to)]
        if not found:
            links = ", ".join(f"`{it.from_}` to `{it.to}`" for it in self.links)
            raise LookupError(f"the rig has no link from `{from_}` to `{to}`; it has: {links}")
        return found[-1]


@dataclass(frozen=True)
class RigStatus(Named):
    """A rig at one moment. `seconds` is the time since every actor was ready; 0 before."""

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
    """A run that has ended, after `seconds`. `exit` is the reason, such as `stopped as asked`."""

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
        """The reason for the end of the rig, if an actor failed or a camera is unavailable."""
        if self.exit not in ("an actor failed", "a camera is unavailable"):
            return None
        # A camera that failed for good does not end a rig.
        failed = [it for it in self.actors if it.state in ("failed", "waiting-for-device") and it.errors]
        facts = "; ".join(f"{it.role} `{it.name}`: {it.errors[-1]}" for it in failed)
        return f"{self.exit}: {facts}" if facts else self.exit


@dataclass(frozen=True)
class Control:
    """An option of a camera's device.

    `key` is that of the topology. `unit` is empty without one. `range` has the bounds or the choices, `value` is the present
    one, `None` if it cannot be read. `live` says whether it can be set while the camera runs.
    """

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
