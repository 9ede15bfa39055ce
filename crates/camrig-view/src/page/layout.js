// How many pictures stand side by side. Knows no element.

const FOOTER = 36;

/** Columns of tiles, and whether the panes of a tile are stacked, so that pictures are largest. */
export function arrange(tiles, panes, aspect, width, height, gap) {
  let best = { columns: 1, stacked: false, size: 0 };
  // On a phone one scrolls, and sees one camera as large as it gets.
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
