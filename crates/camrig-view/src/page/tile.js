// One camera: its pictures, its border, its line of numbers, and its requests to the server.

import { Cloud } from "./cloud.js";
import { Depth } from "./depth.js";
import { boxesOf, classColors, translucent } from "./overlay.js";
import { factsOf, isSilent, rateText } from "./facts.js";
import { Pane } from "./pane.js";
import { PlotPane } from "./plot.js";
import { PointsPane } from "./points.js";

/** The order of the pictures that most cameras have; others follow. */
const FIRST = ["color", "depth", "infrared-1", "infrared-2"];

/** The streams, beside those of depth, whose pixels have a depth. */
const SAME_PIXELS = ["infrared-1"];

/** Time for which a camera without framesets is new and shown without an error. */
const NEW_MILLIS = 3000;

/** A paused picture must look good at any size. */
const WIDTH_MOST = 8192;

export class Tile {
  #camera;
  #server;
  #settings;
  #panes = new Map();
  #cloud = null;
  #count = 0;
  #countBefore = 0;
  /** By stream; the first one is that of the point cloud. */
  #depths = new Map();
  #color = null;
  #range = null;
  #hover = null;
  #files = null;
  #saving = false;
  #kept = false;
  /** Whether a part of the tile is inside of the window. */
  #inWindow = true;
  /** Number and time of the last frame of each stream. */
  #frames = new Map();

  /** `settings` are those of the page; `camera` is the index in the status. */
  constructor(camera, server, settings) {
    this.#camera = camera;
    this.#server = server;
    this.#settings = settings;
    /** As in the status. */
    this.described = [];
    /** The names of the streams with a picture of their own, and of those over the color image. */
    this.streams = [];
    this.overlays = [];
    this.label = "";
    /** The names of the cameras whose points it shows, if they are several. */
    this.origins = [];
    this.element = document.querySelector("#tile").content.firstElementChild.cloneNode(true);
    this.element.dataset.camera = camera;
    this.element.classList.add("new");
    new IntersectionObserver((entries) => this.#scrolled(entries.at(-1).isIntersecting)).observe(this.element);
  }

  /** Requests pictures again when the tile comes into the window. */
  #scrolled(inWindow) {
    const comes = inWindow && !this.#inWindow;
    this.#inWindow = inWindow;
    if (comes) this.ask();
  }

