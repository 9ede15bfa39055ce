// The viewpoint of a picture of points: it turns around a pivot, comes nearer, and moves aside, by mouse or touch.

const HOME = { yaw: 0.35, pitch: 0.2, zoom: 1, right: 0, down: 0 };

export class Orbit {
  #canvas;
  #changed;
  #enabled;
  #pointers = new Map();

  /** Calls `changed()` after each movement; ignores the mouse while `enabled()` is false. */
  constructor(canvas, changed, enabled = () => true) {
    this.#canvas = canvas;
    this.#changed = changed;
    this.#enabled = enabled;
    this.eye = { ...HOME };
    this.#listen();
  }

  /** Returns to the initial view. */
  home() {
    this.#look(HOME);
  }

  /** Returns a rotation about the vertical axis, then about the horizontal one, column by column. */
  get rotation() {
    const { yaw, pitch } = this.eye;
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    return [cy, sy * sp, -sy * cp, 0, cp, sp, sy, -cy * sp, cy * cp];
  }

  #listen() {
    const canvas = this.#canvas;
    canvas.addEventListener("pointerdown", (event) => {
      if (!this.#enabled()) return;
      canvas.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, event);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.#pointers.delete(event.pointerId));
    }
    canvas.addEventListener("pointermove", (event) => this.#moved(event));
    canvas.addEventListener("wheel", (event) => {
      if (!this.#enabled()) return;
      event.preventDefault();
      this.#look({ zoom: this.eye.zoom * Math.exp(event.deltaY / 700) });
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.#enabled() && this.home());
    canvas.addEventListener("contextmenu", (event) => this.#enabled() && event.preventDefault());
  }

  #moved(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const [x, y] = [event.clientX - before.clientX, event.clientY - before.clientY].map((by) => by / this.#canvas.clientHeight);
    const { yaw, pitch, zoom, right, down } = this.eye;
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, event);
    if (other) {
      // Two fingers: their distance zooms, their middle moves aside.
      const apart = (one) => Math.max(Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY), 1);
      const nearer = (zoom * apart(before)) / apart(event);
      this.#look({ zoom: nearer, right: right + (x * zoom) / 2, down: down + (y * zoom) / 2 });
    } else if (event.shiftKey || event.buttons === 2) {
      this.#look({ right: right + x * zoom, down: down + y * zoom });
    } else {
      this.#look({ yaw: yaw + 4 * x, pitch: Math.min(Math.max(pitch + 4 * y, -1.5), 1.5) });
    }
  }

  #look(eye) {
    Object.assign(this.eye, eye);
    this.eye.zoom = Math.min(Math.max(this.eye.zoom, 0.05), 10);
    this.#changed();
  }
}
