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
    def stream(self) -> str:
        """Name of the stream, such as `depth`."""

    @property
    def role(self) -> str:
        """Role of the stream: `light`, `depth`, `points`, `motion` or `other`."""

    @property
    def format(self) -> str:
        """Format, such as `z16`, `rgb8`, `motion`, `tensor-f32` or `camrig.Boxes`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""

    @property
    def dtype(self) -> str | None:
        """Type of the elements as NumPy writes it, such as `<u2`; `None` for elements with fields."""

    @property
    def width(self) -> int:
        """Width in pixels, points or samples; 0 for tensors and messages."""

    @property
    def height(self) -> int:
        """Height in pixels or rows; 0 for tensors and messages."""

    @property
    def number(self) -> int:
        """The device's frame number."""

    @property
    def timestamp_nanos(self) -> int:
        """Capture time in nanoseconds of `clock`."""

    @property
    def clock(self) -> Literal["hardware", "global", "system"]:
        """The clock of `timestamp_nanos`: `hardware`, `global` or `system`."""

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
    def distortion_model(self) -> str:
        """Model of the distortion: `none`, `brown-conrady` (that of OpenCV), `modified-brown-conrady`, `inverse-brown-conrady`,
        `kannala-brandt4` or `ftheta`.
        """

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

    def tobytes(self) -> bytes:
        """The content as bytes, including the padding of rows; a copy."""

    def message(self) -> Any:
        """Returns the value of a message's JSON, or its bytes."""

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]: ...
    def __len__(self) -> int: ...

class Camera:
    """A camera: identity, calibration, depth unit, streams."""

    @property
    def name(self) -> str:
        """Name in the topology."""

    @property
    def driver(self) -> str:
        """Name of the driver, such as `realsense`."""

    @property
    def serial(self) -> str:
        """Serial number."""

    @property
    def model(self) -> str:
        """Model, such as `Intel RealSense D405`."""

    @property
    def firmware(self) -> str:
        """Version of the firmware."""

    @property
    def depth_unit_meters(self) -> float:
        """Size of one depth unit in metres."""

    @property
    def pose(self) -> npt.NDArray[np.float64] | None:
        """The transform to the coordinates of the root camera of a calibrated rig: shape (4, 4), metres."""

    @property
    def root(self) -> str | None:
        """Name of the root camera of the calibrated rig; `None` without a calibration."""

    @property
    def streams(self) -> list[str]:
        """Names of its streams."""

    def rate(self, stream: str) -> int:
        """The declared frames per second of a stream."""

    def format(self, stream: str) -> str:
        """Format of a stream, such as `z16`."""

    def size(self, stream: str) -> tuple[int, int] | None:
        """Width and height of a stream in pixels; `None` for tensors and messages."""

    def intrinsics(self, stream: str) -> npt.NDArray[np.float64]:
        """The pinhole model of a stream in pixels: float64 of the shape (3, 3), as OpenCV takes it."""

    def distortion(self, stream: str) -> npt.NDArray[np.float64]:
        """Coefficients of a stream's distortion as OpenCV takes them: see `Frame.distortion`."""

    def distortion_model(self, stream: str) -> str:
        """Model of a stream's distortion, such as `brown-conrady`."""

    def to_depth(self, stream: str) -> npt.NDArray[np.float64]:
        """Transform of points from the coordinates of a stream to those of depth: float64 of the shape (4, 4), metres."""


