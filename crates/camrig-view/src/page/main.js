// The page: settings, buttons, keys, and the list of tiles.

import { readAddress, writeAddress } from "./address.js";
import { listenToKeys } from "./keys.js";
import { arrange } from "./layout.js";
import { matchingDetails, matchingText } from "./matching.js";
import { Panel } from "./panel.js";
import { labelScale } from "./scale.js";
import { Server } from "./server.js";
import { chooseTheme } from "./theme.js";
import { Tile } from "./tile.js";

const STATUS_MILLIS = 500;

/** The width of the widest phone in pixels, as in the stylesheet. */
const PHONE_WIDTH = 640;

const element = (id) => document.getElementById(id);
const press = (button, pressed) => button.setAttribute("aria-pressed", String(pressed));

/** The streams with a picture that are not shown until they are selected. */
const HIDDEN_FIRST = ["infrared-1", "infrared-2", "confidence", "accel", "gyro"];

/** The sizes of points, relative to the distance of adjacent points. */
const POINT_SIZES = { least: 0.25, most: 8, step: 1.5 };

/** The settings of the page. `large` is the index of a camera, `range` a pair of metres. */
const settings = {
  streams: new Set(["color", "depth"]),
  range: null,
  paused: false,
  large: null,
  cloud: false,
  tint: "color",
  /** The cameras whose poses are known. */
  posed: [],
  guides: true,
  pointSize: 1,
};

/** Whether the streams are those of the user; otherwise new ones are shown as they come. */
let chosen = false;

/** The label of the camera of the address, until it is known. */
let wanted = null;

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
  frames(frames) {
    const range = frames.parts.find((part) => part.range_meters)?.range_meters;
    if (range) labelScale(range);
    tiles[frames.camera]?.show(frames);
  },
});

const panel = new Panel({ save: (place) => tiles[place]?.save(), enlarge: (place) => enlarge(place) });
let status = null;

const LOST = { live: false, silent_millis: null, latency_millis: null, state: "not connected", error: null, rate_hz: null, dropped: null, restarts: null, model: "", serial: "" };

let answered = true;
function askStatus() {
  if (server.open) {
    answered = false;
    server.ask({ ask: "status" });
  }
}
setInterval(() => answered && askStatus(), STATUS_MILLIS);

function showStatus(newest) {
  answered = true;
  status = newest;
  element("topology").textContent = status.topology && `· ${status.topology}`;
  document.title = status.topology ? `${status.topology} · camrig` : "camrig";
  element("matching").textContent = status.matching.map(matchingText).join("\n");
  element("matching").title = status.matching.map(matchingDetails).join("\n");
  element("matching").hidden = status.matching.length === 0;
  showWarnings(status.warnings);
  showProgress(status.progress);
  settings.posed = status.cameras.filter(({ actor, pose, lens }) => actor !== null && pose && lens).map(({ actor, pose, lens }) => ({ name: actor, pose, lens }));
  status.cameras.forEach((camera, place) => {
    if (!tiles[place]) add(place);
    tiles[place].status(camera);
  });
  const all = new Set(tiles.flatMap((tile) => [...tile.streams, ...tile.overlays]));
  for (const stream of all) addButton(stream);
  for (const button of document.querySelectorAll("button[data-stream]")) {
    button.hidden = all.size > 0 && !all.has(button.dataset.stream);
  }
  if (wanted !== null) settings.large = placeOf(wanted);
  if (settings.large !== null) wanted = null;
  if (shape() !== arranged) layout();
  panel.show(status, settings.large);
}

/** Shows the newest warnings of processors. The text is set only when it changes: screen readers read it out. */
function showWarnings(warnings) {
  const text = warnings.map(({ actor, seconds, message }) => `${actor}, after ${seconds.toFixed(0)} s: ${message}`).join("\n");
  if (element("warnings").textContent !== text) element("warnings").textContent = text;
  element("warnings").hidden = text === "";
}

/** Shows what processors say that they are doing, such as a calibration. */
function showProgress(progress) {
  const text = progress.map(({ actor, text }) => `${actor}: ${text}`).join("\n");
  if (element("progress").textContent !== text) element("progress").textContent = text;
  element("progress").hidden = text === "";
}

/** Adds the button of a stream that has none. Most streams are shown from the start. */
function addButton(stream) {
  if (document.querySelector(`button[data-stream="${stream}"]`)) return;
  const button = document.createElement("button");
  button.dataset.stream = stream;
  button.textContent = stream;
  if (!chosen && !HIDDEN_FIRST.includes(stream)) settings.streams.add(stream);
  press(button, settings.streams.has(stream));
  element("streams").append(button);
}

/** Returns the index of the camera with this label, or null. */
function placeOf(label) {
  const place = tiles.findIndex((tile) => tile.label === label);
  return place < 0 ? null : place;
}

/** Everything that determines the layout. */
function shape() {
  const { large, cloud } = settings;
  return JSON.stringify([tiles.map((tile) => [tile.shown, tile.aspect]), heightAbove(), large, cloud, panel.isOpen]);
}

