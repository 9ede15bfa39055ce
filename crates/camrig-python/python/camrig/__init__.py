"""camrig: framesets of several RGB-D cameras as arrays.

* `camrig.open("rig.mcap")`: a recording as a sequence of framesets
* `FrameSet`, `Frame`: a frameset and its frames; `numpy.asarray(frame)` is a view, without a copy
* `camrig.Rig("rig.toml")`: a rig that this interpreter runs, with loops over its framesets
* `camrig.attach("rig")`: loops over framesets of a rig that another program runs
* `Processor`, `MatchProcessor`: a processor of a topology whose kind is `python`
* `Driver`: a camera of a topology whose driver is `python`
* `Match`: one frameset of each of several cameras, taken at the same instant
"""

from camrig._camrig import (
    Camera,
    CameraOutlet,
    CamrigError,
    Draft,
    Frame,
    FrameSet,
    Match,
    Memory,
    MissingStream,
    Outlet,
    Recording,
    Unavailable,
    __version__,
    open,
)
from camrig._processors import Driver, MatchProcessor, Processor, Stream
from camrig._rig import Attached, Loop, Rig, attach
from camrig._status import (
    ActorReport,
    ActorStatus,
    ActorWarning,
    ChangeReport,
    ClockStatus,
    Control,
    Latency,
    LinkLatency,
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
    "ActorWarning",
    "Attached",
    "Camera",
    "CameraOutlet",
    "CamrigError",
    "ChangeReport",
    "ClockStatus",
    "Control",
    "Draft",
    "Driver",
    "Frame",
    "FrameSet",
    "Latency",
    "LinkLatency",
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
    "Stream",
    "StreamStatus",
    "Unavailable",
    "attach",
    "open",
    "__version__",
]
