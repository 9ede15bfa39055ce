"""Compares the results of camrig for pictures of boards with those of OpenCV: see `run`."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np

# The largest usual and the largest single distance of a corner, in pixels.
USUAL_PIXELS, LARGEST_PIXELS = 0.25, 1.5
# The largest difference of poses, in metres and degrees.
METERS, DEGREES = 0.003, 0.4
# The same of the poses of cameras by many views.
RIG_MILLIMETERS, RIG_DEGREES = 1.0, 0.1
# The size of the AprilGrid, and the distance between its tags as a share of their width.
TAGS, SPACING = (6, 4), 0.3


def drawn(svg):
    """The board as it is drawn: a pixel in the middle of each tenth of a millimetre."""
    rects = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" fill="(#\w+)"', svg)
    rects = [([float(number) for number in rect[:4]], rect[4]) for rect in rects]
    left, top = (min(rect[axis] for rect, _ in rects) for axis in (0, 1))
    right, bottom = (max(rect[axis] + rect[axis + 2] for rect, _ in rects) for axis in (0, 1))
    image = np.full((round((bottom - top) * 10), round((right - left) * 10)), 255, np.uint8)
    for (x, y, width, height), fill in rects:
        rows, columns = (slice(round(at * 10), round((at + size) * 10)) for at, size in ((y - top, height), (x - left, width)))
        image[rows, columns] = 0 if fill == "#000" else 255
    return image


class Charuco:
    name, marks = "ChArUco board", 12

    def __init__(self, square):
        dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
        self.board = cv2.aruco.CharucoBoard((8, 6), square / 1000, square * 0.75 / 1000, dictionary)
        self.detector = cv2.aruco.CharucoDetector(self.board)

    def check_drawing(self, image):
        theirs = self.board.generateImage((4000, 3000), marginSize=0)
        differing = np.mean(image != theirs)
        assert differing < 0.005, f"{differing:.2%} of the board is drawn otherwise"

    def detect(self, gray):
        """The positions of corners in the image by their numbers."""
        places, ids, _, _ = self.detector.detectBoard(gray)
        return {} if ids is None else {int(at): place for at, place in zip(ids.ravel(), places.reshape(-1, 2))}

    def point(self, number):
        return self.board.getChessboardCorners()[number]


class AprilGrid:
    name, marks = "AprilGrid", 48

    def __init__(self, tag):
        self.tag = tag / 1000
        dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
        parameters = cv2.aruco.DetectorParameters()
        parameters.markerBorderBits = 2
        self.detector = cv2.aruco.ArucoDetector(dictionary, parameters)

    def check_drawing(self, image):
        assert len(self.detect(cv2.copyMakeBorder(image, 200, 200, 200, 200, cv2.BORDER_CONSTANT, value=255))) == 4 * np.prod(TAGS)

    def detect(self, gray):
        places, ids, _ = self.detector.detectMarkers(gray)
        if ids is None:
            return {}
        # Its outlines of tags end at the squares, some pixels from the corners.
        criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 0.001)
        places = cv2.cornerSubPix(gray, np.array(places).reshape(-1, 1, 2), (5, 5), (-1, -1), criteria).reshape(-1, 4, 2)
        # OpenCV has the tags of this family upside down.
        tags = zip(ids.ravel(), places)
        return {4 * int(tag) + (at + 2) % 4: place for tag, four in tags for at, place in enumerate(four)}

    def point(self, number):
        (columns, rows), (tag, corner) = TAGS, divmod(number, 4)
        place = np.array([tag % columns, rows - 1 - tag // columns]) * (1 + SPACING) + SPACING
        return np.array([*(place + [corner in (1, 2), corner >= 2]) * self.tag, 0.0])


def compare(folder, kind):
    lines = (folder / "found.txt").read_text().splitlines()
    fx, fy, cx, cy, *coefficients, width = map(float, lines[0].split())
    matrix, coefficients = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), np.array(coefficients)
    board = kind(width)
    board.check_drawing(drawn((folder / "board.svg").read_text()))
    distances, compared = [], 0
    for number, (pose, corners) in enumerate(zip(lines[1::2], lines[2::2])):
        gray = cv2.imread(str(folder / f"{number}.pgm"), cv2.IMREAD_GRAYSCALE)
        found = {int(at): np.array([float(x), float(y)]) for at, x, y in zip(*[iter(corners.split())] * 3)}
        pixels = board.detect(gray)
        if not pose or len(pixels) < board.marks:
            continue
        distances += [np.linalg.norm(found[at] - pixels[at]) for at in found.keys() & pixels.keys()]
        points, places = np.array([board.point(at) for at in pixels]), np.array(list(pixels.values()))
        _, turn, place = cv2.solvePnP(points, places, matrix, coefficients, flags=cv2.SOLVEPNP_IPPE)
        turn, place = cv2.solvePnPRefineLM(points, places, matrix, coefficients, turn, place)
        ours = np.array(list(map(float, pose.split()))).reshape(4, 4)
        between = cv2.Rodrigues(turn)[0].T @ ours[:3, :3]
        degrees = np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1)))
        # The position of the middle of the board: that of its edge depends on the rotation as well.
        middle = points.mean(axis=0)
        meters = np.linalg.norm(cv2.Rodrigues(turn)[0] @ middle + place.ravel() - ours[:3, :3] @ middle - ours[:3, 3])
        assert meters < METERS and degrees < DEGREES, f"{board.name}, picture {number}: {meters * 1000:.2f} mm, {degrees:.3f} degrees"
        compared += 1
    usual, largest = np.median(distances), max(distances)
    assert compared >= 15, f"the {board.name} was found in {compared} pictures only"
    assert usual < USUAL_PIXELS and largest < LARGEST_PIXELS, f"{board.name}: {usual:.3f} {largest:.3f} pixels"
    print(f"{board.name}, {len(distances)} corners of {compared} pictures: {usual:.3f} pixels from OpenCV's, at most {largest:.3f}")


def poses(path):
    """Cameras with their poses: a dictionary for each."""
    cameras = []
    for line in path.read_text().splitlines():
        numbers = [float(number) for number in line.split()]
        fx, fy, cx, cy = numbers[2:6]
        cameras.append(
            {
                "size": (int(numbers[0]), int(numbers[1])),
                "matrix": np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
                "coefficients": np.array(numbers[6:11]),
                "pose": np.array(numbers[11:27]).reshape(4, 4),
                "deviation": numbers[27:29],
                "error": numbers[29],
            }
        )
    return cameras


def stereo(first, other, views):
    """OpenCV's pose of a camera in the coordinates of another, by the points and their places in both images."""
    points, places, others = ([np.array(view[at], np.float32) for view in views] for at in range(3))
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 200, 1e-9)
    lenses = (first["matrix"], first["coefficients"], other["matrix"], other["coefficients"])
    _, *_, turn, place, _, _ = cv2.stereoCalibrate(
        points, places, others, *lenses, first["size"], flags=cv2.CALIB_FIX_INTRINSIC, criteria=criteria
    )
    pose = np.eye(4)
    # It leads from the first camera to the other one.
    pose[:3, :3], pose[:3, 3] = turn.T, -turn.T @ place.ravel()
    return pose