  /** Returns the streams that this camera has and the page shows. */
  get shown() {
    return this.streams.filter((stream) => this.#settings.streams.has(stream));
  }

  /** Returns the shape of the highest picture. */
  get aspect() {
    const aspects = [...this.#panes.values()].filter((pane) => pane.canvas.width > 16 && !(pane instanceof PlotPane)).map(({ canvas }) => canvas.width / canvas.height);
    return aspects.length > 0 ? Math.min(...aspects) : 16 / 9;
  }

  /** Whether the camera has depth, and so a point cloud. */
  get hasDepth() {
    return this.described.some(({ role, form }) => role === "depth" && form === "picture");
  }

  /** Whether it shows points, of depth or of a processor. */
  get hasPoints() {
    return this.#cloud !== null || [...this.#panes.values()].some((pane) => pane instanceof PointsPane);
  }

  /** Creates the panes that are missing, and removes those no longer shown. */
  arrange() {
    const panes = this.element.querySelector(".panes");
    const shown = this.shown;
    for (const [stream, pane] of this.#panes) {
      if (shown.includes(stream)) continue;
      pane.remove();
      this.#panes.delete(stream);
      // A removed picture sends no event when the cursor leaves it.
      if (this.#hover?.stream === stream) this.leave();
    }
    for (const stream of shown) {
      if (!this.#panes.has(stream)) this.#panes.set(stream, this.#pane(stream));
    }
    for (const stream of this.streams) if (this.#panes.has(stream)) panes.append(this.#panes.get(stream).element);
    this.#tellNothingShown();
    const cloud = this.#settings.cloud && this.#isLarge && this.hasDepth;
    if (cloud && !this.#cloud) this.#cloud = new Cloud(this.#settings);
    if (cloud) {
      panes.append(this.#cloud.element);
      this.#showCloud();
    } else {
      this.#cloud?.remove();
      this.#cloud = null;
    }
    this.redraw();
  }

  /** Draws points again, after a change of the settings. */
  redraw() {
    this.#cloud?.draw();
    for (const pane of this.#panes.values()) if (pane instanceof PointsPane) pane.draw();
  }

  /** Returns to the initial view of points. */
  home() {
    this.#cloud?.home();
    for (const pane of this.#panes.values()) if (pane instanceof PointsPane) pane.home();
  }

  get #isLarge() {
    return this.#settings.large === this.#camera;
  }

  #pane(stream) {
    const form = this.described.find((described) => described.stream === stream)?.form;
    if (form === "plot") return new PlotPane(stream);
    if (form === "points") return new PointsPane(stream, this.#settings, () => this.#isLarge);
    return new Pane(stream, (place) => this.#hovered(stream, place));
  }

  #showCloud() {
    this.#cloud?.show(this.#depths.values().next().value, this.#color, this.#range);
  }

  /** Shows the reason why there is no picture. */
  #tellNothingShown() {
    const element = this.element.querySelector(".none");
    element.hidden = this.#panes.size > 0 || this.described.length === 0;
    const off = this.streams.filter((stream) => !this.#panes.has(stream));
    element.textContent = off.length > 0 ? `not shown: ${off.join(", ")}` : `no picture: ${this.#listed()}`;
  }

  /** Describes the streams without a picture. */
  #listed() {
    const listed = this.described.filter(({ form }) => form === "listed");
    const words = (one) => [one.role, one.format === one.role ? "" : one.format, rateText(one)].filter(Boolean).join(", ");
    return listed.map((one) => `${one.stream} (${words(one)})`).join(", ");
  }

  /** Writes size, format, number, time and rate of each stream into its picture. */
  #describe() {
    for (const described of this.described) {
      const facts = factsOf(described, this.#frames.get(described.stream));
      this.#panes.get(described.stream)?.describe(facts, isSilent(described));
    }
  }

  /** Requests the next frameset, or replaces the request. */
  ask() {
    const visible = this.#inWindow && (this.#settings.large === null || this.#isLarge);
    if (this.#settings.paused && this.#kept) return;
    if ((!visible || document.hidden) && !this.#settings.paused) return;
    const keep = this.#settings.paused;
    const [pane] = this.#panes.values();
    const pictures = keep ? this.streams : [...new Set([...this.shown, ...(this.#cloud ? ["color"] : [])])];
    const overlays = this.#panes.has("color") ? this.overlays : [];
    this.#server.ask({
      ask: "frames",
      camera: this.#camera,
      after: this.#count,
      streams: [...pictures, ...overlays.filter((stream) => this.#settings.streams.has(stream))],
      width: keep ? WIDTH_MOST : Math.round((pane?.element.clientWidth ?? 640) * devicePixelRatio),
      range_meters: this.#settings.range,
      depth: keep || this.#cloud !== null || this.#hover !== null,
      files: keep || this.#saving,
    });
  }

  /** Ends a pause. */
  resume() {
    this.#keep(false);
    this.#files = null;
    this.ask();
  }

  /** Resets the count after a new connection: a new server counts from 0. */
  restart() {
    this.#count = 0;
    this.ask();
  }

  /** Shows a frameset, then requests the next one: at the rate of the screen, and not while hidden. */
  async show(frames) {
    // A frameset requested before a pause may arrive after the one that the pause keeps.
    if (this.#kept) return;
    this.#count = frames.count;
    const keep = this.#settings.paused;
    // The file has the full color image, which is better than the picture.
    const file = frames.part("file", "color");
    const parts = (...kinds) => frames.parts.filter(({ kind }) => kinds.includes(kind));
    const [pictures, masks] = [[], []];
    for (const part of parts("picture", "mask", "classes")) {
      const isOver = part.kind === "mask" || (part.kind === "classes" && this.overlays.includes(part.stream));
      (isOver ? masks : pictures).push(part);
    }
    // A camera may send a damaged JPEG: the other pictures are shown.
    const decodeOne = (part) => imageOf(part.stream === "color" && file ? file : part, part.kind, masks.includes(part)).catch(() => null);
    const decode = async (parts) => Promise.all(parts.map(decodeOne));
    const [images, covers] = await Promise.all([decode(pictures), decode(masks)]);
    // A newer one arrived during decoding and continues.
    if (frames.count !== this.#count || this.#kept) return images.forEach(close);
    const boxes = parts("message").flatMap((part) => boxesOf(part.data));
    pictures.forEach((part, index) => {
      if (!images[index]) return;
      if (part.stream === "color") {
        if (this.#color) close(this.#color);
        this.#color = images[index];
      }
      const over = part.stream === "color" ? [covers.filter(Boolean), boxes] : [];
      const pane = this.#panes.get(part.stream);
      pane?.show(images[index], part.width, part.height, ...over);
      if (pane && part.range_meters) pane.caption.textContent = rangeText(part.range_meters);
      if (part.stream !== "color") close(images[index]);
    });
    this.origins = frames.origins;
    for (const part of parts("points", "samples")) {
      const pane = this.#panes.get(part.stream);
      if (pane instanceof PointsPane) pane.locate(frames.origins, this.#settings.posed);
      pane?.show(part);
    }
    this.#depths = new Map(parts("units").map((part) => [part.stream, new Depth(frames, part)]));
    this.#range = pictures.find((part) => part.range_meters)?.range_meters ?? this.#settings.range;
    const left = this.#panes.get("color")?.caption;
    if (left) left.textContent = frames.too_large.map((stream) => `${stream}: too large to show`).join(", ");
    this.#frames = new Map(frames.frames.map((frame) => [frame.stream, frame]));
    this.#describe();
    this.element.dataset.sequence = frames.sequence;
    this.element.dataset.count = frames.count;
    this.#showCloud();
    this.#readout();
    if (frames.files) this.#files = frames;
    if (this.#saving && this.#files === frames) this.#download();
    if (keep && this.#files === frames) this.#keep(true);
    else requestAnimationFrame(() => this.ask());
  }

  /** Saves color and depth of one frameset: the paused one, or the next one. */
  save() {
    this.#saving = true;
    if (this.#settings.paused && this.#files) this.#download();
    else this.ask();
  }

  status(status) {
    this.label = status.label;
    this.described = status.streams;
    const names = (...forms) => status.streams.filter(({ form }) => forms.includes(form)).map(({ stream }) => stream);
    const pictures = names("picture", "points", "plot");
    this.streams = [...FIRST.filter((stream) => pictures.includes(stream)), ...pictures.filter((stream) => !FIRST.includes(stream))];
    this.overlays = names("mask", "message");
    const fresh = !status.live && this.#count === 0 && status.silent_millis < NEW_MILLIS;
    this.element.classList.toggle("live", status.live);
    this.element.classList.toggle("new", fresh);
    const set = (name, text) => {
      const element = this.element.querySelector(name);
      if (element.textContent !== text) element.textContent = text;
    };
    const state = status.state ?? "state unknown";
    set(".label", status.label);
    set(".state", state !== "running" ? state : status.live || fresh ? "" : "no frames");
    set(".rate", status.rate_hz === null ? "– fps" : `${status.rate_hz.toFixed(0)} fps`);
    set(".latency", status.latency_millis === null ? "" : `${status.latency_millis.toFixed(1)} ms`);
    set(".listed", this.#listed());
    this.#describe();
    set(".dropped", `${status.dropped ?? "–"} dropped`);
    this.element.querySelector(".dropped").classList.toggle("some", status.dropped > 0);
    this.element.title = [status.label, status.model, status.serial, status.restarts ? `${status.restarts} restarts` : ""].filter(Boolean).join(" · ");
    this.element.setAttribute("aria-label", `camera ${status.label}, ${status.live ? "live" : "no signal"}, ${state}`);
    this.element.querySelector(".lost").hidden = status.live || fresh;
    set(".lost strong", state === "paused" ? "CAMERA PAUSED" : "NO SIGNAL");
    set(".lost span", reasonOf(status));
    this.element.classList.toggle("halted", state === "paused");
    this.#tellNothingShown();
    // The measured depth is out of date.
    if (!status.live) this.leave();
    // Framesets arrive, but none was shown since the last status: an answer got lost, so request again.
    if (status.live && this.#count === this.#countBefore) this.ask();
    this.#countBefore = this.#count;
  }

  /** Handles that the cursor has left all pictures. */
  leave() {
    this.#hover = null;
    this.#readout();
  }

  /** Whether the shown frameset is the one that the pause keeps. */
  #keep(kept) {
    this.#kept = kept;
    this.element.classList.toggle("kept", kept);
  }

  #hovered(stream, place) {
    const began = this.#hover === null && place !== null;
    this.#hover = place && { stream, ...place };
    this.#readout();
    // The requested frameset comes without depth: request again.
    if (began && this.#depths.size === 0) this.ask();
  }

  #readout() {
    for (const [stream, pane] of this.#panes) {
      const depth = this.#hover?.stream === stream ? this.#depthFor(stream) : null;
      if (!depth) {
        pane.say(null);
        continue;
      }
      const meters = depth.metersIn(stream, this.#hover.right, this.#hover.down);
      pane.say(meters === null ? "" : depth.text(meters), this.#hover);
    }
  }

  /** Returns the depths of the pixels of this stream's picture, if there are some. */
  #depthFor(stream) {
    const [first] = this.#depths.values();
    return this.#depths.get(stream) ?? (stream === "color" || SAME_PIXELS.includes(stream) ? first : null);
  }

  #download() {
    this.#saving = false;
    for (const { stream, data } of this.#files.parts.filter((part) => part.kind === "file")) {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([data], { type: "image/png" }));
      const name = this.label.replace(/[^\w-]+/g, "-");
      link.download = `${name}-${String(this.#files.sequence).padStart(6, "0")}-${stream === "depth" ? "depth16" : stream}.png`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    }
    if (!this.#settings.paused) this.#files = null;
  }
}

/** Decodes an image, in colors if it has numbers of classes, translucent if it is a mask `over` another image. */
async function imageOf(part, kind, over) {
  const image = await createImageBitmap(new Blob([part.data]), { colorSpaceConversion: "none" });
  if (kind === "picture") return image;
  const drawn = kind === "classes" ? classColors(image, over) : translucent(image);
  image.close();
  return drawn;
}

/** Frees an image early, if it can be. */
function close(image) {
  image?.close?.();
}

function rangeText([near, far]) {
  return `${near.toFixed(2)} – ${far.toFixed(2)} m`;
}

/** Returns the reason why a camera has no signal. */
function reasonOf({ state, error, silent_millis: silent }) {
  const silence = silent === null ? "" : `no frames for ${(silent / 1000).toFixed(1)} s`;
  if (state === "running" || state === "paused") return silence;
  const isSilent = state === null || state === "stalled" || !error;
  return [state ?? "state unknown", isSilent ? silence : error].filter(Boolean).join(": ");
}
