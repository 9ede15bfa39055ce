// One option of a camera's device: its value, its range, and a button that resets it.

import { Latest } from "./api.js";

/** The number of positions of a slider for numbers without a step. */
const POSITIONS = 1000;

export class Option {
  #option;
  #input;
  #number = null;
  #reset;
  #latest;

  /** `set(name, value)` sets the option and settles when that is done. */
  constructor(option, set) {
    this.#latest = new Latest((value) => set(option, value));
    this.element = document.querySelector("#option").content.firstElementChild.cloneNode(true);
    this.element.dataset.option = option.name;
    this.#reset = this.element.querySelector(".reset");
    this.#reset.setAttribute("aria-label", `reset ${option.name} to ${option.default}`);
    this.#reset.addEventListener("click", () => this.#send(this.#option.default));
    const label = this.element.querySelector("label");
    label.textContent = option.name;
    this.#input = this.#field(option);
    this.#input.id = `option-${option.name}`;
    label.htmlFor = this.#input.id;
    this.element.title = option.description;
    this.show(option);
  }

  /** Shows the present value, unless it is being changed. */
  show(option) {
    this.#option = option;
    const off = option.read_only;
    for (const field of [this.#input, this.#number, this.#reset]) if (field) field.disabled = off;
    this.element.querySelector(".note").textContent = [rangeText(option), noteOf(option)].filter(Boolean).join(" · ");
    this.#reset.hidden = off || option.range === "File" || option.value === option.default;
    if (this.#latest.busy || this.element.contains(document.activeElement) && this.#held) return;
    this.#write(option.value);
  }

  /** Whether the user holds the slider or writes. */
  #held = false;

  #write(value) {
    if (this.#input.type === "checkbox") this.#input.checked = value === true;
    else this.#input.value = value ?? "";
    if (this.#number) this.#number.value = value ?? "";
  }

  #field({ range }) {
    const fields = this.element.querySelector(".fields");
    const listen = (field, read) => {
      field.addEventListener("pointerdown", () => (this.#held = true));
      field.addEventListener("focus", () => (this.#held = ["number", "text"].includes(field.type)));
      for (const end of ["pointerup", "pointercancel", "blur"]) field.addEventListener(end, () => (this.#held = false));
      field.addEventListener(field.type === "range" ? "input" : "change", () => this.#send(read()));
      fields.prepend(field);
      return field;
    };
    if (range === "Switch") {
      const field = Object.assign(document.createElement("input"), { type: "checkbox" });
      return listen(field, () => field.checked);
    }
    if (range.Choice) {
      const field = document.createElement("select");
      field.append(...range.Choice.map((name) => new window.Option(name, name)));
      return listen(field, () => field.value);
    }
    if (range === "File") {
      const field = Object.assign(document.createElement("input"), { type: "text", spellcheck: false, placeholder: "path of a file" });
      return listen(field, () => field.value);
    }
    const { min, max, step } = range.Number;
    const limits = { min, max, step: step > 0 ? step : (max - min) / POSITIONS };
    const number = Object.assign(document.createElement("input"), { type: "number", ...limits, step: step > 0 ? step : "any" });
    number.setAttribute("aria-label", this.element.dataset.option);
    this.#number = listen(number, () => number.valueAsNumber);
    const slider = Object.assign(document.createElement("input"), { type: "range", ...limits });
    return listen(slider, () => slider.valueAsNumber);
  }

  #send(value) {
    if (typeof value === "number" && Number.isNaN(value)) return this.#write(this.#option.value);
    this.#write(value);
    this.#latest.call(value);
  }
}

function rangeText({ range, unit, default: standard }) {
  if (range === "File") return "";
  const start = `default ${standard}`;
  if (!range.Number) return start;
  const { min, max, step } = range.Number;
  return `${min} to ${max}${unit && ` ${unit}`}${step > 0 ? `, step ${step}` : ""}, ${start}`;
}

function noteOf({ read_only: readOnly, live }) {
  if (readOnly) return "read-only";
  return live ? "" : "restarts the camera";
}
