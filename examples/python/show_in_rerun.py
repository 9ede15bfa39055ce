"""Shows a recording in Rerun, or writes it for Rerun: `python show_in_rerun.py rig.mcap [rig.rrd]`. Needs `rerun-sdk`."""

import sys

import camrig
import numpy as np
import rerun as rr


def main(path: str, output: str | None = None) -> None:
    rr.init("camrig", spawn=output is None)
    if output is not None:
        rr.save(output)
    for frames in camrig.open(path):
        rr.set_time("arrival", timestamp=np.datetime64(frames.arrived_nanos or 0, "ns"))
        rr.log(f"{frames.camera}/color", rr.Image(frames.color.rgb()))
        rr.log(f"{frames.camera}/depth", rr.DepthImage(np.asarray(frames.depth), meter=1 / frames.depth.unit_meters))
        points = frames.points()
        rr.log(f"{frames.camera}/points", rr.Points3D(points.xyz, colors=points.rgb))


if __name__ == "__main__":
    main(*sys.argv[1:])
