// The page: settings, buttons, keys, and the list of tiles.

import { arrange } from "./layout.js";
import { Server } from "./server.js";
import { Tile } from "./tile.js";

const STATUS_MILLIS = 500;

const element = (id) => document.getElementById(id);
const press = (button, pressed) => button.setAttribute("aria-pressed", String(pressed));

/** The settings of the page. `large` is the index of a camera, `range` a pair of metres. */
const settings = {
  streams: new Set(["color", "depth"]),
  range: null,
  paused: false,
  large: null,
  cloud: false,
  tint: "color",
};
const tiles = [];

const server = new Server({
  opened() {
    notice(null);
    tiles.forEach((tile) => tile.restart());
    askStatus();
  },
  closed() {
    notice("the rig does not answer: it ended, or this page cannot reach it");
    for (const tile of tiles) tile.status({ ...LOST, label: tile.label, streams: tile.described });
  },
  status: showStatus,
  frames: (frames) => tiles[frames.camera]?.show(frames),
});

const LOST = { live: false, silent_millis: Infinity, latency_millis: 0, state: "not connected", error: null, rate_hz: null, dropped: null, restarts: null, model: "", serial: "" };

let answered = true;
function askStatus() {
  if (server.open) {
    answered = false;
    server.ask({ ask: "status" });
  }
}
setInterval(() => answered && askStatus(), STATUS_MILLIS);

function showStatus(status) {
  answered = true;
  element("topology").textContent = status.topology && `· ${status.topology}`;
  document.title = status.topology ? `${status.topology} · camrig` : "camrig";
  const matching = status.matching.map(matchingText).join(" — ");
  const lengthened = element("matching").hidden === Boolean(matching);
  element("matching").textContent = matching;
  element("matching").hidden = !matching;
  const before = shape();
  status.cameras.forEach((camera, place) => {
    if (!tiles[place]) add(place);
    tiles[place].status(camera);
  });
  const all = new Set(tiles.flatMap((tile) => [...tile.streams, ...tile.overlays]));
  for (const stream of all) addButton(stream);
  for (const button of document.querySelectorAll("[data-stream]")) {
    if (button.tagName === "BUTTON") button.hidden = all.size > 0 && !all.has(button.dataset.stream);
  }
  if (lengthened || shape() !== before) layout();
}

/** Adds the button of a stream that has none. Overlays are shown from the start. */
function addButton(stream) {
  if (document.querySelector(`button[data-stream="${stream}"]`)) return;
  const button = document.createElement("button");
  button.dataset.stream = stream;
  button.textContent = stream;
  if (tiles.some((tile) => tile.overlays.includes(stream))) settings.streams.add(stream);
  press(button, settings.streams.has(stream));
  element("streams").append(button);
}

/** Describes the matching of one processor: rate, spread, and each camera's share and clock. */
function matchingText({ processor, rate_hz: rate, spread_us: spread, cameras }) {
  const millis = (micros) => (micros / 1000).toFixed(1);
  const each = cameras.map(({ name, matched, unmatched, clock }) => {
    const all = Object.values(unmatched).reduce((sum, count) => sum + count, matched);
    const share = all === 0 ? "–" : `${((100 * matched) / all).toFixed(1)} %`;
    const reasons = Object.entries(unmatched).map(([reason, count]) => `${count} ${reason}`);
    const ticks = clock && `offset ${clock.offset_ms.toFixed(2)} ms, drift ${clock.drift_ppm.toFixed(1)} ppm`;
    return `${name} ${[share, ...reasons, ticks].filter(Boolean).join(", ")}`;
  });
  const apart = `spread ${millis(spread.p50)} / ${millis(spread.p99)} ms`;
  return [`${processor}: ${rate.toFixed(1)} matches/s`, apart, ...each].join(" · ");
}

/** Everything that determines the layout. */
function shape() {
  return JSON.stringify(tiles.map((tile) => [tile.shown, tile.aspect]));
}

function add(place) {
  const tile = new Tile(place, server, settings);
  tiles[place] = tile;
  tile.element.addEventListener("click", () => settings.large === null && enlarge(place));
  tile.element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target === tile.element && settings.large === null) enlarge(place);
  });
  element("grid").append(tile.element);
}

