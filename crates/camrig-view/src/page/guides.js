// Axes and a grid for pictures of points. Knows no element.

/** Half the width, and the length, of the grid in metres; its lines are a metre apart. */
const HALF = 3;
const LONG = 6;

/** The length of an axis in metres, and the colors of x, y, z and of the grid. */
const AXIS = 0.5;
const COLORS = { x: [0.95, 0.3, 0.3], y: [0.35, 0.85, 0.35], z: [0.35, 0.55, 1], grid: [0.32, 0.36, 0.42] };

/** The distance from a camera to the end of its field of view, as it is drawn, in metres. */
const REACH = 0.15;

/** Degrees of hue between a camera and the next one: the golden angle, so that neighbors differ most. */
const HUE_STEP = 137.508;

/** Returns red, green and blue, 0 to 1, of the camera with this number. */
export function colorOf(number) {
  const hue = (30 + number * HUE_STEP) % 360;
  return [0, 8, 4].map((offset) => {
    const place = (offset + hue / 30) % 12;
    return 0.6 - 0.36 * Math.max(-1, Math.min(place - 3, 9 - place, 1));
  });
}

/** Returns the lines of a camera's field of view, in the coordinates of the root; `lens` has its intrinsics. */
export function frustumLines({ pose, lens }, color) {
  const out = (point) => {
    const [x, y, z, w] = pose.quaternion_xyzw;
    const cross = ([a, b, c], [d, e, f]) => [b * f - c * e, c * d - a * f, a * e - b * d];
    const twice = cross([x, y, z], point).map((value) => 2 * value);
    const turned = cross([x, y, z], twice);
    return point.map((value, axis) => value + w * twice[axis] + turned[axis] + pose.translation_meters[axis]);
  };
  const corner = (column, row) => out([((column - lens.ppx) / lens.fx) * REACH, ((row - lens.ppy) / lens.fy) * REACH, REACH]);
  const [right, bottom] = [lens.width - 0.5, lens.height - 0.5];
  const corners = [corner(-0.5, -0.5), corner(right, -0.5), corner(right, bottom), corner(-0.5, bottom)];
  const eye = out([0, 0, 0]);
  const rays = corners.map((to) => ({ from: eye, to, color }));
  return [...rays, ...corners.map((from, at) => ({ from, to: corners[(at + 1) % 4], color }))];
}

/** A description of the axes and the grid. */
export const GUIDES_TEXT = "x red, y green, z blue, grid 1 m";

/** Returns lines as pairs of points with a color: the axes of the camera, and a grid at the depth `floor` below it. */
export function guideLines(floor) {
  const lines = [
    { from: [0, 0, 0], to: [AXIS, 0, 0], color: COLORS.x },
    { from: [0, 0, 0], to: [0, AXIS, 0], color: COLORS.y },
    { from: [0, 0, 0], to: [0, 0, AXIS], color: COLORS.z },
  ];
  for (let x = -HALF; x <= HALF; x++) lines.push({ from: [x, floor, 0], to: [x, floor, LONG], color: COLORS.grid });
  for (let z = 0; z <= LONG; z++) lines.push({ from: [-HALF, floor, z], to: [HALF, floor, z], color: COLORS.grid });
  return lines;
}

/** Returns the depth below the camera under which few of these heights are: the floor, if it is seen. */
export function floorOf(heights) {
  const sorted = heights.filter(Number.isFinite).sort((one, other) => one - other);
  return sorted.length === 0 ? 1 : sorted[Math.floor(0.98 * (sorted.length - 1))];
}
