"""Publishes a mask of pixels nearer than a distance: a processor of kind `python` for a topology."""

import camrig
import numpy as np


class Threshold(camrig.Processor):
    meters: float = 1.0

    def process(self, frames: camrig.FrameSet, out: camrig.Outlet) -> None:
        depth = frames.depth.meters()
        mask = out.derive(frames, image=("mask", "y8", depth.shape))
        np.multiply((depth > 0) & (depth < self.meters), 255, out=mask.array, casting="unsafe")
        out.publish(mask)
