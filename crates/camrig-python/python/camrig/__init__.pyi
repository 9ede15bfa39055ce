"""camrig: framesets of several RGB-D cameras as arrays."""

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

import numpy as np
import numpy.typing as npt

__version__: str

class CamrigError(Exception):
    """An error of camrig: one line with the fact and the choices."""

class MissingStream(CamrigError):
    """A frameset has no such stream; the message names those that it has."""

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
        """A read-only, versioned DLPack capsule, without a copy."""

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
        """The pinhole model in pixels, (3, 3), as OpenCV takes it."""

    @property
    def distortion(self) -> npt.NDArray[np.float64]:
        """Coefficients k1, k2, p1, p2, k3, (5,)."""

    @property
    def distortion_model(self) -> str: ...
    @property
    def to_depth(self) -> npt.NDArray[np.float64]:
        """Transform of points from the coordinates of this stream to those of depth, (4, 4), metres."""

    def meters(self, *, out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]:
        """Depth in metres, (height, width), 0 without depth."""

    def copy(self) -> npt.NDArray[Any]:
        """A copy that can be written and keeps no slot."""

    def rgb(self) -> npt.NDArray[np.uint8]:
        """Color as red, green and blue, (height, width, 3), a copy."""

    def to_pil(self) -> Any:
        """The image as one of Pillow: mode `RGB`, `L`, or `I;16` for depth in its own unit."""

    def tobytes(self) -> bytes: ...
    def message(self) -> Any:
        """What the JSON of a message holds, or its bytes."""

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
    """Framesets of a recording: of all cameras or of one, of the whole time or a part of it."""

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
    def seconds(self) -> list[float]: ...
    @overload
    def __getitem__(self, key: int, /) -> FrameSet: ...
    @overload
    def __getitem__(self, key: str | slice, /) -> Recording: ...
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
    """A frameset that is being made: write into its arrays, then publish it."""

    @property
    def array(self) -> npt.NDArray[Any]:
        """The array of the first image or tensor."""

    @property
    def dropped(self) -> bool: ...
    def __getitem__(self, stream: str, /) -> npt.NDArray[Any]: ...

class Outlet:
    """Publishes a processor's framesets, during the call to which it is given."""

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

class MatchProcessor:
    """As `Processor`, for matches. Its topology has `match`."""

    def process(self, match: Match, out: Outlet) -> None: ...
    def finish(self, out: Outlet) -> None: ...
