// No clients, clients that request nothing, and clients that stop reading, for a minute: node --test
// crates/camrig-view/tests/browser/frozen.test.mjs
//
// One of the clients that stop reading is a frozen page, which requests nothing more. The other one continues requesting, which
// no page does.

import assert from "node:assert/strict";
import { test } from "node:test";

import { WebSocket } from "ws";

import { Rig, pause, until } from "./rig.mjs";

const FROZEN_MILLIS = 60_000;
const GROWTH_BYTES_MOST = 5e6;

const WANTED = { ask: "frames", streams: ["color", "depth"], width: 848, depth: true };

/** A client that shows every frameset of both cameras until `stop` is called. */
class Client {
  constructor(url, stubborn) {
    this.socket = new WebSocket(new URL("socket", url.replace("http", "ws")));
    this.shown = 0;
    this.stubborn = stubborn;
    // A request for a camera that does not exist is ignored.
    this.socket.on("open", () => [0, 1].forEach((camera) => this.ask(camera, 0)));
    this.socket.on("message", (data) => {
      const { camera, count } = JSON.parse(data.subarray(4, 4 + data.readUInt32LE(0)));
      this.shown += 1;
      this.ask(camera, count);
    });
  }

  ask(camera, after) {
    this.socket.send(JSON.stringify({ ...WANTED, camera, after }));
  }

  freeze() {
    this.socket.pause();
    if (this.stubborn) this.asking = setInterval(() => [0, 1].forEach((camera) => this.ask(camera, 0)), 100);
  }

  end() {
    clearInterval(this.asking);
    this.socket.terminate();
  }
}

test("a client that is frozen for a minute costs nothing", { timeout: 3 * FROZEN_MILLIS }, async (t) => {
  const camera = `driver = "synthetic"\noptions = { depth = "848x480@6", color = "848x480@6" }`;
  // A rate and queues that no hiccup of a busy machine disturbs.
  const reader = `inputs = ["left", "right"]\nqueue = 16`;
  const rig = await Rig.start(`
[camera.left]
${camera}
[camera.right]
${camera}
[processor.view]
kind = "view"
${reader}
[processor.stats]
kind = "stats"
options = { every_seconds = 0 }
${reader}
`);
  t.after(() => rig.remove());
  const [url] = rig.found;
  const status = async () => (await fetch(new URL("status", url))).json();
  const memory = (status) => status.processes.reduce((sum, process) => sum + process.private_bytes, 0);
  const missed = (status) => [
    ...status.links.map(({ from, to, dropped }) => ({ from, to, dropped })),
    ...status.actors.map(({ name, lost, restarts }) => ({ name, lost, restarts })),
  ];

  const clients = [new Client(url, false), new Client(url, true)];
  t.after(() => clients.forEach((client) => client.end()));
  await until("every client has shown fifty framesets", () => clients.every((client) => client.shown >= 50));
  const before = await status();
  clients.forEach((client) => client.freeze());
  await pause(FROZEN_MILLIS);
  const after = await status();

  const growth = memory(after) - memory(before);
  t.diagnostic(`private memory grew by ${growth} bytes`);
  assert.ok(growth < GROWTH_BYTES_MOST, `${growth} bytes`);
  assert.deepEqual(missed(after), missed(before));
  const made = after.actors[0].produced - before.actors[0].produced;
  assert.ok(made > 0.9 * 6 * (FROZEN_MILLIS / 1000), `${made} framesets of a camera meanwhile`);
});

test("without a client nothing is kept to be encoded", { timeout: FROZEN_MILLIS }, async (t) => {
  // Slow: between two framesets no slot is in use but one that is kept.
  const rig = await Rig.start(`
placement = "multi-process"
[camera.left]
driver = "synthetic"
options = { depth = "848x480@6", color = "848x480@6" }
[processor.view]
kind = "view"
inputs = ["left"]
`);
  t.after(() => rig.remove());
  const [url] = rig.found;
  const status = async () => (await fetch(new URL("status", url))).json();
  const nothingKept = async () => {
    const { actors, links } = await status();
    return links[0].delivered > 2 && actors[0].slots_in_use === 0;
  };

  await until("a moment in which no slot is in use", nothingKept);
  const client = new Client(url, false);
  t.after(() => client.end());
  await until("the client has shown two framesets", () => client.shown >= 2);
  assert.ok((await status()).actors[0].slots_in_use > 0, "the newest frameset is kept for the client");
  client.end();
  await until("a moment in which no slot is in use any more", nothingKept);
});

test("clients that ask for nothing keep no page out", { timeout: FROZEN_MILLIS }, async (t) => {
  const rig = await Rig.start(`
[camera.left]
driver = "synthetic"
options = { depth = "424x240@6", color = "off" }
[processor.view]
kind = "view"
inputs = ["left"]
`);
  t.after(() => rig.remove());
  const address = new URL("socket", rig.found[0].replace("http", "ws"));
  // As many as pages may be open.
  const idle = Array.from({ length: 16 }, () => new WebSocket(address));
  t.after(() => idle.forEach((socket) => socket.terminate()));
  await until("all of them are open", () => idle.every((socket) => socket.readyState === WebSocket.OPEN));
  const client = await until("a page gets in", async () => {
    const socket = new WebSocket(address);
    const opened = await new Promise((resolve) => socket.on("open", () => resolve(true)).on("error", () => resolve(false)));
    return opened && socket;
  });
  t.after(() => client.terminate());
  client.send(JSON.stringify({ ask: "status" }));
  const status = await new Promise((resolve) => client.on("message", resolve));
  assert.equal(JSON.parse(status).cameras[0].label, "left");
  await until("one of the idle ones is closed", () => idle.filter((socket) => socket.readyState !== WebSocket.OPEN).length === 1);
});
