// The panel beside the pictures: options of a camera, its state, and recordings.

import { call } from "./api.js";
import { Option } from "./option.js";
import { RecordingList, fileName } from "./recordings.js";

/** Time between two reads of a camera's options: a device may change them by itself. */
const READ_MILLIS = 2000;

/** Framesets that may wait for the disk at each input of a recorder. */
const QUEUE = 8;

/** The text of the panel if the topology permits no control. */
const NO_CONTROL = "This page is read-only. To change the rig from here, give `view` the options `control = true` and a `token`.";

export class Panel {
  #element = document.querySelector("#panel");
  #camera = null;
  #status = null;
  #options = new Map();
  #recordings;
  #reading = false;

  /** `save(camera)` saves a camera's pictures; `enlarge(place)` shows one camera. */
  constructor({ save, enlarge }) {
    this.#recordings = new RecordingList(this.#part(".recordings"), (name) => this.#try(() => call("POST", "api/remove", { actors: [name] })));
    const listen = (selector, act) => this.#part(selector).addEventListener("click", () => this.#try(act));
    listen(".restart", () => call("POST", "api/restart", { actors: [this.#actor.actor] }));
    listen(".halt", () => call("POST", this.#isPaused ? "api/resume" : "api/pause", { cameras: [this.#actor.actor] }));
    listen(".snapshot", async () => save(this.#camera));
    listen(".record", () => this.#record());
    this.#part(".cameras").addEventListener("click", ({ target }) => target.dataset.place && enlarge(Number(target.dataset.place)));
    setInterval(() => this.#read(), READ_MILLIS);
  }

  get isOpen() {
    return !this.#element.hidden;
  }

  /** Opens or closes the panel. */
  open(open) {
    this.#element.hidden = !open;
    this.say(null);
    this.#read();
  }

  /** Shows the status of the rig for the camera with this index, or for all cameras for null. */
  show(status, camera) {
    this.#status = status;
    if (camera !== this.#camera) {
      this.#camera = camera;
      this.#options.clear();
      this.#part(".options").replaceChildren();
      this.say(null);
      this.#part(".file").value = "";
      this.#read();
    }
    if (!this.isOpen) return;
    const actor = this.#actor;
    const mayControl = status.control;
    this.#part(".refused").hidden = mayControl;
    this.#part(".refused").textContent = NO_CONTROL;
    this.#part("h2").textContent = actor ? actor.label : "All cameras";
    for (const name of [".restart", ".halt"]) this.#part(name).hidden = !actor?.actor || !mayControl;
    this.#part(".snapshot").hidden = !actor;
    this.#part(".halt").textContent = this.#isPaused ? "resume camera" : "pause camera";
    this.#part(".recorder").hidden = !mayControl;
    this.#part(".record").textContent = actor ? `record ${actor.label}` : "record all cameras";
    if (!this.#part(".file").value) this.#part(".file").value = fileName(actor?.label);
    this.#listCameras();
    this.#recordings.show(status.recordings);
  }

  /** Shows why something was refused; null hides the text. */
  say(text) {
    const line = this.#part(".said");
    line.hidden = text === null;
    line.textContent = text ?? "";
  }

  #part(selector) {
    return this.#element.querySelector(selector);
  }

  /** The status of the camera shown, if it is one. */
  get #actor() {
    return this.#camera === null ? null : this.#status?.cameras[this.#camera];
  }

  get #isPaused() {
    return this.#actor?.state === "paused";
  }

  #listCameras() {
    const list = this.#part(".cameras");
    list.hidden = this.#camera !== null;
    const labels = this.#status.cameras.map(({ label }) => label);
    if (list.childElementCount === labels.length) return;
    list.replaceChildren(...labels.map((label, place) => {
      const button = Object.assign(document.createElement("button"), { textContent: `${label} …` });
      button.dataset.place = place;
      return button;
    }));
  }

  async #try(act) {
    this.say(null);
    try {
      await act();
      await this.#read();
    } catch (error) {
      this.say(error.message);
    }
  }

  async #record() {
    const file = this.#part(".file").value.trim();
    const inputs = this.#actor ? [this.#actor.input] : [...new Set(this.#status.cameras.map(({ input }) => input))];
    const name = `record-${file.replace(/\.mcap$/, "").replace(/.*\//, "").replace(/[^\w-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "")}`.slice(0, 64);
    await call("POST", "api/add", { name, kind: "record", inputs, process: name, settings: { file, queue: QUEUE } });
    this.#part(".file").value = fileName(this.#actor?.label);
  }

  /** Reads the options of the camera shown. */
  async #read() {
    const actor = this.#actor?.actor;
    if (!this.isOpen || !actor || !this.#status.control || this.#reading || document.hidden) return;
    this.#reading = true;
    const note = this.#part(".unread");
    try {
      const { options } = await call("GET", `api/options?camera=${encodeURIComponent(actor)}`);
      if (actor === this.#actor?.actor) this.#showOptions(options);
      note.textContent = options.length === 0 ? "This camera has no options that can be read while it runs." : "";
    } catch (error) {
      note.textContent = error.message;
    }
    this.#reading = false;
  }

  #showOptions(options) {
    for (const option of options) {
      const shown = this.#options.get(option.name);
      if (shown) {
        shown.show(option);
        continue;
      }
      const added = new Option(option, (option, value) => this.#set(option, value));
      this.#options.set(option.name, added);
      this.#part(".options").append(added.element);
    }
    for (const [name, { element }] of this.#options) {
      if (options.some((option) => option.name === name)) continue;
      element.remove();
      this.#options.delete(name);
    }
  }

  /** Settles when the values that were set so far are: the rig carries out one change at a time, and refuses others. */
  #setBefore = Promise.resolve();

  async #set(option, value) {
    const set = { actor: this.#actor.actor, settings: { [option.name]: value }, live: option.live };
    this.#setBefore = this.#setBefore.then(() => this.#try(() => call("POST", "api/set", set)));
    await this.#setBefore;
    // A refused value is replaced by the one that the device has.
    await this.#read();
  }
}
