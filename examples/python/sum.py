"""Prints the sum of all bytes of each frameset of a recording: `python sum.py rig.mcap`."""

import sys

import camrig
import numpy as np


def main(path: str) -> None:
    for frames in camrig.open(path):
        total = sum(int(np.asarray(frame).view(np.uint8).sum(dtype=np.uint64)) for frame in (frames.color, frames.depth))
        print(f"{frames.camera} #{frames.sequence}: {total}")


if __name__ == "__main__":
    main(sys.argv[1])
