// One camera: its pictures, its border, its line of numbers, and its requests to the server.

import { Cloud } from "./cloud.js";
import { Depth } from "./depth.js";
import { boxesOf, translucent } from "./overlay.js";
import { Pane } from "./pane.js";

/** The order of the pictures that most cameras have; others follow. */
const FIRST = ["color", "depth", "infrared-1", "infrared-2"];

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
  #depth = null;
  #color = null;
  #range = null;
  #hover = null;
  #files = null;
  #saving = false;
  #kept = false;

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
    this.element = document.querySelector("#tile").content.firstElementChild.cloneNode(true);
    this.element.dataset.camera = camera;
    this.element.classList.add("new");
  }

  /** Returns the streams that this camera has and the page shows. */
  get shown() {
    return this.streams.filter((stream) => this.#settings.streams.has(stream));
  }

  /** Returns the shape of the pictures side by side. */
  get aspect() {
    const first = this.#panes.values().next().value?.canvas;
    return first && first.width > 16 ? first.width / first.height : 16 / 9;
  }

  /** Creates the panes that are missing, and removes those no longer shown. */
  arrange() {
    const panes = this.element.querySelector(".panes");
    const shown = this.shown;
    for (const [stream, pane] of this.#panes) {
      if (shown.includes(stream)) continue;
      pane.element.remove();
      this.#panes.delete(stream);
    }
    for (const stream of shown) {
      if (!this.#panes.has(stream)) this.#panes.set(stream, new Pane(stream, (place) => this.#hovered(stream, place)));
    }
    for (const stream of this.streams) if (this.#panes.has(stream)) panes.append(this.#panes.get(stream).element);
    const cloud = this.#settings.cloud && this.#settings.large === this.#camera;
    if (cloud && !this.#cloud) this.#cloud = new Cloud(this.#settings);
    if (cloud) {
      panes.append(this.#cloud.element);
      this.#cloud.show(this.#depth, this.#color, this.#range);
    } else {
      this.#cloud?.remove();
      this.#cloud = null;
    }
  }

  /** Requests the next frameset, or replaces the request. */
  ask() {
    const visible = this.#settings.large === null || this.#settings.large === this.#camera;
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
    // The file has the whole color image, which is better than the picture.
    const file = frames.part("file", "color");
    const pictures = frames.parts.filter((part) => part.kind === "picture");
    const decode = (parts) =>
      Promise.all(parts.map((part) => createImageBitmap(new Blob([part.stream === "color" && file ? file.data : part.data]))));
    const [images, covers] = await Promise.all([decode(pictures), decode(frames.parts.filter((part) => part.kind === "mask"))]);
    // A newer one arrived during decoding and continues.
    if (frames.count !== this.#count || this.#kept) return [...images, ...covers].forEach((image) => image.close());
    const masks = covers.map(translucent);
    covers.forEach((cover) => cover.close());
    const boxes = frames.parts.filter((part) => part.kind === "message").flatMap((part) => boxesOf(part.data));
    pictures.forEach((part, index) => {
      if (part.stream === "color") {
        this.#color?.close();
        this.#color = images[index];
      }
      const over = part.stream === "color" ? [masks, boxes] : [];
      this.#panes.get(part.stream)?.show(images[index], part.width, part.height, ...over);
      if (part.stream !== "color") images[index].close();
    });
    if (frames.part("units", "depth")) this.#depth = new Depth(frames);
    else this.#depth = null;
    this.#range = frames.range_meters;
    const [near, far] = this.#range ?? [];
    const caption = this.#panes.get("depth")?.caption;
    if (caption) caption.textContent = this.#range ? `${near.toFixed(2)} – ${far.toFixed(2)} m` : "";
    const left = this.#panes.get("color")?.caption;
    if (left) left.textContent = frames.too_large.map((stream) => `${stream}: too large to show`).join(", ");
    this.element.dataset.sequence = frames.sequence;
    this.element.dataset.count = frames.count;
    this.#cloud?.show(this.#depth, this.#color, this.#range);
    this.#readout();
    if (frames.parts.some((part) => part.kind === "file")) this.#files = frames;
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
    const pictures = names("picture");
    this.streams = [...FIRST.filter((stream) => pictures.includes(stream)), ...pictures.filter((stream) => !FIRST.includes(stream))];
    this.overlays = names("mask", "message");
    const fresh = !status.live && this.#count === 0 && status.silent_millis < 3000;
    this.element.classList.toggle("live", status.live);
    this.element.classList.toggle("new", fresh);
    const set = (name, text) => {
      const element = this.element.querySelector(name);
      if (element.textContent !== text) element.textContent = text;
    };
    const state = status.state ?? "unknown";
    set(".label", status.label);
    set(".state", state === "running" ? "" : state);
    set(".rate", status.rate_hz === null ? "– fps" : `${status.rate_hz.toFixed(0)} fps`);
    set(".latency", `${status.latency_millis.toFixed(1)} ms`);
    const listed = status.streams.filter(({ form }) => form === "listed");
    set(".listed", listed.map(({ stream, role, format }) => `${stream} (${role}, ${format})`).join(", "));
    set(".dropped", `${status.dropped ?? "–"} dropped`);
    this.element.querySelector(".dropped").classList.toggle("some", status.dropped > 0);
    this.element.title = [status.model, status.serial, status.restarts ? `${status.restarts} restarts` : ""].filter(Boolean).join(" · ");
    this.element.setAttribute("aria-label", `camera ${status.label}, ${status.live ? "live" : "no signal"}, ${state}`);
    this.element.querySelector(".lost").hidden = status.live || fresh;
    // Framesets arrive, but none was shown since the last status: an answer got lost, so request again.
    if (status.live && this.#count === this.#countBefore) this.ask();
    this.#countBefore = this.#count;
    set(".lost span", [state, status.error].filter(Boolean).join(": "));
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
    if (began && !this.#depth) this.ask();
  }

  #readout() {
    for (const [stream, pane] of this.#panes) {
      const here = this.#hover?.stream === stream && this.#depth;
      if (!here) {
        pane.say(null);
        continue;
      }
      const meters = this.#depth.metersIn(stream, this.#hover.right, this.#hover.down);
      pane.say(meters === null ? "" : this.#depth.text(meters), this.#hover);
    }
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
