// Computes the number of pictures side by side. Does not access elements of the page.

/** Heights and widths around the pictures of a tile, in pixels, as in the stylesheet. */
const FOOTER = 32;
const BORDERS = 4;
const BETWEEN = 2;

/**
 * Returns the number of columns, whether to stack the panes of a tile, and the width of a tile, for the largest
 * pictures. `width` and `height` are those of the grid, with `gap` around it and between tiles. On a phone there is one
 * column.
 */
export function arrange(tiles, panes, aspect, { width, height, gap, phone }) {
  let best = { columns: 1, stacked: false, tile: 0, size: 0 };
  // A phone shows one camera as large as possible, and scrolls.
  if (phone) return { ...best, stacked: tiles === 1 };
  for (let columns = 1; columns <= tiles; columns++) {
    for (const stacked of [false, true]) {
      const rows = Math.ceil(tiles / columns);
      const [beside, below] = stacked ? [1, panes] : [panes, 1];
      const around = { wide: BORDERS + BETWEEN * (beside - 1), high: BORDERS + FOOTER + BETWEEN * (below - 1) };
      const wide = ((width - gap * (columns + 1)) / columns - around.wide) / beside;
      const high = ((height - gap * (rows + 1)) / rows - around.high) / below;
      const size = Math.floor(Math.min(wide, high * aspect));
      if (size > best.size * 1.02) best = { columns, stacked, tile: size * beside + around.wide, size };
    }
  }
  return best;
}
