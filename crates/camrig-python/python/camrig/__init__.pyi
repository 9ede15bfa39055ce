"""camrig: framesets of several RGB-D cameras as arrays."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, TypeVar, overload

import numpy as np
import numpy.typing as npt

__version__: str

class CamrigError(Exception):
    """An error of camrig: one line with the fact and the choices."""

class MissingStream(CamrigError):
    """A frameset has no such stream; the message names those that it has."""

class Unavailable(CamrigError):
    """Raised by a driver: the device is missing, or in use by another program. The rig waits for it."""

class Points(NamedTuple):
    """Points in metres, float32 (n, 3), and their colors, uint8 (n, 3)."""

    xyz: npt.NDArray[np.float32]
    rgb: npt.NDArray[np.uint8]

class Memory:
    """Memory that arrays view without a copy."""

    @property
    def exports(self) -> int:
        """Number of arrays that view this memory now."""

    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __dlpack__(
        self,
        *,
        stream: object = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Returns a read-only, versioned DLPack capsule, without a copy."""

    @staticmethod
    def __dlpack_device__() -> tuple[int, int]: ...

class Frame(Memory):
    """One frame of one stream. `numpy.asarray(frame)` is a read-only view of its memory, without a copy.

    Shapes: images (height, width) or (height, width, channels); tensors as declared; points (height, width) and samples of
    motion (n,), both with fields; encoded images and messages (bytes,).
    """

    @property
    def stream(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def format(self) -> str:
        """Format, such as `z16`, `rgb8`, `motion`, `tensor-f32` or `camrig.Boxes`."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str | None:
        """Type of the elements as NumPy writes it, such as `<u2`; `None` for elements with fields."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def number(self) -> int:
        """The device's frame number."""

    @property
    def timestamp_nanos(self) -> int:
        """Capture time in nanoseconds of `clock`."""

    @property
    def clock(self) -> Literal["hardware", "global", "system"]: ...
    @property
    def metadata(self) -> dict[str, int]:
        """Metadata of the device, by librealsense's names, such as `actual-exposure` in microseconds."""

    @property
    def unit_meters(self) -> float:
        """Size of one depth unit in metres."""

    @property
    def intrinsics(self) -> npt.NDArray[np.float64]:
        """The pinhole model in pixels, (3, 3), in the form of OpenCV."""

    @property
    def distortion(self) -> npt.NDArray[np.float64]:
        """Coefficients in the form of OpenCV: k1, k2, p1, p2, k3, (5,); for `cv2.fisheye` k1, k2, k3, k4, (4,)."""

    @property
    def distortion_model(self) -> str: ...
    @property
    def to_depth(self) -> npt.NDArray[np.float64]:
        """Transform of points from the coordinates of this stream to those of depth, (4, 4), metres."""

    def meters(self, *, out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]:
        """Depth in metres, (height, width), 0 without depth."""

    def copy(self) -> npt.NDArray[Any]:
        """Returns a writable copy, which holds no slot."""

    def rgb(self) -> npt.NDArray[np.uint8]:
        """Color as red, green and blue, (height, width, 3), a copy."""

    def to_pil(self) -> Any:
        """The image as a Pillow image: mode `RGB`, `L`, or `I;16` for depth in its own unit."""

    def tobytes(self) -> bytes: ...
    def message(self) -> Any:
        """Returns the value of a message's JSON, or its bytes."""

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]: ...
    def __len__(self) -> int: ...

