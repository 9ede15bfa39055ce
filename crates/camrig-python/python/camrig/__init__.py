"""camrig: framesets of several RGB-D cameras as arrays.

* `camrig.open("rig.mcap")`: a recording as a sequence of framesets
* `FrameSet`, `Frame`: a frameset and its frames; `numpy.asarray(frame)` is a view, without a copy
* `Processor`, `MatchProcessor`: a processor of a topology whose kind is `python`
* `Match`: one frameset of each of several cameras, taken at the same instant
"""

from camrig._camrig import (
    Camera,
    CamrigError,
    Draft,
    Frame,
    FrameSet,
    Match,
    Memory,
    MissingStream,
    Outlet,
    Recording,
    __version__,
    open,
)
from camrig._processors import MatchProcessor, Processor

__all__ = [
    "Camera",
    "CamrigError",
    "Draft",
    "Frame",
    "FrameSet",
    "Match",
    "Memory",
    "MatchProcessor",
    "MissingStream",
    "Outlet",
    "Processor",
    "Recording",
    "__version__",
    "open",
]
