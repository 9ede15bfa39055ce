"""Base classes of processors and drivers."""

from dataclasses import dataclass
from typing import Any


class Processor:
    """A processor of a topology: a subclass with `process`, in the script that the topology names.

    Annotated attributes are its options: `threshold: float = 0.5`. They are set before `__init__`, which takes no
    arguments.
    """

    def process(self, frames, out):
        """Processes one frameset of the inputs; called with one at a time. Publishes through `out`."""
        raise NotImplementedError

    def finish(self, out):
        """Called once, after the last frameset."""


class MatchProcessor:
    """As `Processor`, for matches: one frameset of each input, taken at the same instant. Its topology has `match`."""

    def process(self, match, out):
        """Processes one match; called with one at a time. Publishes through `out`."""
        raise NotImplementedError

    def finish(self, out):
        """Called once, after the last match."""


@dataclass(frozen=True)
class Stream:
    """A stream of a camera; `Driver.open` returns a list of them."""

    name: str
    # A pixel format, such as `z16`, or the type of a tensor, such as `f32`.
    format: str
    # (height, width) of images.
    shape: tuple
    # Frames per second.
    rate: int
    # The pinhole model in pixels, of the shape (3, 3), and the coefficients of OpenCV's distortion.
    intrinsics: Any = None
    distortion: Any = None
    # `light`, `depth` or `other`; by default that of the format. Masks and classes are `other`.
    role: Any = None


class Driver:
    """A camera of a topology: a subclass with `open` and `capture`, in the script that the topology names.

    Annotated attributes are its options: `exposure: int = 10`. They are set before `__init__`, which takes no
    arguments.
    """

    # Set by `open`, or by the class.
    serial = ""
    model = ""
    depth_unit_meters = 0.001

    def open(self):
        """Opens the device, and returns its streams. Raises `camrig.Unavailable` if the device is missing."""
        raise NotImplementedError

    def capture(self, out):
        """Waits at most `out.timeout` seconds for a frameset, and publishes it. Returns `False` after the last one."""
        raise NotImplementedError

    def close(self):
        """Closes the device."""
