// A picture of the points of a frame, drawn on a plain canvas: a page may show more of them than a browser has
// contexts of WebGL.

import { colorOf, floorOf, frustumLines, guideLines } from "./guides.js";
import { Orbit } from "./orbit.js";
import { describe } from "./pane.js";

const POINT_BYTES = 16;

/** Red, green and blue of a point without color beside points with color, and of the background. */
const PLAIN = [56, 56, 56];
const BACK = [8, 10, 13];

/** The largest side of a point, in pixels. */
const SIDE_MOST = 16;

/** The least distance of a line from the eye, in metres. */
const NEAREST = 0.01;

/** The share of points at either end that is ignored as outliers. */
const STRAY = 0.02;

export class PointsPane {
  #settings;
  #orbit;
  #points = null;
  /** The depth of the pivot in metres, and half the width and height of the picture at distance 1. */
  #view = null;
  #image = null;
  #depths = null;
  #waiting = false;
  #resized;
  #isEnlarged;
  /** Of points of several cameras: their names by number, and those whose poses are known. */
  #origins = [];
  #cameras = [];

  /** The eye moves while `enabled()` is true. */
  constructor(stream, settings, enabled) {
    this.stream = stream;
    this.#settings = settings;
    this.#isEnlarged = enabled;
    this.element = document.querySelector("#pane").content.firstElementChild.cloneNode(true);
    this.element.classList.add("points");
    this.element.dataset.stream = stream;
    this.canvas = this.element.querySelector("canvas");
    this.caption = this.element.querySelector("figcaption");
    this.caption.textContent = stream;
    this.#orbit = new Orbit(this.canvas, () => this.draw(), enabled);
    this.#resized = new ResizeObserver(() => this.draw());
    this.#resized.observe(this.element);
  }

  /** Sets the names of the cameras by number, and the cameras whose poses and lenses are known. */
  locate(origins, cameras) {
    this.#origins = origins;
    this.#cameras = cameras;
    this.element.dataset.frusta = this.#posed.map(({ name }) => name).join(" ");
  }

