// Connects to the processor `foxglove` with the client of Foxglove and Lichtblick: npm's @foxglove/ws-protocol, and decodes
// what it receives with the parsers that they have.
//
//     live.mjs MODULES CAMRIG TOPOLOGY

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const WAIT = 60_000;
const FRAMES = 10;

const [modules, camrig, topology] = process.argv.slice(2);
const load = createRequire(`${modules}/`);
const { FoxgloveClient } = load("@foxglove/ws-protocol");
const { parse } = load("@foxglove/rosmsg");
const { MessageReader } = load("@foxglove/rosmsg2-serialization");
const protobuf = load("protobufjs");
const descriptor = load("protobufjs/ext/descriptor");
const { WebSocket } = load("ws");

/** The function that decodes the messages of a channel by the schema that it advertises. */
function decoder({ encoding, schema, schemaName, schemaEncoding }) {
  if (encoding === "json") return (data) => JSON.parse(new TextDecoder().decode(data));
  if (encoding === "cdr") {
    assert.equal(schemaEncoding, "ros2msg");
    const reader = new MessageReader(parse(schema, { ros2: true }));
    return (data) => reader.readMessage(data);
  }
  assert.deepEqual([encoding, schemaEncoding], ["protobuf", "protobuf"]);
  const set = descriptor.FileDescriptorSet.decode(Buffer.from(schema, "base64"));
  const type = protobuf.Root.fromDescriptor(set).lookupType(schemaName);
  return (data) => type.decode(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
}

/** The median depth in metres, as these viewers take it: millimetres in 16 bits, metres in floating point. */
function medianMeters({ encoding, data }) {
  const bytes = data.slice().buffer;
  const numbers = encoding === "16UC1" ? Float32Array.from(new Uint16Array(bytes), (mm) => mm / 1000) : new Float32Array(bytes);
  assert.ok(encoding === "16UC1" || encoding === "32FC1", encoding);
  assert.equal(numbers.length, 424 * 240);
  const known = numbers.filter((meters) => meters > 0).sort();
  return known[known.length >> 1];
}

/** Receives messages of every channel, and returns their numbers. */
async function view(address) {
  const client = new FoxgloveClient({ ws: new WebSocket(address, [FoxgloveClient.SUPPORTED_SUBPROTOCOL]) });
  const [channels, counts, parents] = [new Map(), {}, {}];
  const take = ({ subscriptionId, data }) => {
    const { topic, decode } = channels.get(subscriptionId);
    const message = decode(data);
    counts[topic] += 1;
    if (topic.endsWith("/depth/image")) {
      const meters = medianMeters(message);
      assert.ok(meters > 0.05 && meters < 20, `${topic}: ${meters} m`);
      assert.equal(`/${message.header.frame_id}/image`, topic);
    }
    if (topic.endsWith("/transform")) parents[message.child_frame_id] = message.parent_frame_id;
    const images = Object.keys(counts).filter((name) => name.endsWith("/image"));
    return images.length === 4 && images.every((name) => counts[name] >= FRAMES) && Object.values(counts).every((count) => count > 0);
  };
  await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`after a minute: ${JSON.stringify(counts)}`)), WAIT);
    const guarded = (callback) => (event) => {
      try {
        callback(event);
      } catch (error) {
        reject(error);
      }
    };
    client.on("error", reject);
    client.on("advertise", guarded((added) => {
      for (const channel of added) {
        channels.set(client.subscribe(channel.id), { topic: channel.topic, decode: decoder(channel) });
        counts[channel.topic] = 0;
      }
    }));
    client.on("message", guarded((event) => {
      if (!take(event)) return;
      clearTimeout(late);
      resolve();
    }));
  });
  client.close();
  for (let frame of ["front/depth", "front/color", "rear/depth", "rear/color"]) {
    for (; frame !== "rig"; frame = parents[frame]) assert.ok(frame, "one tree");
  }
  return counts;
}

// The kernel ends the rig with this process.
const rig = spawn("setpriv", ["--pdeathsig", "KILL", camrig, "run", topology], { stdio: ["ignore", "pipe", "inherit"] });
const ended = new Promise((resolve) => rig.on("exit", resolve));
try {
  let address;
  for await (const line of createInterface({ input: rig.stdout })) {
    address = line.match(/live: (ws:\/\/\S+)/)?.[1];
    if (address) break;
  }
  assert.ok(address, "the rig has ended");
  const counts = await view(address);
  const total = Object.values(counts).reduce((sum, count) => sum + count);
  console.log(`Foxglove's client: ${total} messages of ${Object.keys(counts).length} channels, decoded by its parsers`);
} finally {
  rig.kill("SIGTERM");
  await ended;
}
process.exit();
