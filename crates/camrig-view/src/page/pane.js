// One picture: a canvas, a caption, and the depth under the cursor.

import { drawBoxes } from "./overlay.js";

/** Labels are drawn into a picture that is enlarged at most this many times. */
const ENLARGED_MOST = 4;

/** Writes the line about a stream into the element of its picture. */
export function describe(element, { form, number, time, rate }, silent) {
  const line = element.querySelector(".facts");
  for (const [name, text] of [["form", form], ["number", number], ["time", time], ["hertz", rate]]) {
    const part = line.querySelector(`.${name}`);
    if (part.textContent !== text) part.textContent = text;
  }
  line.classList.toggle("silent", silent);
}

export class Pane {
  /** `hovered(place)` gets the position of the cursor as fractions of the picture, or null. */
  constructor(stream, hovered) {
    this.stream = stream;
    this.element = document.querySelector("#pane").content.firstElementChild.cloneNode(true);
    this.element.dataset.stream = stream;
    this.canvas = this.element.querySelector("canvas");
    this.caption = this.element.querySelector("figcaption");
    this.output = this.element.querySelector("output");
    this.canvas.addEventListener("pointermove", (event) => {
      const box = this.canvas.getBoundingClientRect();
      const inside = (value) => Math.min(Math.max(value, 0), 1 - 1e-9);
      hovered({
        right: inside((event.clientX - box.left) / box.width),
        down: inside((event.clientY - box.top) / box.height),
      });
    });
    this.canvas.addEventListener("pointerleave", () => hovered(null));
  }

  /**
   * Shows an image of a frame of this size, with masks and boxes over it. The canvas takes the size of the image,
   * or a multiple of it so that labels are sharp; the stylesheet sets the size of the canvas.
   */
  show(image, width, height, masks = [], boxes = []) {
    const screen = this.element.clientWidth * devicePixelRatio || image.width;
    const times = boxes.length === 0 ? 1 : Math.min(Math.max(Math.ceil(screen / image.width), 1), ENLARGED_MOST);
    const [wide, high] = [image.width * times, image.height * times];
    if (this.canvas.width !== wide || this.canvas.height !== high) {
      this.canvas.width = wide;
      this.canvas.height = high;
      this.element.style.setProperty("--aspect", `${width} / ${height}`);
    }
    const context = this.canvas.getContext("2d", { alpha: false });
    context.drawImage(image, 0, 0, wide, high);
    for (const mask of masks) context.drawImage(mask, 0, 0, wide, high);
    drawBoxes(context, boxes, wide / width, (wide / screen) * devicePixelRatio);
    const texts = boxes.map(({ text }) => text).filter(Boolean);
    if (texts.length > 0) this.canvas.setAttribute("aria-label", texts.join(", "));
    else this.canvas.removeAttribute("aria-label");
  }

  /** Shows the known facts about the stream's frames. */
  describe(facts, silent) {
    describe(this.element, facts, silent);
  }

  remove() {
    this.element.remove();
  }

  /** Shows the depth at a place; an empty text means no depth, null hides the text. */
  say(text, place) {
    this.output.hidden = text === null;
    if (text === null) return;
    this.output.textContent = text || "no depth";
    const [right, below] = [place.right > 0.7, place.down > 0.8];
    this.output.style.left = right ? "auto" : `calc(${place.right * 100}% + 14px)`;
    this.output.style.right = right ? `calc(${(1 - place.right) * 100}% + 10px)` : "auto";
    this.output.style.top = below ? "auto" : `calc(${place.down * 100}% + 14px)`;
    this.output.style.bottom = below ? `calc(${(1 - place.down) * 100}% + 10px)` : "auto";
  }
}