class Camera:
    """A camera: identity, calibration, depth unit, streams."""

    @property
    def name(self) -> str: ...
    @property
    def driver(self) -> str: ...
    @property
    def serial(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def firmware(self) -> str: ...
    @property
    def depth_unit_meters(self) -> float: ...
    @property
    def pose(self) -> npt.NDArray[np.float64] | None:
        """The transform to the coordinates of the root camera of a calibrated rig: shape (4, 4), metres."""

    @property
    def root(self) -> str | None: ...
    @property
    def streams(self) -> list[str]: ...
    def rate(self, stream: str) -> int: ...
    def format(self, stream: str) -> str: ...
    def size(self, stream: str) -> tuple[int, int] | None: ...
    def intrinsics(self, stream: str) -> npt.NDArray[np.float64]: ...
    def distortion(self, stream: str) -> npt.NDArray[np.float64]: ...
    def distortion_model(self, stream: str) -> str: ...
    def to_depth(self, stream: str) -> npt.NDArray[np.float64]: ...

class FrameSet:
    """The data of one camera at one point in time: a frame for each of its streams."""

    @property
    def camera(self) -> str: ...
    @property
    def producer(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def arrival_nanos(self) -> int: ...
    @property
    def arrived_nanos(self) -> int | None: ...
    @property
    def timestamp_nanos(self) -> int | None: ...
    @property
    def clock(self) -> Literal["hardware", "global", "system"] | None: ...
    @property
    def matched(self) -> int | None: ...
    @property
    def origins(self) -> list[tuple[str, int]]: ...
    @property
    def info(self) -> Camera: ...
    @property
    def streams(self) -> list[str]: ...
    @property
    def depth(self) -> Frame: ...
    @property
    def color(self) -> Frame: ...
    @property
    def accel(self) -> Frame: ...
    @property
    def gyro(self) -> Frame: ...
    def get(self, stream: str) -> Frame | None: ...
    def points(self, *, color: bool = True) -> Points:
        """Points in metres in the coordinates of the depth camera: x right, y down, z forward."""

    def __getitem__(self, stream: str, /) -> Frame: ...
    def __contains__(self, stream: str, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Frame]: ...

class Match:
    """One frameset of each of several cameras, taken at the same instant."""

    @property
    def number(self) -> int: ...
    @property
    def spread(self) -> float:
        """Seconds from its earliest frameset to its latest."""

    @property
    def complete(self) -> bool: ...
    @property
    def cameras(self) -> list[str]: ...
    def get(self, camera: str) -> FrameSet | None: ...
    def __getitem__(self, camera: str, /) -> FrameSet: ...
    def __contains__(self, camera: str, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[FrameSet]: ...

class Recording:
    """Framesets of a recording: of all cameras or of one, of all of its time or a part of it."""

    @property
    def path(self) -> Path: ...
    @property
    def cameras(self) -> dict[str, Camera]: ...
    @property
    def duration(self) -> float: ...
    @property
    def began_nanos(self) -> int: ...
    @property
    def damage(self) -> list[str]: ...
    @property
    def changes(self) -> list[ChangeReport]:
        """The changes of the rig during the recording: when, by which program, and what; `seconds` are those of the recording."""

    @property
    def seconds(self) -> list[float]: ...
    @overload
    def __getitem__(self, key: int, /) -> FrameSet: ...
    @overload
    def __getitem__(self, key: str | tuple[str, ...] | slice, /) -> Recording: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[FrameSet]: ...
    def matches(
        self, window: float, *, clock: Literal["capture", "arrival"] | None = None, partial: bool = False
    ) -> Iterator[Match]:
        """Iterates over matches: one frameset of each camera, at most `window` seconds apart."""

def open(path: str | PathLike[str]) -> Recording:
    """Opens a recording, with the files that continue it."""

_Image = tuple[str, str, tuple[int, ...]]
_Message = tuple[str, Any] | tuple[str, str, Any]

class Draft:
    """A frameset to be published: write into its arrays, then publish it."""

    @property
    def array(self) -> npt.NDArray[Any]:
        """The array of the first image or tensor."""

    @property
    def dropped(self) -> bool: ...
    def __getitem__(self, stream: str, /) -> npt.NDArray[Any]: ...

class Outlet:
    """Publishes a processor's framesets. It is valid during the call that received it."""

    @property
    def name(self) -> str: ...
    def publish(self, frames: Draft | FrameSet | Match) -> None: ...
    def derive(
        self,
        origin: FrameSet | Match,
        *,
        image: _Image | list[_Image] | None = None,
        tensor: _Image | list[_Image] | None = None,
        message: _Message | list[_Message] | None = None,
    ) -> Draft:
        """Makes a frameset from another one, or from a match.

        `image` is (stream, format, (height, width)), `tensor` (stream, type, shape), `message` (stream, value) or
        (stream, schema, value).
        """

    def create(
        self,
        source: str,
        *,
        image: _Image | list[_Image] | None = None,
        tensor: _Image | list[_Image] | None = None,
        message: _Message | list[_Message] | None = None,
    ) -> Draft: ...

class Processor:
    """A processor of a topology. Annotated attributes are its options."""

    def process(self, frames: FrameSet, out: Outlet) -> None: ...
    def finish(self, out: Outlet) -> None: ...

@dataclass(frozen=True)
class Stream:
    """A stream of a camera, as `Driver.open` declares it."""

    name: str
    format: str
    """A pixel format, such as `z16`, or the type of a tensor, such as `f32`."""
    shape: tuple[int, ...]
    """(height, width) of images."""
    rate: int
    """Frames per second."""
    intrinsics: npt.ArrayLike | None = None
    """The pinhole model in pixels, of the shape (3, 3)."""
    distortion: npt.ArrayLike | None = None
    """Coefficients in the form of OpenCV: k1, k2, p1, p2, k3."""

_Clock = Literal["hardware", "global", "system"]

class CameraOutlet:
    """Publishes a camera's framesets. It is valid during the call of `capture` that received it."""

    @property
    def timeout(self) -> float:
        """The longest time in seconds that `capture` waits: without a frameset it returns, and is called again."""

    def create(
        self, *streams: str, timestamp: float | None = None, clock: _Clock = "system", number: int | None = None
    ) -> Draft:
        """Makes a frameset of these streams, of all by default. Write into its arrays, then publish it.

        `timestamp` is in seconds of `clock`; without it the frameset was taken now. A gap in `number` counts as lost by
        the device.
        """

    def publish(
        self,
        frames: Draft | Mapping[str, npt.ArrayLike],
        *,
        timestamp: float | None = None,
        clock: _Clock = "system",
        number: int | None = None,
    ) -> None:
        """Publishes a frameset of `create`, or a dict of arrays by the names of their streams, which are copied."""

class Driver:
    """A camera of a topology. Annotated attributes are its options."""

    serial: str
    model: str
    depth_unit_meters: float
    def open(self) -> list[Stream]:
        """Opens the device, and returns its streams. Raises `Unavailable` if the device is missing."""

    def capture(self, out: CameraOutlet) -> bool | None:
        """Waits at most `out.timeout` seconds for a frameset, and publishes it. Returns `False` after the last one."""

    def close(self) -> None:
        """Closes the device."""

class MatchProcessor:
    """As `Processor`, for matches. Its topology has `match`."""

    def process(self, match: Match, out: Outlet) -> None: ...
    def finish(self, out: Outlet) -> None: ...

_Taken = TypeVar("_Taken", FrameSet, Match)
_Overflow = Literal["drop-oldest", "drop-newest", "block"]

class Loop(Generic[_Taken], Iterator[_Taken], AsyncIterator[_Taken]):
    """An iterator over the framesets, or the matches, of a running rig, with `for` as well as with `async for`.

    It is an actor of the rig: a round of the loop is its call.
    """

    @property
    def name(self) -> str:
        """Name of its actor in the status and the report."""

    def __iter__(self) -> Loop[_Taken]: ...
    def __next__(self) -> _Taken: ...
    def __aiter__(self) -> Loop[_Taken]: ...
    async def __anext__(self) -> _Taken: ...
    def close(self) -> None:
        """Ends the loop, and removes its actor from the rig."""

    def __enter__(self) -> Loop[_Taken]: ...
    def __exit__(self, *_: object) -> None: ...

class _Reads:
    def frames(
        self, *inputs: str, overflow: _Overflow = "drop-oldest", queue: int = 2, name: str | None = None
    ) -> Loop[FrameSet]:
        """Iterates over the framesets of these actors; of all cameras without any.

        Before the start of the rig, the loop gets every frameset from the first one; otherwise those from now on.
        """

    def matches(
        self,
        *inputs: str,
        window: float,
        clock: Literal["global", "hardware", "system", "estimated"] | None = None,
        partial: bool = False,
        overflow: _Overflow = "drop-oldest",
        queue: int = 2,
        name: str | None = None,
    ) -> Loop[Match]:
        """Iterates over matches: one frameset of each input, at most `window` seconds apart."""

class _Devices:
    def controls(self, camera: str) -> dict[str, Control]:
        """Returns the options of a camera's device that can be read while it runs, by their names."""

    def set(
        self, camera: str, options: Mapping[str, bool | float | str] | None = None, /, **more: bool | float | str
    ) -> dict[str, bool | float | str | None]:
        """Sets options of a camera's device while it runs; returns the resulting values.

        In names that are given as keywords, `_` stands for `-`.
        """

class Rig(_Reads, _Devices):
    """A rig: cameras in processes of their own, and loops over their framesets in this one."""

    def __init__(
        self,
        topology: str | PathLike[str] | Mapping[str, Any],
        *,
        framesets: int | None = None,
        seconds: float | None = None,
    ) -> None:
        """Reads a topology: the path of a file, or a dict with the same keys.

        Each camera stops after so many `framesets`, the rig after so many `seconds`.
        """

    def start(self) -> Rig:
        """Checks the topology, starts the rig, and waits until its framesets flow."""

    def stop(self) -> None:
        """Stops the rig in order: cameras first. Does not wait; loops get the framesets in flight, then end."""

    @overload
    def wait(self, timeout: None = None) -> Report: ...
    @overload
    def wait(self, timeout: float) -> Report | None:
        """Waits until the rig has ended, at most `timeout` seconds; returns its report."""

    def close(self) -> Report:
        """Ends the loops, stops the rig in order and waits for its end."""

    def __enter__(self) -> Rig: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
    @property
    def report(self) -> Report | None:
        """The report; `None` while the rig runs."""

    @property
    def topology(self) -> str:
        """The topology that runs, as the text of a file."""

    def status(self) -> RigStatus: ...
    def apply(self, topology: str | PathLike[str] | Mapping[str, Any]) -> list[str]:
        """Changes the running rig to another topology; returns the changes."""

class Attached(_Reads, _Devices):
    """A rig that another program runs, such as `camrig run`, and loops over its framesets in this one."""

    @property
    def topology(self) -> str:
        """The topology that runs, as the text of a file."""

    def status(self) -> RigStatus: ...
    def close(self) -> None:
        """Ends the loops, and detaches from the rig, which continues."""

    def __enter__(self) -> Attached: ...
    def __exit__(self, *_: object) -> None: ...

def attach(rig: str | int | None = None) -> Attached:
    """Attaches to a running rig: by its topology, with or without folder and extension, or its process ID.

    Without a name to the only one.
    """

@dataclass(frozen=True)
class Latency:
    """Microseconds."""

    p50: int
    p99: int
    max: int

@dataclass(frozen=True)
class LinkLatency(Latency):
    """Latencies of all framesets of a link, in microseconds."""

    sum: int
    below: Sequence[Sequence[int]]
    """A cumulative histogram: pairs of a bound, in rising order, and the number of framesets below it."""

@dataclass(frozen=True)
class StreamStatus:
    """The frames of a camera's stream so far."""

    stream: str
    frames: int
    rate_hz: float
    age_ms: float | None
    silences: int

@dataclass(frozen=True)
class ActorWarning:
    """What a processor found that its user has to know."""

    seconds: float
    message: str

@dataclass(frozen=True)
class ActorStatus:
    """An actor at one moment."""

    name: str
    role: str
    kind: str
    process: str
    state: str
    produced: int
    lost: int
    lost_by_reason: dict[str, int]
    copied: int
    restarts: int
    rate_hz: float
    slots: int
    slots_in_use: int
    error: str
    progress: str
    warned: int
    warnings: Sequence[ActorWarning]
    streams: Sequence[StreamStatus]

@dataclass(frozen=True)
class ActorReport:
    """An actor of a run that has ended."""

    name: str
    role: str
    process: str
    state: str
    changes: dict[str, int]
    produced: int
    copied: int
    lost: int
    lost_by_reason: dict[str, int]
    restarts: int
    errors: Sequence[str]
    warned: int
    warnings: Sequence[ActorWarning]
    streams: Sequence[StreamStatus]

@dataclass(frozen=True)
class LinkStatus:
    """A link at one moment: `produced = delivered + dropped_sum + in_flight`."""

    from_: str
    to: str
    produced: int
    delivered: int
    dropped: dict[str, int]
    in_flight: int
    rate_hz: float
    latency_us: LinkLatency
    @property
    def dropped_sum(self) -> int: ...

@dataclass(frozen=True)
class LinkReport:
    """A link of a run that has ended: `produced = delivered + dropped_sum + in_flight`."""

    from_: str
    to: str
    placement: str
    produced: int
    delivered: int
    dropped: dict[str, int]
    in_flight: int
    rate_hz: float
    latency_us: Latency
    began_seconds: float | None
    ended_seconds: float | None
    @property
    def dropped_sum(self) -> int: ...

@dataclass(frozen=True)
class ClockStatus:
    """The clock of a camera relative to the host's monotonic clock."""

    offset_ms: float
    """Host time minus camera time."""
    drift_ppm: float
    """The rate error; positive when it runs fast."""
    uncertainty_us: float

@dataclass(frozen=True)
class MatchedCameraStatus:
    """The matching of one camera's framesets."""

    name: str
    matched: int
    offset_us: float | None
    """Mean time of its last matched framesets after the earliest ones of their matches."""
    unmatched: dict[str, int]
    epochs: int
    clock: ClockStatus | None

@dataclass(frozen=True)
class MatchingStatus:
    """The matches of a processor."""

    processor: str
    matches: int
    partial: int
    rate_hz: float
    spread_us: Latency
    cameras: Sequence[MatchedCameraStatus]

@dataclass(frozen=True)
class ProcessStatus:
    """A process at one moment."""

    name: str
    pid: int
    cpu_seconds: float
    cpu_percent: float
    private_bytes: int
    shared_bytes: int

@dataclass(frozen=True)
class ProcessReport:
    """A process of a run that has ended."""

    name: str
    pid: int
    cpu_seconds: float
    private_bytes_peak: int
    shared_bytes: int

@dataclass(frozen=True)
class ChangeReport:
    """A change of a rig while it ran."""

    seconds: float
    unix_nanos: int
    by: str
    changes: Sequence[str]

@dataclass(frozen=True)
class RigStatus:
    """A rig at one moment."""

    topology: str
    pid: int
    seconds: float
    actors: Sequence[ActorStatus]
    links: Sequence[LinkStatus]
    matching: Sequence[MatchingStatus]
    processes: Sequence[ProcessStatus]
    changes: Sequence[ChangeReport]
    def actor(self, name: str) -> ActorStatus: ...
    def link(self, from_: str, to: str) -> LinkStatus: ...

@dataclass(frozen=True)
class Report:
    """A run that has ended."""

    topology: str
    seconds: float
    exit: str
    actors: Sequence[ActorReport]
    links: Sequence[LinkReport]
    matching: Sequence[MatchingStatus]
    processes: Sequence[ProcessReport]
    changes: Sequence[ChangeReport]
    problems: Sequence[str]
    @property
    def failure(self) -> str | None:
        """The reason for the end of the rig, if an actor failed or a camera is unavailable."""

    def actor(self, name: str) -> ActorReport: ...
    def link(self, from_: str, to: str) -> LinkReport: ...

@dataclass(frozen=True)
class Control:
    """An option of a camera's device."""

    name: str
    key: str
    description: str
    unit: str
    range: Any
    default: bool | float | str
    value: bool | float | str | None
    read_only: bool
    live: bool