class FrameSet:
    """The data of one camera at one point in time: a frame for each of its streams."""

    @property
    def camera(self) -> str:
        """Name of the camera that captured it."""

    @property
    def producer(self) -> str:
        """Name of the actor that published it: the camera, or a processor that forwarded it."""

    @property
    def sequence(self) -> int:
        """The producer's counter: 0, 1, 2, ... A gap means framesets dropped on the way."""

    @property
    def arrival_nanos(self) -> int:
        """Time at which it reached its camera's actor, in nanoseconds of `time.monotonic_ns()` on the host of the rig."""

    @property
    def arrived_nanos(self) -> int | None:
        """Time of its arrival by the wall clock in nanoseconds since 1970, if it is recorded."""

    @property
    def timestamp_nanos(self) -> int | None:
        """Capture time of its depth, or of its first frame, in nanoseconds of `clock`; `None` without frames."""

    @property
    def clock(self) -> Literal["hardware", "global", "system"] | None:
        """The clock of `timestamp_nanos`: `hardware`, `global` or `system`."""

    @property
    def matched(self) -> int | None:
        """Number of the match with which it was published, if any."""

    @property
    def origins(self) -> list[tuple[str, int]]:
        """The framesets from which it was made, if there are several: pairs of camera and sequence number."""

    @property
    def info(self) -> Camera:
        """Description of its camera."""

    @property
    def streams(self) -> list[str]:
        """Names of its streams, in the order of its frames."""

    @property
    def depth(self) -> Frame:
        """The first depth frame. Raises `MissingStream` without one."""

    @property
    def color(self) -> Frame:
        """The frame of the stream `color`. Raises `MissingStream` without one."""

    @property
    def accel(self) -> Frame:
        """The accelerometer's samples since the previous frameset. Raises `MissingStream` without any."""

    @property
    def gyro(self) -> Frame:
        """The gyroscope's samples since the previous frameset. Raises `MissingStream` without any."""

    def get(self, stream: str) -> Frame | None:
        """Returns the frame of a stream; `None` without it."""

    def points(self, *, color: bool = True) -> Points:
        """Points in metres in the coordinates of the depth camera: x right, y down, z forward."""

    def __getitem__(self, stream: str, /) -> Frame: ...
    def __contains__(self, stream: str, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Frame]: ...

