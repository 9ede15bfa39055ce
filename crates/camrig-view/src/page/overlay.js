// Masks, and boxes with labels, for drawing over the color image. Does not access elements of the page.

/** Red, green, blue and the opacity where a mask applies. */
const MASK = [255, 64, 160, 0.45];

const BOX = "#ffd23f";
const BOX_TEXT = "#14181d";

/** Sizes of a line and of a label, in pixels of the screen. */
const LINE = 2;
const LABEL = 12;

/** Maximum number of boxes drawn of one message, and of characters of a label. */
const BOXES_MOST = 256;
const CHARACTERS_MOST = 64;

/** The class that most data sets use for pixels to be ignored: it has the color of a mask. */
const VOID = 255;

/** Degrees of hue between a class and the next one: the golden angle, so that neighbours differ most. */
const HUE_STEP = 137.508;

/** Returns red, green and blue of each class. Class 0 is the background. */
const PALETTE = Array.from({ length: 256 }, (_, number) => {
  if (number === 0) return [0, 0, 0];
  if (number === VOID) return MASK.slice(0, 3);
  const hue = ((number - 1) * HUE_STEP) % 360;
  // The lightness alternates too: some classes have nearly the same hue.
  const lightness = 0.62 - 0.1 * (number % 3);
  const chroma = (1 - Math.abs(2 * lightness - 1)) * 0.85;
  return [0, 8, 4].map((offset) => {
    const place = (offset + hue / 30) % 12;
    return Math.round(255 * (lightness - (chroma / 2) * Math.max(-1, Math.min(place - 3, 9 - place, 1))));
  });
});

/** Returns an image of the numbers of classes in colors: translucent over a color image, otherwise opaque. */
export function classColors(image, over) {
  return recolored(image, (number) => [...PALETTE[number], over ? (number === 0 ? 0 : 255 * MASK[3]) : 255]);
}

/** Returns a mask, decoded from a gray image, as a translucent canvas. */
export function translucent(image) {
  const [red, green, blue, opacity] = MASK;
  return recolored(image, (value) => [red, green, blue, value * opacity]);
}

/** Returns a canvas in which each value of a gray image has the color that `colorOf` returns. */
function recolored(image, colorOf) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, image.width, image.height);
  const colors = Array.from({ length: 256 }, (_, value) => colorOf(value));
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data.set(colors[pixels.data[at]], at);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** Returns the boxes of a message: an array of objects with `box`, and perhaps `label` and `score`. Skips everything else. */
export function boxesOf(data) {
  let found;
  try {
    found = JSON.parse(new TextDecoder().decode(data));
  } catch {
    return [];
  }
  if (!Array.isArray(found)) return [];
  const valid = found.filter((one) => Array.isArray(one?.box) && one.box.length === 4 && one.box.every(Number.isFinite));
  return valid.slice(0, BOXES_MOST).map(({ box, label, score }) => {
    const texts = [typeof label === "string" ? label : "", Number.isFinite(score) ? score.toFixed(2) : ""];
    return { box, text: texts.filter(Boolean).join(" ").slice(0, CHARACTERS_MOST) };
  });
}

/** Draws boxes, given in pixels of the frame. `scale` has canvas pixels per frame pixel, `dot` per screen pixel. */
export function drawBoxes(context, boxes, scale, dot) {
  context.font = `600 ${LABEL * dot}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  context.strokeStyle = BOX;
  context.lineWidth = LINE * dot;
  const high = LABEL * 1.4 * dot;
  for (const { box, text } of boxes) {
    const [x, y, width, height] = box.map((value) => value * scale);
    context.strokeRect(x, y, width, height);
    if (!text) continue;
    const wide = context.measureText(text).width + 0.7 * LABEL * dot;
    // Above the box, or inside at the upper edge, and never cut at the right.
    const left = Math.max(0, Math.min(x, context.canvas.width - wide));
    const top = y >= high ? y - high : y;
    context.fillStyle = BOX;
    context.fillRect(left, top, wide, high);
    context.fillStyle = BOX_TEXT;
    context.fillText(text, left + 0.35 * LABEL * dot, top + high / 2);
  }
}