  /** The cameras of the points whose fields of view can be drawn. */
  get #posed() {
    return this.#cameras.filter(({ name }) => this.#origins.includes(name));
  }

  /** Shows the points of a message's part. */
  show({ data, width, height }) {
    const count = Math.floor(data.byteLength / POINT_BYTES);
    this.#points = { count, places: new Float32Array(data), colors: new Uint8Array(data) };
    this.element.style.setProperty("--aspect", `${width} / ${height}`);
    this.#view ??= viewOf(this.#points);
    this.draw();
  }

  /** No depth can be read off. */
  say() {}

  describe(facts, silent) {
    describe(this.element, facts, silent);
  }

  remove() {
    this.element.remove();
    this.#resized.disconnect();
  }

  /** Schedules one drawing for the next screen update, however often it is called. */
  draw() {
    if (this.#waiting || !this.#points || !this.#view) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#paint();
    });
  }

  #paint() {
    const canvas = this.canvas;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * devicePixelRatio));
    if (width === 0 || height === 0) return;
    const context = canvas.getContext("2d", { alpha: false });
    if (!this.#image || this.#image.width !== width || this.#image.height !== height) {
      [canvas.width, canvas.height] = [width, height];
      this.#image = context.createImageData(width, height);
      this.#depths = new Float32Array(width * height);
    }
    const pixels = new Uint32Array(this.#image.data.buffer);
    pixels.fill(packed(BACK));
    this.#depths.fill(Infinity);
    this.#splat(pixels, width, height);
    context.putImageData(this.#image, 0, 0);
    if (this.#settings.guides && this.#isEnlarged()) this.#drawGuides(context, width, height);
    this.element.dataset.painted = Number(this.element.dataset.painted ?? 0) + 1;
  }

  /** Returns to the initial view. */
  home() {
    this.#orbit.home();
  }

  #drawGuides(context, width, height) {
    const { pivot, across, along, floor } = this.#view;
    const { zoom, right, down } = this.#orbit.eye;
    const turn = this.#orbit.rotation;
    const focal = Math.min(width / across, height / along) / 2;
    const seen = ([x, y, z]) => {
      const away = z - pivot;
      return [0, 1, 2].map((row) => turn[row] * x + turn[row + 3] * y + turn[row + 6] * away + [right * pivot, down * pivot, pivot * zoom][row]);
    };
    context.lineWidth = devicePixelRatio;
    const frusta = this.#posed.flatMap((camera) => frustumLines(camera, colorOf(this.#origins.indexOf(camera.name))));
    for (const { from, to, color } of [...guideLines(floor), ...frusta]) {
      let [one, other] = [seen(from), seen(to)];
      if (one[2] > other[2]) [one, other] = [other, one];
      if (other[2] <= NEAREST) continue;
      // Points behind the viewer are clipped.
      const share = Math.max(0, (NEAREST - one[2]) / (other[2] - one[2]));
      one = one.map((value, axis) => value + share * (other[axis] - value));
      context.strokeStyle = `rgb(${color.map((part) => Math.round(255 * part)).join(" ")})`;
      context.beginPath();
      for (const [x, y, z] of [one, other]) context.lineTo((x / z) * focal + width / 2, (y / z) * focal + height / 2);
      context.stroke();
    }
  }

  #splat(pixels, width, height) {
    const { count, places, colors } = this.#points;
    const { pivot, across, along, range } = this.#view;
    const { zoom, right, down } = this.#orbit.eye;
    const turn = this.#orbit.rotation;
    const focal = Math.min(width / across, height / along) / 2;
    // The distance of neighbouring points at distance 1.
    const apart = 2 * Math.sqrt((across * along) / Math.max(count, 1));
    const byCamera = this.#settings.tint === "camera" && this.#origins.length > 0;
    const ofCameras = this.#origins.map((_, number) => colorOf(number).map((part) => Math.round(255 * part)));
    const byDepth = this.#settings.tint !== "color" || !this.#view.colored;
    const [near, far] = this.#settings.range ?? range;
    for (let index = 0; index < count; index++) {
      const at = 4 * index;
      const [x, y, z] = [places[at], places[at + 1], places[at + 2]];
      const away = z - pivot;
      const deep = turn[2] * x + turn[5] * y + turn[8] * away + pivot * zoom;
      if (!(deep > 0)) continue;
      const left = Math.round(((turn[0] * x + turn[3] * y + turn[6] * away + right * pivot) / deep) * focal + width / 2);
      const top = Math.round(((turn[1] * x + turn[4] * y + turn[7] * away + down * pivot) / deep) * focal + height / 2);
      const side = Math.min(Math.max(Math.ceil((this.#settings.pointSize * apart * z * focal) / deep), 1), SIDE_MOST);
      if (left + side <= 0 || top + side <= 0 || left >= width || top >= height) continue;
      const known = (colors[4 * at + 15] & 1) !== 0;
      const color = byCamera ? ofCameras[colors[4 * at + 15] >> 1] ?? PLAIN
        : byDepth ? turbo(0.9 - 0.8 * Math.min(Math.max((z - near) / (far - near), 0), 1))
        : known ? [colors[4 * at + 12], colors[4 * at + 13], colors[4 * at + 14]] : PLAIN;
      const value = packed(color);
      for (let row = Math.max(top, 0); row < Math.min(top + side, height); row++) {
        for (let column = Math.max(left, 0); column < Math.min(left + side, width); column++) {
          const place = row * width + column;
          if (deep >= this.#depths[place]) continue;
          this.#depths[place] = deep;
          pixels[place] = value;
        }
      }
    }
  }
}

/** Returns a view in which most points are, or null without points. */
function viewOf({ count, places, colors }) {
  const [depths, across, along, heights] = [[], [], [], []];
  let colored = false;
  for (let index = 0; index < count; index += Math.max(1, Math.floor(count / 2000))) {
    const [x, y, z] = places.subarray(4 * index, 4 * index + 3);
    // A merged cloud may have points behind its root.
    if (!(z > 0)) continue;
    depths.push(z);
    heights.push(y);
    across.push(Math.abs(x / z));
    along.push(Math.abs(y / z));
    colored ||= (colors[POINT_BYTES * index + 15] & 1) !== 0;
  }
  if (depths.length === 0) return null;
  for (const values of [depths, across, along]) values.sort((one, other) => one - other);
  const at = (values, share) => values[Math.floor(share * (values.length - 1))];
  const range = [at(depths, STRAY), Math.max(at(depths, 1 - STRAY), at(depths, STRAY) + 1e-3)];
  const wide = (values) => Math.max(at(values, 1 - STRAY), 0.05) * 1.1;
  return { pivot: at(depths, 0.5), across: wide(across), along: wide(along), range, colored, floor: floorOf(heights) };
}

/** Returns a color as one pixel of image data on a little-endian machine. */
function packed([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** Turbo, with the same polynomial as pictures of depth. */
function turbo(x) {
  const channel = (a, b, c, d, e, f) => 255 * Math.min(Math.max(a + x * (b + x * (c + x * (d + x * (e + x * f)))), 0), 1);
  return [
    channel(0.13572138, 4.6153926, -42.660323, 132.13108, -152.9424, 59.28638),
    channel(0.09140261, 2.1941884, 4.8429666, -14.185033, 4.2772985, 2.829566),
    channel(0.1066733, 12.641946, -60.58205, 110.36277, -89.90311, 27.34825),
  ];
}
