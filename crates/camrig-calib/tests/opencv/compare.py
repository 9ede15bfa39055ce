"""Compares the results of camrig for pictures of a board with those of OpenCV: see `run`."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np

# The largest usual and the largest single distance of a corner, in pixels.
USUAL_PIXELS, LARGEST_PIXELS = 0.25, 1.5
# The largest difference of poses, in metres and degrees.
METERS, DEGREES = 0.003, 0.4

folder = Path(sys.argv[1])
lines = (folder / "found.txt").read_text().splitlines()
fx, fy, cx, cy, *coefficients, square = map(float, lines[0].split())
matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
coefficients = np.array(coefficients)
dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
board = cv2.aruco.CharucoBoard((8, 6), square / 1000, square * 0.75 / 1000, dictionary)
detector = cv2.aruco.CharucoDetector(board)

# The board is drawn as OpenCV draws it: a pixel in the middle of each tenth of a millimetre.
drawn = np.full((3000, 4000), 255, np.uint8)
rects = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" fill="(#\w+)"', (folder / "board.svg").read_text())
left, top = (min(float(rect[axis]) for rect in rects) for axis in (0, 1))
for x, y, width, height, fill in rects:
    x, y, width, height = float(x) - left, float(y) - top, float(width), float(height)
    rows, columns = (slice(round(at * 10), round((at + size) * 10)) for at, size in ((y, height), (x, width)))
    drawn[rows, columns] = 0 if fill == "#000" else 255
theirs = board.generateImage((4000, 3000), marginSize=0)
differing = np.mean(drawn != theirs)
assert differing < 0.005, f"{differing:.2%} of the board is drawn otherwise"

distances, compared = [], 0
for number, (pose, corners) in enumerate(zip(lines[1::2], lines[2::2])):
    gray = cv2.imread(str(folder / f"{number}.pgm"), cv2.IMREAD_GRAYSCALE)
    found = {int(at): np.array([float(x), float(y)]) for at, x, y in zip(*[iter(corners.split())] * 3)}
    places, ids, _, _ = detector.detectBoard(gray)
    if not pose or ids is None or len(ids) < 12:
        continue
    pixels = {int(at): place for at, place in zip(ids.ravel(), places.reshape(-1, 2))}
    distances += [np.linalg.norm(found[at] - pixels[at]) for at in found.keys() & pixels.keys()]
    points = board.getChessboardCorners()[ids.ravel()]
    _, turn, place = cv2.solvePnP(points, places, matrix, coefficients, flags=cv2.SOLVEPNP_IPPE)
    turn, place = cv2.solvePnPRefineLM(points, places, matrix, coefficients, turn, place)
    ours = np.array(list(map(float, pose.split()))).reshape(4, 4)
    between = cv2.Rodrigues(turn)[0].T @ ours[:3, :3]
    degrees = np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1)))
    # The position of the middle of the board: that of its edge depends on the rotation as well.
    middle = points.mean(axis=0)
    meters = np.linalg.norm(cv2.Rodrigues(turn)[0] @ middle + place.ravel() - ours[:3, :3] @ middle - ours[:3, 3])
    assert meters < METERS and degrees < DEGREES, f"picture {number}: {meters * 1000:.2f} mm, {degrees:.3f} degrees"
    compared += 1
usual, largest = np.median(distances), max(distances)
assert compared >= 15, f"the board was found in {compared} pictures only"
assert usual < USUAL_PIXELS and largest < LARGEST_PIXELS, f"{usual:.3f} {largest:.3f} pixels"
print(f"{len(distances)} corners of {compared} pictures: {usual:.3f} pixels from OpenCV's, at most {largest:.3f}")
