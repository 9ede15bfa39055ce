// A plot of the samples of a motion sensor over the last seconds.

import { describe } from "./pane.js";

const SAMPLE_BYTES = 20;
const SECONDS = 10;
const AXES = [["x", "#f2605f"], ["y", "#5ad16b"], ["z", "#6d9bff"]];
const UNITS = { accel: "m/s²", gyro: "rad/s" };

export class PlotPane {
  #samples = [];
  #waiting = false;

  constructor(stream) {
    this.stream = stream;
    this.element = document.querySelector("#pane").content.firstElementChild.cloneNode(true);
    this.element.classList.add("plot");
    this.element.dataset.stream = stream;
    this.canvas = this.element.querySelector("canvas");
    this.caption = this.element.querySelector("figcaption");
  }

  /** Adds the samples of a message's part: time in milliseconds, x, y, z. */
  show({ data }) {
    const view = new DataView(data);
    for (let at = 0; at + SAMPLE_BYTES <= data.byteLength; at += SAMPLE_BYTES) {
      const [x, y, z] = [8, 12, 16].map((offset) => view.getFloat32(at + offset, true));
      const sample = { millis: view.getFloat64(at, true), values: [x, y, z] };
      // A clock that leaps back starts a new plot.
      if (this.#samples.length > 0 && sample.millis < this.#samples.at(-1).millis) this.#samples = [];
      this.#samples.push(sample);
    }
    const last = this.#samples.at(-1);
    if (!last) return;
    const from = this.#samples.findIndex(({ millis }) => millis >= last.millis - SECONDS * 1000);
    this.#samples.splice(0, from);
    const values = AXES.map(([name], axis) => `${name} ${last.values[axis].toFixed(2)}`).join("  ");
    this.caption.textContent = `${values} ${UNITS[this.stream] ?? ""}`.trim();
    this.element.dataset.samples = this.#samples.length;
    this.#draw();
  }

  describe(facts, silent) {
    describe(this.element, { ...facts, form: this.stream }, silent);
  }

  /** No depth can be read off. */
  say() {}

  remove() {
    this.element.remove();
  }

  #draw() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#paint();
    });
  }

  #paint() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight].map((side) => Math.round(side * devicePixelRatio));
    if (width === 0 || height === 0) return;
    [this.canvas.width, this.canvas.height] = [width, height];
    const context = this.canvas.getContext("2d");
    const all = this.#samples.flatMap(({ values }) => values);
    const [least, most] = [Math.min(0, ...all), Math.max(0, ...all)];
    const margin = 0.08 * Math.max(most - least, 1e-3);
    const end = this.#samples.at(-1).millis;
    const right = (millis) => width * (1 - (end - millis) / (SECONDS * 1000));
    const down = (value) => height * (1 - (value - least + margin) / (most - least + 2 * margin));
    context.lineWidth = devicePixelRatio;
    context.strokeStyle = "#4a5562";
    context.beginPath();
    context.moveTo(0, down(0));
    context.lineTo(width, down(0));
    context.stroke();
    context.lineWidth = 1.5 * devicePixelRatio;
    AXES.forEach(([, color], axis) => {
      context.strokeStyle = color;
      context.beginPath();
      for (const { millis, values } of this.#samples) context.lineTo(right(millis), down(values[axis]));
      context.stroke();
    });
  }
}
