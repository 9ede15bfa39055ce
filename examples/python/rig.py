"""Prints the depth in the middle of every image of a rig that this program runs: `python rig.py rig.toml`."""

import sys

import camrig


def main(path: str) -> None:
    rig = camrig.Rig(path)
    # Made before the start, and `block`: it gets every frameset.
    loop = rig.frames(overflow="block")
    with rig:
        for frames in loop:
            depth = frames.depth
            meters = depth.meters()[depth.height // 2, depth.width // 2]
            print(f"{frames.camera} #{frames.sequence}: {meters:.3f} m")
        print(rig.wait().exit)


if __name__ == "__main__":
    main(sys.argv[1])
