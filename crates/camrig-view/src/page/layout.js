// Computes the number of pictures side by side. Knows no element.

const FOOTER = 36;

/** Returns the number of columns, and whether to stack the panes of a tile, for the largest pictures. */
export function arrange(tiles, panes, aspect, width, height, gap) {
  let best = { columns: 1, stacked: false, size: 0 };
  // A phone shows one camera as large as possible, and scrolls.
  if (width <= 640) return { ...best, stacked: tiles === 1 };
  for (let columns = 1; columns <= tiles; columns++) {
    for (const stacked of [false, true]) {
      const rows = Math.ceil(tiles / columns);
      const wide = (width - gap * (columns + 1)) / columns / (stacked ? 1 : panes);
      const high = ((height - gap * (rows + 1)) / rows - FOOTER) / (stacked ? panes : 1);
      const size = Math.min(wide, high * aspect);
      if (size > best.size * 1.02) best = { columns, stacked, size };
    }
  }
  return best;
}