/** Returns the height of everything above the grid. */
function heightAbove() {
  const lines = ["warnings", "progress", "matching"].reduce((sum, id) => sum + element(id).offsetHeight, 0);
  return document.querySelector("header").offsetHeight + lines;
}

/** The shape of the last layout. */
let arranged = null;

function add(place) {
  const tile = new Tile(place, server, settings);
  tiles[place] = tile;
  tile.element.addEventListener("click", () => settings.large === null && enlarge(place));
  tile.element.querySelector(".label").addEventListener("click", (event) => {
    event.stopPropagation();
    enlarge(settings.large === null ? place : null);
  });
  element("grid").append(tile.element);
}

function layout() {
  const single = settings.large !== null;
  const visible = tiles.filter((_, place) => !single || place === settings.large);
  tiles.forEach((tile, place) => (tile.element.hidden = single && place !== settings.large));
  document.body.classList.toggle("single", single);
  element("single").hidden = !single;
  tiles.forEach((tile) => tile.arrange());
  const clouded = single && settings.cloud && visible.some((tile) => tile.hasDepth);
  element("cloud").hidden = !visible.some((tile) => tile.hasDepth);
  const hasPoints = single && visible.some((tile) => tile.hasPoints);
  element("tint").hidden = element("eye").hidden = !hasPoints;
  const panes = Math.max(1, ...visible.map((tile) => tile.shown.length));
  const aspect = visible.length > 0 ? Math.min(...visible.map((tile) => tile.aspect)) : 1;
  document.body.style.setProperty("--above", `${heightAbove()}px`);
  const grid = element("grid");
  const gap = parseFloat(getComputedStyle(grid).columnGap);
  const room = { width: grid.clientWidth, height: innerHeight - heightAbove(), gap, phone: innerWidth <= PHONE_WIDTH };
  const best = arrange(Math.max(1, visible.length), panes, aspect, room);
  grid.style.setProperty("--columns", best.columns);
  const isFixed = best.tile > 0 && !clouded;
  grid.style.setProperty("--tile", isFixed ? `${best.tile}px` : "1fr");
  // A tile with fewer pictures than others has no larger ones: its row would be higher.
  grid.style.setProperty("--pane", isFixed ? `${best.size}px` : "none");
  document.body.classList.toggle("stacked", best.stacked && !clouded);
  document.body.classList.toggle("clouded", clouded);
  tiles.forEach((tile) => tile.ask());
  arranged = shape();
}

/** Shows one camera, or all of them for null. */
function enlarge(place) {
  settings.large = place;
  wanted = null;
  tiles.forEach((tile) => tile.leave());
  layout();
  remember();
  if (status) panel.show(status, place);
}

function toggleStream(stream) {
  if (!settings.streams.delete(stream)) settings.streams.add(stream);
  chosen = true;
  press(document.querySelector(`button[data-stream="${stream}"]`), settings.streams.has(stream));
  layout();
  remember();
}

function toggleCloud() {
  if (settings.large === null) return;
  settings.cloud = !settings.cloud;
  press(element("cloud"), settings.cloud);
  layout();
  remember();
}

/** Writes the settings to the address, as a new entry of the browser's history if they changed. */
function remember() {
  const camera = wanted ?? (settings.large === null ? null : tiles[settings.large].label);
  const hash = writeAddress({
    camera,
    streams: chosen ? settings.streams : null,
    range: settings.range,
    cloud: camera !== null && settings.cloud,
  });
  if (hash !== location.hash) history.pushState(null, "", hash || location.pathname);
}

/** Takes the settings from the address, after loading, back and forward. */
function recall() {
  const { camera, streams, range, cloud } = readAddress(location.hash);
  chosen = streams !== null;
  const known = tiles.flatMap((tile) => [...tile.streams, ...tile.overlays]);
  const first = ["color", "depth", ...known.filter((stream) => !HIDDEN_FIRST.includes(stream))];
  settings.streams = streams ?? new Set(first);
  for (const button of document.querySelectorAll("button[data-stream]")) {
    press(button, settings.streams.has(button.dataset.stream));
  }
  settings.cloud = cloud;
  press(element("cloud"), cloud);
  if (range) [element("near").value, element("far").value] = range;
  applyRange(range);
  settings.large = camera === null ? null : placeOf(camera);
  wanted = settings.large === null ? camera : null;
  tiles.forEach((tile) => tile.leave());
  layout();
}

/** Colors points by the image, by depth, or, where points are of several cameras, by camera. */
function toggleTint() {
  const isMerged = (tiles[settings.large]?.origins.length ?? 0) > 0;
  const next = { color: "depth", depth: isMerged ? "camera" : "color", camera: "color" };
  settings.tint = next[settings.tint];
  press(element("tint"), settings.tint !== "color");
  element("tint").textContent = settings.tint === "camera" ? "by camera" : "by depth";
  tiles.forEach((tile) => tile.arrange());
}

