// One picture: a canvas, a caption, and the depth under the cursor.

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

  /** Shows an image. The canvas takes the size of the image; the stylesheet sets the size of the canvas. */
  show(image, width, height) {
    if (this.canvas.width !== image.width || this.canvas.height !== image.height) {
      this.canvas.width = image.width;
      this.canvas.height = image.height;
      this.element.style.setProperty("--aspect", `${width} / ${height}`);
    }
    this.canvas.getContext("2d", { alpha: false }).drawImage(image, 0, 0);
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
