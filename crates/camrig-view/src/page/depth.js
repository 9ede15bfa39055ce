// Measured depth, and the depth at a position in another picture. Does not access elements of the page.

/** Maximum distance between a place of the color image and a projected depth, in pixels. */
const NEAR_PIXELS = 1.5;

export class Depth {
  /** `part` has the depth units of one stream of a frameset. */
  constructor(frames, part) {
    this.stream = part.stream;
    this.width = part.width;
    this.height = part.height;
    this.units = new Uint16Array(part.data);
    this.unitMeters = frames.depth_unit_meters;
    this.lens = frames.depth_lens;
    this.colorLens = frames.color_lens;
    this.colorToDepth = frames.color_to_depth;
  }

  /** Returns metres, or null where there is no depth. */
  meters(x, y) {
    const units = this.units[y * this.width + x] ?? 0;
    return units === 0 ? null : units * this.unitMeters;
  }

  /** Returns the depth at a place of a stream's picture, given as fractions of its width and height. */
  metersIn(stream, right, down) {
    if (stream === "color") return this.#metersInColor(right, down);
    // Depth is computed in the image of infrared 1: they share every pixel.
    return this.meters(Math.floor(right * this.width), Math.floor(down * this.height));
  }

  /** Formats metres with as many digits as the depth unit has. */
  text(meters) {
    const digits = Math.max(0, Math.ceil(-Math.log10(this.unitMeters) - 0.001));
    return `${meters.toFixed(digits)} m`;
  }

  /** Returns the nearest of the depths that the color camera sees at this place. */
  #metersInColor(right, down) {
    const { lens, colorLens: color, colorToDepth: pose } = this;
    if (!lens || !color || !pose) return null;
    const [r, t] = [pose.rotation, pose.translation_meters];
    const [wantedX, wantedY] = [right * color.width - 0.5, down * color.height - 0.5];
    let nearest = null;
    for (let y = 0, at = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++, at++) {
        if (this.units[at] === 0) continue;
        const z = this.units[at] * this.unitMeters;
        const p = [((x - lens.ppx) / lens.fx) * z - t[0], ((y - lens.ppy) / lens.fy) * z - t[1], z - t[2]];
        // The matrix is stored by columns; its transpose maps depth to color.
        const deep = r[6] * p[0] + r[7] * p[1] + r[8] * p[2];
        const across = (color.fx * (r[0] * p[0] + r[1] * p[1] + r[2] * p[2])) / deep + color.ppx - wantedX;
        if (Math.abs(across) > NEAR_PIXELS) continue;
        const along = (color.fy * (r[3] * p[0] + r[4] * p[1] + r[5] * p[2])) / deep + color.ppy - wantedY;
        if (Math.abs(along) <= NEAR_PIXELS && (nearest === null || z < nearest)) nearest = z;
      }
    }
    return nearest;
  }
}