def between(pose, other):
    """The difference of two poses, in millimetres and degrees."""
    turn = pose[:3, :3].T @ other[:3, :3]
    degrees = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return np.linalg.norm(pose[:3, 3] - other[:3, 3]) * 1000, degrees


def compare_rig(folder):
    """The poses of cameras in one bundle, by OpenCV's corners of the same pictures."""
    board, cameras = Charuco(50.0), poses(folder / "poses.txt")
    found = {}
    for path in folder.glob("*.pgm"):
        camera, moment = map(int, path.stem.split("-"))
        found[camera, moment] = board.detect(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    moments = sorted({moment for _, moment in found})
    for number, other in enumerate(cameras[1:], 1):
        views = []
        for moment in moments:
            seen, also = found[0, moment], found[number, moment]
            common = sorted(seen.keys() & also.keys())
            if len(common) >= Charuco.marks:
                views.append([[of[at] for at in common] for of in (list(map(board.point, range(35))), seen, also)])
        millimeters, degrees = between(stereo(cameras[0], other, views), other["pose"])
        assert len(views) >= 10 and millimeters < RIG_MILLIMETERS and degrees < RIG_DEGREES, (number, millimeters, degrees)
        print(f"camera {number} of a rig: {millimeters:.2f} mm and {degrees:.3f} degrees from OpenCV's, by {len(views)} views")


if __name__ == "__main__":
    for kind in (Charuco, AprilGrid):
        compare(Path(sys.argv[1]) / kind.__name__.lower(), kind)
    compare_rig(Path(sys.argv[1]) / "rig")
