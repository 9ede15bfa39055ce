// The connection to the server: one WebSocket, with requests and answers. Does not access pictures or elements of the page.

const RETRY_MILLIS = { first: 500, most: 5000 };

export class Server {
  #socket = null;
  #retry = RETRY_MILLIS.first;
  #listener;

  /** `listener` has `opened`, `closed`, `status(status)` and `frames(frames)`. */
  constructor(listener) {
    this.#listener = listener;
    this.#connect();
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  ask(question) {
    if (this.open) this.#socket.send(JSON.stringify(question));
  }

  #connect() {
    const url = new URL("socket", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#retry = RETRY_MILLIS.first;
      this.#listener.opened();
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") this.#listener.status(JSON.parse(data));
      else this.#listener.frames(unpack(data));
    };
    socket.onclose = () => {
      this.#listener.closed();
      setTimeout(() => this.#connect(), this.#retry);
      this.#retry = Math.min(this.#retry * 2, RETRY_MILLIS.most);
    };
    this.#socket = socket;
  }
}

/** The message of one frameset: a text that lists parts, and the parts. */
function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const frames = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let at = 4 + length;
  for (const part of frames.parts) {
    part.data = buffer.slice(at, at + part.bytes);
    at += part.bytes;
  }
  frames.part = (kind, stream) => frames.parts.find((part) => part.kind === kind && part.stream === stream);
  return frames;
}
