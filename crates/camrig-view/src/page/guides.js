// Axes and a grid for pictures of points. Knows no element.

/** Half the width, and the length, of the grid in metres; its lines are a metre apart. */
const HALF = 3;
const LONG = 6;

/** The length of an axis in metres, and the colors of x, y, z and of the grid. */
const AXIS = 0.5;
const COLORS = { x: [0.95, 0.3, 0.3], y: [0.35, 0.85, 0.35], z: [0.35, 0.55, 1], grid: [0.32, 0.36, 0.42] };

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
