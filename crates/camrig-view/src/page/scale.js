// The labels of the scale of depth: one for all pictures.

/** Writes the ends and the middle of a range in metres; null for none. */
export function labelScale(range) {
  const scale = document.querySelector("#scale");
  const [near, far] = range ?? [null, null];
  const text = (meters) => (meters === null ? "" : `${meters.toFixed(far - near < 1 ? 2 : 1)} m`);
  const labels = { near: text(near), middle: text(range && (near + far) / 2), far: text(far) };
  for (const [name, label] of Object.entries(labels)) {
    const element = scale.querySelector(`.${name}`);
    if (element.textContent !== label) element.textContent = label;
  }
  scale.setAttribute("aria-label", range ? `depth colors: red is ${labels.near}, blue is ${labels.far}` : "depth colors");
}
