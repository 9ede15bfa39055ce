"""Shows a recording in a window of OpenCV: `python windows.py rig.mcap`. Needs the package `opencv-python`."""

import sys

import camrig
import cv2


def main(path: str) -> None:
    for frames in camrig.open(path):
        cv2.imshow(frames.camera, cv2.cvtColor(frames.color.rgb(), cv2.COLOR_RGB2BGR))
        if cv2.waitKey(30) == 27:
            break


if __name__ == "__main__":
    main(sys.argv[1])