function layout() {
  const single = settings.large !== null;
  const visible = tiles.filter((_, place) => !single || place === settings.large);
  tiles.forEach((tile, place) => (tile.element.hidden = single && place !== settings.large));
  document.body.classList.toggle("single", single);
  element("single").hidden = !single;
  element("tint").hidden = !(single && settings.cloud);
  const clouded = single && settings.cloud;
  const panes = Math.max(1, ...visible.map((tile) => tile.shown.length));
  const aspect = Math.max(1, ...visible.map((tile) => tile.aspect));
  const grid = element("grid");
  const height = innerHeight - document.querySelector("header").offsetHeight - element("matching").offsetHeight;
  const gap = parseFloat(getComputedStyle(grid).columnGap);
  const { columns, stacked, size } = arrange(Math.max(1, visible.length), panes, aspect, grid.clientWidth, height, gap);
  grid.style.setProperty("--columns", columns);
  // Narrower than the window when its height limits the pictures.
  const wide = size * (stacked ? 1 : panes) * columns + gap * (columns + 1) + 6 * columns;
  grid.style.paddingInline = size && !clouded ? `${Math.max(gap, (grid.clientWidth - wide) / 2)}px` : "";
  document.body.classList.toggle("stacked", stacked && !clouded);
  document.body.classList.toggle("clouded", clouded);
  tiles.forEach((tile) => tile.arrange());
  tiles.forEach((tile) => tile.ask());
}

function enlarge(place) {
  settings.large = place;
  layout();
}

function toggleStream(stream) {
  if (!settings.streams.delete(stream)) settings.streams.add(stream);
  press(document.querySelector(`button[data-stream="${stream}"]`), settings.streams.has(stream));
  layout();
}

function toggleCloud() {
  if (settings.large === null) return;
  settings.cloud = !settings.cloud;
  press(element("cloud"), settings.cloud);
  layout();
}

function toggleTint() {
  settings.tint = settings.tint === "color" ? "depth" : "color";
  press(element("tint"), settings.tint === "depth");
  tiles.forEach((tile) => tile.arrange());
}

function togglePause() {
  settings.paused = !settings.paused;
  press(element("pause"), settings.paused);
  tiles.forEach((tile) => tile.resume());
}

function setRange(automatic) {
  const [near, far] = [element("near").valueAsNumber, element("far").valueAsNumber];
  settings.range = automatic || !(near >= 0 && near < far) ? null : [near, far];
  press(element("auto"), settings.range === null);
  document.querySelector(".range").classList.toggle("auto", settings.range === null);
  tiles.forEach((tile) => tile.ask());
}

function notice(text) {
  element("notice").hidden = text === null;
  element("notice").textContent = text ?? "";
}

function step(by) {
  if (settings.large !== null) enlarge((settings.large + by + tiles.length) % tiles.length);
}

const KEYS = {
  Escape: () => enlarge(null),
  " ": togglePause,
  c: () => toggleStream("color"),
  d: () => toggleStream("depth"),
  i: () => toggleStream("infrared-1"),
  a: () => setRange(settings.range !== null),
  p: toggleCloud,
  t: toggleTint,
  s: () => tiles[settings.large]?.save(),
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "INPUT") return;
  const digit = event.key >= "1" && event.key <= "9" ? Number(event.key) - 1 : null;
  if (digit !== null && tiles[digit]) return enlarge(digit);
  // A focused button handles the space bar itself.
  if (!KEYS[event.key] || (event.key === " " && event.target.tagName === "BUTTON")) return;
  event.preventDefault();
  KEYS[event.key]();
});
document.addEventListener("visibilitychange", () => document.hidden || tiles.forEach((tile) => tile.ask()));
addEventListener("resize", layout);
element("streams").addEventListener("click", ({ target }) => target.dataset.stream && toggleStream(target.dataset.stream));
element("back").addEventListener("click", () => enlarge(null));
element("cloud").addEventListener("click", toggleCloud);
element("tint").addEventListener("click", toggleTint);
element("save").addEventListener("click", () => tiles[settings.large]?.save());
element("pause").addEventListener("click", togglePause);
element("auto").addEventListener("click", () => setRange(settings.range !== null));
for (const id of ["near", "far"]) element(id).addEventListener("input", () => setRange(false));
// After a click with the mouse, the space bar must not press the button again.
document.querySelector("header").addEventListener("click", ({ detail, target }) => detail > 0 && target.tagName === "BUTTON" && target.blur());
setRange(true);
