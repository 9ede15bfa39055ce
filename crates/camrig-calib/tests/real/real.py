"""Prepares real pictures of OpenCV's tutorials, and compares the poses by them with OpenCV's: see `run`.

    real.py write|check board|stereo PICTURES FOLDER

`board`: four pictures of a ChArUco board that one camera took from four places: they count as those of four cameras at one
moment, which is repeated because a calibration needs three. `stereo`: thirteen pairs of a chessboard; it has no markers, so OpenCV finds the corners.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.append(str(Path(__file__).parent.parent / "opencv"))
from compare import between, poses, stereo  # noqa: E402

CRITERIA = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 1e-6)
# The largest difference from OpenCV's poses, in millimetres and degrees.
BOARD, STEREO = (3.0, 0.3), (1.0, 0.1)
# Of a chessboard: corners, and the side of a square in metres.
COLUMNS, ROWS, SQUARE = 9, 6, 0.025
# The pairs by which the cameras are calibrated; the others test the result.
HELD_OUT = 3
# The least number of moments of a calibration.
MOMENTS = 3


def gray(path):
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def lens_line(size, matrix, coefficients):
    numbers = [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2], *np.ravel(coefficients)[:5]]
    return " ".join(map(str, [*size, *numbers])) + "\n"


class Board:
    """A ChArUco board with 5x7 squares of 40 mm, as the tutorial prints it."""

    def __init__(self, pictures, folder):
        self.folder = folder
        images = pictures / "modules/aruco/tutorials/aruco_calibration/images"
        self.pictures = [gray(path) for path in sorted(images.glob("img_0*.jpg"))]
        assert len(self.pictures) == 4, images
        file = cv2.FileStorage(str(pictures / "modules/aruco/samples/tutorial_camera_charuco.yml"), cv2.FILE_STORAGE_READ)
        self.matrix, self.coefficients = (file.getNode(key).mat() for key in ("camera_matrix", "distortion_coefficients"))
        dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_6X6_250)
        self.board = cv2.aruco.CharucoBoard((5, 7), 0.04, 0.02, dictionary)

    def write(self):
        (self.folder / "board.toml").write_text(
            'columns = 5\nrows = 7\nsquare_millimeters = 40\nmarker_millimeters = 20\ndictionary = "6X6_250"\n'
        )
        size = self.pictures[0].shape[::-1]
        (self.folder / "cameras.txt").write_text(lens_line(size, self.matrix, self.coefficients) * 4)
        for camera, picture in enumerate(self.pictures):
            cv2.imwrite(str(self.folder / f"{camera}.pgm"), picture)
        views = [f"{camera} {moment} {camera}.pgm\n" for moment in range(MOMENTS) for camera in range(4)]
        (self.folder / "views.txt").write_text("".join(views))

    def check(self):
        found = np.loadtxt(self.folder / "corners.txt")
        detector, places, distances = cv2.aruco.CharucoDetector(self.board), [], []
        for camera, picture in enumerate(self.pictures):
            pixels, ids, _, _ = detector.detectBoard(picture)
            pixels, ids = pixels.reshape(-1, 2), ids.ravel()
            ours = {int(row[2]): row[3:] for row in found if row[0] == camera}
            distances += [np.linalg.norm(ours[at] - pixel) for at, pixel in zip(ids, pixels) if at in ours]
            points = np.array([self.board.getChessboardCorners()[at] for at in ids])
            _, turn, place = cv2.solvePnP(points, pixels, self.matrix, self.coefficients, flags=cv2.SOLVEPNP_IPPE)
            turn, place = cv2.solvePnPRefineLM(points, pixels, self.matrix, self.coefficients, turn, place)
            pose = np.eye(4)
            pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], place.ravel()
            places.append(pose)
            print(f"picture {camera}: {len(ours)} corners, of OpenCV {len(ids)}")
        print(f"{len(distances)} corners: {np.median(distances):.3f} pixels from OpenCV's, at most {max(distances):.3f}")
        for camera, solved in enumerate(poses(self.folder / "poses.txt")):
            millimeters, degrees = between(places[0] @ np.linalg.inv(places[camera]), solved["pose"])
            # Of a single moment.
            meters, radians = np.sqrt(MOMENTS) * np.array(solved["deviation"])
            print(
                f"place {camera}: {millimeters:.2f} mm and {degrees:.3f} degrees from OpenCV's, deviations of {meters * 1000:.2f} mm "
                f"and {np.degrees(radians):.3f} degrees, {solved['error']:.3f} pixels"
            )
            assert millimeters < BOARD[0] and degrees < BOARD[1]


class Stereo:
    def __init__(self, pictures, folder):
        self.folder = folder
        self.views = {}
        for path in sorted((pictures / "samples/data").glob("*[0-9].jpg")):
            side, moment = (path.stem[:-2], int(path.stem[-2:]))
            picture = gray(path)
            ok, pixels = cv2.findChessboardCorners(picture, (COLUMNS, ROWS))
            if ok:
                pixels = cv2.cornerSubPix(picture, pixels, (5, 5), (-1, -1), CRITERIA)
                self.views[("left", "right").index(side), moment] = pixels.reshape(-1, 2)
            self.size = picture.shape[::-1]
        self.points = np.array([[x, y, 0] for y in range(ROWS) for x in range(COLUMNS)], np.float32) * np.float32(SQUARE)
        self.moments = [moment for camera, moment in self.views if camera == 0 and (1, moment) in self.views]

    def write(self):
        (self.folder / "board.toml").write_text(f"columns = {COLUMNS + 1}\nrows = {ROWS + 1}\nsquare_millimeters = {SQUARE * 1000}\n")
        lines = ""
        for camera in (0, 1):
            pixels = [pixels for (of, _), pixels in self.views.items() if of == camera]
            _, matrix, coefficients, _, _ = cv2.calibrateCamera([self.points] * len(pixels), pixels, self.size, None, None)
            lines += lens_line(self.size, matrix, coefficients)
        (self.folder / "cameras.txt").write_text(lines)
        lines = ""
        for moment in self.moments[HELD_OUT:]:
            for camera in (0, 1):
                corners = (f"{at} {x} {y}" for at, (x, y) in enumerate(self.views[camera, moment]))
                lines += f"{camera} {moment} {' '.join(corners)}\n"
        (self.folder / "views.txt").write_text(lines)

    def check(self):
        left, right = poses(self.folder / "poses.txt")
        used, held_out = self.moments[HELD_OUT:], self.moments[:HELD_OUT]
        theirs = stereo(left, right, [(self.points, self.views[0, moment], self.views[1, moment]) for moment in used])
        millimeters, degrees = between(theirs, right["pose"])
        meters, radians = right["deviation"]
        base = np.linalg.norm(right["pose"][:3, 3]) * 1000
        print(
            f"{len(used)} pairs, cameras {base:.1f} mm apart: {millimeters:.2f} mm and {degrees:.3f} degrees from OpenCV's, deviations of "
            f"{meters * 1000:.2f} mm and {np.degrees(radians):.3f} degrees, {right['error']:.3f} pixels"
        )
        assert millimeters < STEREO[0] and degrees < STEREO[1]
        # Where the left camera sees the board, the right one has to see its corners.
        to_right = np.linalg.inv(right["pose"])
        for moment in held_out:
            _, turn, place = cv2.solvePnP(self.points, self.views[0, moment], left["matrix"], left["coefficients"])
            board = np.eye(4)
            board[:3, :3], board[:3, 3] = cv2.Rodrigues(turn)[0], place.ravel()
            seen = to_right @ board
            pixels, _ = cv2.projectPoints(
                self.points, cv2.Rodrigues(seen[:3, :3])[0], seen[:3, 3], right["matrix"], right["coefficients"]
            )
            off = np.linalg.norm(pixels.reshape(-1, 2) - self.views[1, moment], axis=1)
            print(f"pair {moment}, which was held out: corners of the left camera are {np.median(off):.2f} pixels off in the right one")
            assert np.median(off) < 1.5


kind = {"board": Board, "stereo": Stereo}[sys.argv[2]](Path(sys.argv[3]), Path(sys.argv[4]))
getattr(kind, sys.argv[1])()