function togglePause() {
  settings.paused = !settings.paused;
  press(element("pause"), settings.paused);
  element("pause").textContent = settings.paused ? "resume" : "pause";
  element("paused").hidden = !settings.paused;
  document.body.classList.toggle("paused", settings.paused);
  // The word may need another line of the header.
  if (shape() !== arranged) layout();
  tiles.forEach((tile) => tile.resume());
}

/** Applies a range of depth colors; null lets each camera find its own. */
function applyRange(range) {
  settings.range = range;
  refuse(false);
  press(element("auto"), range === null);
  document.querySelector(".range").classList.toggle("auto", range === null);
  tiles.forEach((tile) => tile.arrange());
  tiles.forEach((tile) => tile.ask());
}

/** Applies the entered range, unless it is invalid. */
function writtenRange() {
  const [near, far] = [element("near").valueAsNumber, element("far").valueAsNumber];
  if (near >= 0 && near < far) applyRange([near, far]);
  else refuse(true);
}

function toggleAuto() {
  if (settings.range === null) writtenRange();
  else applyRange(null);
  remember();
}

/** Shows that the entered range is refused: the previous range remains. */
function refuse(refused) {
  element("refused").hidden = !refused;
  for (const id of ["near", "far"]) element(id).setAttribute("aria-invalid", String(refused));
}

function notice(text) {
  element("notice").hidden = text === null;
  element("notice").textContent = text ?? "";
}

function step(by) {
  if (settings.large !== null) enlarge((settings.large + by + tiles.length) % tiles.length);
}

function togglePanel() {
  panel.open(!panel.isOpen);
  press(element("controls"), panel.isOpen);
  if (status) panel.show(status, settings.large);
  layout();
}

function toggleGuides() {
  settings.guides = !settings.guides;
  press(element("guides"), settings.guides);
  tiles.forEach((tile) => tile.redraw());
}

/** Makes points larger, or smaller. */
function resize(larger) {
  const { least, most, step } = POINT_SIZES;
  const size = larger ? settings.pointSize * step : settings.pointSize / step;
  settings.pointSize = Math.min(Math.max(size, least), most);
  tiles.forEach((tile) => tile.redraw());
}

function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else document.documentElement.requestFullscreen().catch(() => notice("this browser cannot show pages in full screen"));
}

const home = () => tiles[settings.large]?.home();
const save = () => tiles[settings.large]?.save();
const toggleTheme = chooseTheme(element("theme"));

const KEYS = {
  Escape: ["all cameras", () => enlarge(null)],
  ArrowLeft: ["the previous camera", () => step(-1)],
  ArrowRight: ["the next camera", () => step(1)],
  " ": ["pause the pictures", togglePause],
  c: ["color", () => toggleStream("color")],
  d: ["depth", () => toggleStream("depth")],
  i: ["infrared", () => toggleStream("infrared-1")],
  a: ["automatic range of depth", toggleAuto],
  s: ["save color and depth as PNG", save],
  o: ["options, recording, restart", togglePanel],
  p: ["point cloud", toggleCloud],
  t: ["color the points by depth, or by camera", toggleTint],
  g: ["axes and a grid", toggleGuides],
  "+": ["larger points", () => resize(true)],
  "-": ["smaller points", () => resize(false)],
  r: ["initial view of the points", home],
  f: ["full screen", toggleFull],
  l: ["light or dark", toggleTheme],
};

const showKeys = listenToKeys(KEYS, (number) => {
  if (tiles[number - 1]) enlarge(number - 1);
  return Boolean(tiles[number - 1]);
});
document.addEventListener("visibilitychange", () => document.hidden || tiles.forEach((tile) => tile.ask()));
addEventListener("resize", layout);
element("streams").addEventListener("click", ({ target }) => target.dataset.stream && toggleStream(target.dataset.stream));
element("back").addEventListener("click", () => enlarge(null));
element("cloud").addEventListener("click", toggleCloud);
element("tint").addEventListener("click", toggleTint);
element("save").addEventListener("click", save);
element("guides").addEventListener("click", toggleGuides);
element("larger").addEventListener("click", () => resize(true));
element("smaller").addEventListener("click", () => resize(false));
element("home").addEventListener("click", home);
element("controls").addEventListener("click", togglePanel);
element("full").addEventListener("click", toggleFull);
element("help").addEventListener("click", showKeys);
document.addEventListener("fullscreenchange", () => press(element("full"), document.fullscreenElement !== null));
element("pause").addEventListener("click", togglePause);
element("auto").addEventListener("click", toggleAuto);
for (const id of ["near", "far"]) {
  element(id).addEventListener("input", writtenRange);
  element(id).addEventListener("change", remember);
}
// The cursor may leave without an event of the picture: with the window, or to another one.
const left = () => tiles.forEach((tile) => tile.leave());
document.documentElement.addEventListener("pointerleave", left);
addEventListener("blur", left);
addEventListener("popstate", recall);
// After a click with the mouse, the space bar must not press the button again.
document.addEventListener("click", ({ detail, target }) => detail > 0 && target.tagName === "BUTTON" && target.blur(), true);
recall();
