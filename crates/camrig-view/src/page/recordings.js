// The recordings that run, and those that were made since the page was opened.

/** Returns the name of a new recording: of one camera, or of all. */
export function fileName(label = "rig") {
  const date = new Date();
  const two = (number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}${two(date.getMonth() + 1)}${two(date.getDate())}`;
  const time = `${two(date.getHours())}${two(date.getMinutes())}${two(date.getSeconds())}`;
  return `${label.replace(/[^\w-]+/g, "-")}-${day}-${time}.mcap`;
}

export class RecordingList {
  #element;
  #stop;
  #rows = new Map();

  /** `stop(actor)` ends a recording. */
  constructor(element, stop) {
    this.#element = element;
    this.#stop = stop;
  }

  show(recordings) {
    for (const recording of recordings) {
      // A recorder's name may be used again, so each recording has a number.
      if (!this.#rows.has(recording.number)) this.#rows.set(recording.number, this.#row(recording));
      const row = this.#rows.get(recording.number);
      const set = (name, text) => (row.querySelector(name).textContent = text);
      row.dataset.ended = recording.ended;
      set(".what", `${recording.ended ? "recorded" : "recording"} ${recording.inputs.join(", ")}`);
      set(".numbers", numbers(recording));
      set(".where", recording.file);
      set(".error", recording.error);
      row.querySelector(".stop").hidden = recording.ended;
    }
    for (const [number, row] of this.#rows) {
      if (recordings.some((recording) => recording.number === number)) continue;
      row.remove();
      this.#rows.delete(number);
    }
  }

  #row({ actor }) {
    const row = document.querySelector("#recording").content.firstElementChild.cloneNode(true);
    row.dataset.recording = actor;
    row.querySelector(".stop").addEventListener("click", () => this.#stop(actor));
    row.querySelector(".stop").setAttribute("aria-label", `stop ${actor}`);
    this.#element.prepend(row);
    return row;
  }
}

function numbers({ seconds, bytes, delivered, dropped }) {
  const megabytes = bytes === null ? "no file yet" : `${(bytes / 1e6).toFixed(1)} MB`;
  return [`${(seconds ?? 0).toFixed(1)} s`, megabytes, `${delivered} framesets`, `${dropped} dropped`].join(" · ");
}
