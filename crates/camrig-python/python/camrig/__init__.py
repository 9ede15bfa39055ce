"""camrig: framesets of several RGB-D cameras as arrays.

* `camrig.open("rig.mcap")`: a recording as a sequence of framesets
* `FrameSet`, `Frame`: a frameset and its frames; `numpy.asarray(frame)` is a view, without a copy
* `camrig.Rig("rig.toml")`: a rig that this interpreter runs, with loops over its framesets
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
from camrig._rig import Loop, Rig
from camrig._status import (
    ActorReport,
    ActorStatus,
    ChangeReport,
    Control,
    Latency,
    LinkReport,
    LinkStatus,
    MatchedCameraStatus,
    MatchingStatus,
    ProcessReport,
    ProcessStatus,
    Report,
    RigStatus,
    StreamStatus,
)

__all__ = [
    "ActorReport",
    "ActorStatus",
    "Camera",
    "CamrigError",
    "ChangeReport",
    "Control",
    "Draft",
    "Frame",
    "FrameSet",
    "Latency",
    "LinkReport",
    "LinkStatus",
    "Loop",
    "Match",
    "MatchProcessor",
    "MatchedCameraStatus",
    "MatchingStatus",
    "Memory",
    "MissingStream",
    "Outlet",
    "ProcessReport",
    "ProcessStatus",
    "Processor",
    "Recording",
    "Report",
    "Rig",
    "RigStatus",
    "StreamStatus",
    "__version__",
    "open",
]