class Match:
    """One frameset of each of several cameras, taken at the same instant."""

    @property
    def number(self) -> int:
        """Its number among the matches: 0, 1, 2, ..."""

    @property
    def spread(self) -> float:
        """Seconds from its earliest frameset to its latest."""

    @property
    def complete(self) -> bool:
        """Whether every camera that matches wait for is present."""

    @property
    def cameras(self) -> list[str]:
        """Names of its cameras."""

    def get(self, camera: str) -> FrameSet | None:
        """Returns the frameset of a camera; `None` when the match lacks it."""

    def __getitem__(self, camera: str, /) -> FrameSet: ...
    def __contains__(self, camera: str, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[FrameSet]: ...

class Recording:
    """Framesets of a recording: of all cameras or of one, of all of its time or a part of it."""

    @property
    def path(self) -> Path:
        """Path of its first file."""

    @property
    def cameras(self) -> dict[str, Camera]:
        """The cameras by name: identity, calibration, depth unit."""

    @property
    def duration(self) -> float:
        """Seconds from its start to its last frameset."""

    @property
    def began_nanos(self) -> int:
        """Start of the recording by the wall clock, in nanoseconds since 1970."""

    @property
    def damage(self) -> list[str]:
        """The problems of the file, as far as they are known without reading every frameset."""

    @property
    def changes(self) -> list[ChangeReport]:
        """The changes of the rig during the recording: when, by which program, and what; `seconds` are those of the recording."""

    @property
    def seconds(self) -> list[float]:
        """Seconds since the start of the recording of each frameset: a list as long as the sequence."""

    @overload
    def __getitem__(self, key: int, /) -> FrameSet: ...
    @overload
    def __getitem__(self, key: str | tuple[str, ...] | slice, /) -> Recording: ...
    def __contains__(self, camera: str, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[FrameSet]: ...
    def matches(
        self, window: float, *, clock: Literal["capture", "arrival"] | None = None, partial: bool = False
    ) -> Iterator[Match]:
        """Iterates over matches: one frameset of each camera, at most `window` seconds apart.

        Times are those of capture where all cameras stamp by one clock that they share, otherwise those of arrival; `clock`
        selects one of them. With `partial`, cameras may be missing. A part in which a camera has no frameset has no match.
        """

def open(path: str | PathLike[str]) -> Recording:
    """Opens a recording, with the files that continue it."""

_Role = Literal["light", "depth", "other"]
_Tensor = tuple[str, str, tuple[int, ...]]
_Image = _Tensor | tuple[str, str, tuple[int, ...], _Role]
_Message = tuple[str, Any] | tuple[str, str, Any]

class Draft:
    """A frameset to be published: write into its arrays, then publish it."""

    @property
    def array(self) -> npt.NDArray[Any]:
        """The array of the first image or tensor."""

    @property
    def dropped(self) -> bool:
        """If true, all slots were in use: the frameset is counted as dropped, and its pixels are discarded."""

    def __getitem__(self, stream: str, /) -> npt.NDArray[Any]: ...

class Outlet:
    """Publishes a processor's framesets. It is valid during the call that received it."""

    @property
    def name(self) -> str:
        """Name of the processor."""

    def publish(self, frames: Draft | FrameSet | Match) -> None:
        """Publishes a frameset that was derived or created, or forwards one, or those of a match, unchanged."""

    def derive(
        self,
        origin: FrameSet | Match,
        *,
        image: _Image | list[_Image] | None = None,
        tensor: _Tensor | list[_Tensor] | None = None,
        message: _Message | list[_Message] | None = None,
    ) -> Draft:
        """Makes a frameset from another one, or from a match.

        `image` is (stream, format, (height, width)), `tensor` (stream, type, shape), `message` (stream, value) or
        (stream, schema, value). Each may be a list of several. If all slots are in use, the frameset is counted as dropped,
        and its pixels are discarded.

        A `y8` image is a mask or has classes (the role `other`), unless it has the name of a camera's stream, such as `color`
        or `infrared-1`. A fourth element gives an image another role.
        """

    def create(
        self,
        source: str,
        *,
        image: _Image | list[_Image] | None = None,
        tensor: _Tensor | list[_Tensor] | None = None,
        message: _Message | list[_Message] | None = None,
    ) -> Draft:
        """Makes a frameset of this processor's own: readers see `source` as its camera. The arguments are those of `derive`."""

class Processor:
    """A processor of a topology. Annotated attributes are its options."""

    def process(self, frames: FrameSet, out: Outlet) -> None:
        """Processes one frameset of the inputs; called with one at a time. Publishes through `out`."""

    def finish(self, out: Outlet) -> None:
        """Called once, after the last frameset."""


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
    """Coefficients in the form of OpenCV: k1, k2, p1, p2, k3, or the first four of them."""
    role: _Role | None = None
    """By default that of the format. Masks and classes are `other`."""

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

    def process(self, match: Match, out: Outlet) -> None:
        """Processes one match; called with one at a time. Publishes through `out`."""

    def finish(self, out: Outlet) -> None:
        """Called once, after the last match."""


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
    def wait(self, timeout: None = None) -> Report:
        """Waits until the rig has ended, at most `timeout` seconds; returns its report, or `None`."""

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

    def status(self) -> RigStatus:
        """Returns the present status, or the last one of a rig that has ended."""

    def apply(self, topology: str | PathLike[str] | Mapping[str, Any]) -> list[str]:
        """Changes the running rig to another topology; returns the changes."""

class Attached(_Reads, _Devices):
    """A rig that another program runs, such as `camrig run`, and loops over its framesets in this one."""

    @property
    def topology(self) -> str:
        """The topology that runs, as the text of a file."""

    def status(self) -> RigStatus:
        """Returns the present status. Raises `CamrigError` if the rig has ended."""

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
    """Latencies of a link in microseconds: the median, the 99th percentile and the maximum."""

    p50: int
    p99: int
    max: int

@dataclass(frozen=True)
class LinkLatency(Latency):
    """Latencies of all framesets of a link so far, in microseconds.

    `below` is a cumulative histogram: pairs of a bound, in rising order, and the number of framesets below it.
    """

    sum: int
    below: Sequence[Sequence[int]]
    """A cumulative histogram: pairs of a bound, in rising order, and the number of framesets below it."""

@dataclass(frozen=True)
class StreamStatus:
    """The frames of a camera's stream so far, of motion its samples.

    `rate_hz` counts those of the last second, in a report those per second of the run. `age_ms` is the time since the last
    one in milliseconds, `None` before the first one. `silences` counts how often others continued without it.
    """

    stream: str
    frames: int
    rate_hz: float
    age_ms: float | None
    silences: int

@dataclass(frozen=True)
class ActorWarning:
    """What a processor found that its user has to know: `seconds` of the run, and the fact as one line."""

    seconds: float
    message: str

@dataclass(frozen=True)
class ActorStatus:
    """An actor at one moment.

    `produced` counts framesets including dropped ones, `lost` those that the device lost, `copied` those that were copied
    into shared memory. `rate_hz` is that of the last second. `slots_in_use` of `slots` are queued for readers, or held by
    them, in other processes. `error` and `progress` are empty without one. `warnings` are the newest of `warned`.
    """

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
    """An actor of a run that has ended.

    `produced` counts framesets including dropped ones, `lost` those that the device lost, `copied` those that were copied
    into shared memory. `warnings` are the newest of `warned`.
    """

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
    """A link at one moment, in framesets: `produced = delivered + dropped_sum + in_flight`.

    `rate_hz` is that of the last second. `latency_us` is the time from the arrival in the camera's actor to the call of the
    reader, in microseconds.
    """

    from_: str
    to: str
    produced: int
    delivered: int
    dropped: dict[str, int]
    in_flight: int
    rate_hz: float
    latency_us: LinkLatency
    @property
    def dropped_sum(self) -> int:
        """Number of dropped framesets, over all reasons."""


@dataclass(frozen=True)
class LinkReport:
    """A link of a run that has ended, in framesets: `produced = delivered + dropped_sum + in_flight`.

    `rate_hz` is that of the whole run. `latency_us` is the time from the arrival in the camera's actor to the call of the
    reader, in microseconds. `began_seconds` and `ended_seconds` of the run are those of a change that added or ended it.
    """

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
    def dropped_sum(self) -> int:
        """Number of dropped framesets, over all reasons."""


@dataclass(frozen=True)
class ClockStatus:
    """The clock of a camera relative to the host's monotonic clock.

    `offset_ms` is host time minus camera time in milliseconds, `drift_ppm` the error of its rate in parts per million,
    positive if it runs fast, `uncertainty_us` that of the offset in microseconds.
    """

    offset_ms: float
    """Host time minus camera time."""
    drift_ppm: float
    """The rate error; positive when it runs fast."""
    uncertainty_us: float

@dataclass(frozen=True)
class MatchedCameraStatus:
    """The matching of one camera's framesets.

    `matched` counts them, `unmatched` the others by reason. `offset_us` is the mean time of its last matched framesets after
    the earliest ones of their matches, in microseconds. `epochs` counts the starts of its clock.
    """

    name: str
    matched: int
    offset_us: float | None
    """Mean time of its last matched framesets after the earliest ones of their matches."""
    unmatched: dict[str, int]
    epochs: int
    clock: ClockStatus | None

@dataclass(frozen=True)
class MatchingStatus:
    """The matches of a processor.

    `partial` counts those that lack a camera. `rate_hz` is that of the last second. `spread_us` is the time from the earliest
    to the latest frameset of a match, in microseconds.
    """

    processor: str
    matches: int
    partial: int
    rate_hz: float
    spread_us: Latency
    cameras: Sequence[MatchedCameraStatus]

@dataclass(frozen=True)
class ProcessStatus:
    """A process at one moment.

    `cpu_seconds` is the time of processors since its start, `cpu_percent` that of the last second, where 100 is one core.
    `private_bytes` and `shared_bytes` are resident memory; slots are shared.
    """

    name: str
    pid: int
    cpu_seconds: float
    cpu_percent: float
    private_bytes: int
    shared_bytes: int

@dataclass(frozen=True)
class ProcessReport:
    """A process of a run that has ended.

    `cpu_seconds` is the time of processors since its start. `private_bytes_peak` is the largest resident memory of its own,
    `shared_bytes` the last one that it shares, such as slots.
    """

    name: str
    pid: int
    cpu_seconds: float
    private_bytes_peak: int
    shared_bytes: int

@dataclass(frozen=True)
class ChangeReport:
    """A change of a rig while it ran.

    `seconds` are those of the run, `unix_nanos` nanoseconds since 1970. `by` names the program, `changes` has a line each.
    """

    seconds: float
    unix_nanos: int
    by: str
    changes: Sequence[str]

@dataclass(frozen=True)
class RigStatus:
    """A rig at one moment. `seconds` is the time since every actor was ready; 0 before."""

    topology: str
    pid: int
    seconds: float
    actors: Sequence[ActorStatus]
    links: Sequence[LinkStatus]
    matching: Sequence[MatchingStatus]
    processes: Sequence[ProcessStatus]
    changes: Sequence[ChangeReport]
    def actor(self, name: str) -> ActorStatus:
        """Returns the actor of this name; the last one, if several had it. Raises `LookupError` without one."""

    def link(self, from_: str, to: str) -> LinkStatus:
        """Returns the link between these actors; the last one, if there were several. Raises `LookupError` without one."""


@dataclass(frozen=True)
class Report:
    """A run that has ended, after `seconds`. `exit` is the reason, such as `stopped as asked`."""

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

    def actor(self, name: str) -> ActorReport:
        """Returns the actor of this name; the last one, if several had it. Raises `LookupError` without one."""

    def link(self, from_: str, to: str) -> LinkReport:
        """Returns the link between these actors; the last one, if there were several. Raises `LookupError` without one."""


@dataclass(frozen=True)
class Control:
    """An option of a camera's device.

    `key` is that of the topology. `unit` is empty without one. `range` has the bounds or the choices, `value` is the present
    one, `None` if it cannot be read. `live` says whether it can be set while the camera runs.
    """

    name: str
    key: str
    description: str
    unit: str
    range: Any
    default: bool | float | str
    value: bool | float | str | None
    read_only: bool
    live: bool
