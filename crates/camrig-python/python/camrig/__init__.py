"""camrig: framesets of several RGB-D cameras as arrays.

* `camrig.open("rig.mcap")`: a recording as a sequence of framesets
* `FrameSet`, `Frame`: a frameset and its frames; `numpy.asarray(frame)` is a view, without a copy
* `Match`: one frameset of each of several cameras, taken at the same instant
"""

from camrig._camrig import (
    Camera,
    CamrigError,
    Frame,
    FrameSet,
    Match,
    Memory,
    MissingStream,
    Recording,
    __version__,
    open,
)

__all__ = [
    "Camera",
    "CamrigError",
    "Frame",
    "FrameSet",
    "Match",
    "Memory",
    "MissingStream",
    "Recording",
    "__version__",
    "open",
]
