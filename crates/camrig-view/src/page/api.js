// Calls of the rig's HTTP API. Knows no element.

/** Calls the API. Returns the content of the answer; throws an error that says why it is refused. */
export async function call(method, path, body) {
  const request = { method, headers: body ? { "content-type": "application/json" } : {}, body: body && JSON.stringify(body) };
  const answer = await fetch(path, request).catch(() => null);
  if (!answer) throw new Error("the rig does not answer");
  const content = await answer.json().catch(() => ({ error: `the rig answers ${answer.status}` }));
  if (!answer.ok) throw new Error(content.error ?? `the rig answers ${answer.status}`);
  return content;
}

/** Calls with the newest content only: while one is under way, later ones replace each other. */
export class Latest {
  #send;
  #next = null;
  #busy = false;

  constructor(send) {
    this.#send = send;
  }

  get busy() {
    return this.#busy;
  }

  async call(content) {
    this.#next = { content };
    if (this.#busy) return;
    this.#busy = true;
    while (this.#next) {
      const { content } = this.#next;
      this.#next = null;
      await this.#send(content);
    }
    this.#busy = false;
  }
}
