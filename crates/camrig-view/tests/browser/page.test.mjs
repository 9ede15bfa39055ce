// The page in a real browser, in front of a real rig: node --test crates/camrig-view/tests/browser/page.test.mjs
//
// Needs chromium; CHROMIUM, CAMRIG, DETECT (examples/detect) and STREAMS (this crate's example) say where the programs are.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";

import { PNG } from "pngjs";
import { WebSocket } from "ws";

import { launch, openPage, shoot } from "./browser.mjs";
import { Rig, pause, until } from "./rig.mjs";

const CAMERAS = ["front", "rear", "left", "right", "top", "wrist"];

/** Six small cameras; one is unplugged for a while, two have other depth units, one has infrared. */
const SIX = `
[camera.front]
driver = "synthetic"
options = { depth = "424x240@15", color = "424x240@15", seed = 1 }
[camera.rear]
driver = "synthetic"
options = { depth = "424x240@15", color = "424x240@15", infrared = "424x240@15", seed = 2 }
[camera.left]
driver = "synthetic"
options = { depth = "424x240@15", color = "424x240@15", seed = 3 }
[camera.right]
driver = "synthetic"
options = { depth = "424x240@15", color = "424x240@15", seed = 4, unplug_at = 20.0, replug_after = 4.0 }
[camera.top]
driver = "synthetic"
options = { model = "d405", depth = "424x240@15", color = "424x240@15", seed = 5 }
[camera.wrist]
driver = "synthetic"
options = { model = "d405", depth = "424x240@15", color = "424x240@15", seed = 6 }

[processor.view]
kind = "view"
inputs = ["front", "rear", "left", "right", "top", "wrist"]

# The images of the cameras, to compare with the page.
[processor.snapshot]
kind = "snapshot"
inputs = ["front", "top"]
overflow = "block"
options = { folder = "FOLDER/seen", every = 1, depth16 = true }
`;

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const open = (url, size) => openPage(browser, url, size);

const tile = (page, camera) => page.locator(`.tile[data-camera="${CAMERAS.indexOf(camera)}"]`);
const canvas = (page, camera, stream) => tile(page, camera).locator(`[data-stream="${stream}"] canvas`);
const pixels = (page, camera, stream) => canvas(page, camera, stream).evaluate((canvas) => canvas.toDataURL());

async function allLive(page) {
  await until("six live tiles", async () => (await page.locator(".tile.live").count()) === CAMERAS.length);
}

/** Records every state of a tile from now on: states change whether or not a test checks them. */
async function watch(page, camera) {
  await tile(page, camera).evaluate((tile) => {
    const note = () => {
      const live = tile.classList.contains("live");
      globalThis.seen.push({ live, text: live ? "" : tile.querySelector(".lost").innerText.replaceAll("\n", " ") });
    };
    globalThis.seen = [];
    new MutationObserver(note).observe(tile, { attributes: true, subtree: true, childList: true, attributeFilter: ["class", "hidden"] });
  });
}
const seen = (page) => page.evaluate(() => globalThis.seen);

/** Two cameras whose clocks are apart, matched by these clocks and by their estimates. */
const MATCHED = `
[camera.left]
driver = "synthetic"
options = { depth = "424x240@15", color = "off" }
[camera.right]
driver = "synthetic"
options = { depth = "424x240@15", color = "off", clock_skew = 4.0 }

[processor.own]
kind = "match"
inputs = ["left", "right"]
match = { window_millis = 14, clock = "hardware" }
[processor.guessed]
kind = "match"
inputs = ["left", "right"]
match = { window_millis = 70, clock = "estimated" }

[processor.view]
kind = "view"
inputs = ["left", "right"]
`;

test("a line for each matching has the offsets of its cameras, whatever their clock is", async (t) => {
  const rig = await Rig.start(MATCHED);
  t.after(() => rig.remove());
  const page = await open(rig.found[0]);
  const lines = async () => (await page.locator("#matching").textContent()).split("\n");
  const camera = (name, offset) => `${name} \\d+\\.\\d % \\+${offset} ms`;
  const line = (name, left, right) => {
    const spread = "spread \\d+\\.\\d ms, 99 % within \\d+\\.\\d ms";
    const parts = [`${name}: \\d+\\.\\d matched/s`, spread, camera("left", left), camera("right", right)];
    return new RegExp(`^${parts.join(" · ")}$`);
  };
  const any = "\\d+\\.\\d\\d";
  const wanted = [line("own", "0\\.00", "4\\.00"), line("guessed", any, any)];
  let found;
  await until("both lines", async () => {
    found = await lines();
    return found.length === 2 && found.every((line, at) => wanted[at].test(line));
  }).catch((error) => assert.fail(`${error.message}: ${found.join("\n")}`));
  const details = await page.locator("#matching").getAttribute("title");
  assert.match(details, /^own\nleft: \d+ matched.*\nright: \d+ matched.*\nguessed\nleft: .*, clock -?\d+\.\d\d ms behind the host, /);
});

test("six cameras, alive", async (t) => {
  const rig = await Rig.start(SIX);
  t.after(() => rig.remove());
  const [url] = rig.found;
  const page = await open(url);
  await allLive(page);
  await watch(page, "right");

  await t.test("their pixels change", async () => {
    for (const camera of CAMERAS) {
      for (const stream of ["color", "depth"]) {
        const first = await pixels(page, camera, stream);
        await until(`${camera} moves`, async () => (await pixels(page, camera, stream)) !== first);
      }
    }
  });

  await t.test("each stream says its size, format, number, time and rate", async () => {
    const facts = (camera, stream) => tile(page, camera).locator(`[data-stream="${stream}"] .facts`);
    const parts = async (camera, stream) => facts(camera, stream).locator("span").allTextContents();
    for (const [stream, format] of [["color", "rgb8"], ["depth", "z16"]]) {
      await until(`a rate of ${stream}`, async () => /^1\d\.\d Hz$/.test((await parts("front", stream))[3]));
      const [form, number, time] = await parts("front", stream);
      assert.equal(form, `424x240 ${format}`);
      assert.match(number, /^#\d+$/);
      assert.match(time, /^(\d\d:\d\d:\d\d\.\d{3}|\d+\.\d{3} s)$/);
      await until("the next number", async () => (await parts("front", stream))[1] !== number);
    }
    // A small picture shows the facts that fit, an enlarged one all of them.
    assert.equal(await facts("front", "color").locator(".time").isVisible(), false);
    await page.keyboard.press("1");
    assert.equal(await facts("front", "color").locator(".time").isVisible(), true);
    await page.keyboard.press("Escape");
  });

  await t.test("a camera that is unplugged says so, and comes back", async () => {
    const lost = await until("NO SIGNAL", async () => (await seen(page)).find((state) => !state.live));
    assert.match(lost.text, /^NO SIGNAL/);
    await until("its state", async () =>
      (await seen(page)).some((state) => !state.live && /restarting|waiting-for-device/.test(state.text)));
    await until("the signal", async () => (await seen(page)).at(-1).live);
    assert.equal(await tile(page, "right").locator(".lost").isVisible(), false);
    const first = await pixels(page, "right", "color");
    await until("right moves again", async () => (await pixels(page, "right", "color")) !== first);
  });

  await t.test("the depth under the cursor is the camera's", async () => {
    for (const [camera, unitMeters] of [["front", 0.001], ["top", 0.0001]]) {
      // In a pause, so that the values that are read are those that are shown.
      await page.keyboard.press("Space");
      const shown = tile(page, camera);
      await until("a still picture", () => shown.evaluate((tile) => tile.classList.contains("kept")));
      const sequence = await shown.getAttribute("data-sequence");
      const file = join(rig.folder, "seen", `${camera}-${sequence.padStart(6, "0")}-depth16.png`);
      await until(file, () => readdirSync(join(rig.folder, "seen")).includes(file.split("/").pop()));
      const truth = PNG.sync.read(readFileSync(file), { skipRescale: true });
      const box = await canvas(page, camera, "depth").boundingBox();
      let compared = 0;
      for (const [right, down] of [[0.5, 0.9], [0.2, 0.8], [0.5, 0.5], [0.35, 0.45], [0.8, 0.6], [0.5, 0.02]]) {
        const [x, y] = [Math.floor(right * truth.width), Math.floor(down * truth.height)];
        // The middle of the pixel: a mouse position is an integer, so it may be the next pixel.
        const at = { x: ((x + 0.5) / truth.width) * box.width, y: ((y + 0.5) / truth.height) * box.height };
        await page.mouse.move(box.x + at.x, box.y + at.y);
        const text = await shown.locator('[data-stream="depth"] output').textContent();
        const near = [];
        for (const [i, j] of [[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]) {
          near.push(truth.data[((y + j) * truth.width + x + i) * 4]);
        }
        if (near[0] === 0) assert.equal(text, "no depth");
        else {
          const units = Math.round(parseFloat(text) / unitMeters);
          assert.ok(near.some((truth) => Math.abs(truth - units) <= 1), `${camera} ${x},${y}: ${text}, not ${near}`);
          compared += 1;
        }
      }
      assert.ok(compared >= 3, `${compared} depths of ${camera}`);
      await page.keyboard.press("Space");
    }
  });

  await t.test("streams, a large camera and a pause, by keys", async () => {
    await page.keyboard.press("i");
    await until("infrared", async () => (await canvas(page, "rear", "infrared-1").count()) === 1);
    assert.equal(await canvas(page, "front", "infrared-1").count(), 0);
    await page.keyboard.press("2");
    assert.equal(await page.locator(".tile:visible").count(), 1);
    await until("infrared is drawn", async () => (await canvas(page, "rear", "infrared-1").evaluate((canvas) => canvas.width)) > 100);
    await page.keyboard.press("Escape");
    await page.keyboard.press("i");
    assert.equal(await page.locator(".tile:visible").count(), CAMERAS.length);
    await tile(page, "left").locator("footer").click();
    assert.equal(await page.locator(".tile:visible").count(), 1);
    await page.keyboard.press("Space");
    await until("a pause", () => tile(page, "left").evaluate((tile) => tile.classList.contains("kept")));
    const still = await pixels(page, "left", "color");
    const made = async () => {
      const { actors } = await (await fetch(new URL("status", url))).json();
      return actors.find((actor) => actor.name === "left").produced;
    };
    const before = await made();
    await until("ten more framesets", async () => (await made()) >= before + 10);
    assert.equal(await pixels(page, "left", "color"), still);
    await page.keyboard.press("Space");
    await until("the end of the pause", async () => still !== (await pixels(page, "left", "color")));
    await page.keyboard.press("Escape");
  });

  await t.test("color and depth are saved as PNG, of one frameset", async () => {
    await page.keyboard.press("1");
    const files = [];
    page.on("download", (download) => files.push(download));
    await page.locator("#save").click();
    await until("two files", () => files.length === 2);
    const saved = new Map();
    for (const file of files) saved.set(file.suggestedFilename(), readFileSync(await file.path()));
    const names = [...saved.keys()].sort();
    assert.match(names[0], /^front-\d{6}-color\.png$/);
    assert.equal(names[1], names[0].replace("color", "depth16"));
    for (const [name, data] of saved) {
      const seen = join(rig.folder, "seen", name);
      await until(seen, () => readdirSync(join(rig.folder, "seen")).includes(name));
      assert.ok(data.equals(readFileSync(seen)), `${name} is what the camera saw`);
    }
    await page.keyboard.press("Escape");
  });

  await t.test("a point cloud is drawn, and turns", async () => {
    await page.keyboard.press("1");
    await page.keyboard.press("p");
    const cloud = page.locator(".pane.cloud");
    await until("points", async () => Number(await cloud.getAttribute("data-painted")) > 1);
    await page.keyboard.press("Space");
    await until("a pause", () => tile(page, "front").evaluate((tile) => tile.classList.contains("kept")));
    await until("the last points", async () => {
      const painted = await cloud.getAttribute("data-painted");
      await pause(300);
      return painted === (await cloud.getAttribute("data-painted"));
    });
    const picture = async () => PNG.sync.read(await cloud.screenshot());
    const first = await picture();
    const colors = new Set();
    for (let at = 0; at < first.data.length; at += 4) colors.add(first.data.readUInt32BE(at) >>> 12);
    assert.ok(colors.size > 50, `${colors.size} colors`);
    const box = await cloud.boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 2 + 120, box.y + box.height / 2 + 30, { steps: 4 });
    await page.mouse.up();
    await until("another view", async () => !first.data.equals((await picture()).data));
    const turned = await picture();
    await page.keyboard.press("t");
    await until("other colors", async () => !turned.data.equals((await picture()).data));
    for (const key of ["t", "Space", "p", "Escape"]) await page.keyboard.press(key);
  });

  await t.test("a phone shows every camera, one below the other, and nothing is cut", async () => {
    const phone = await open(url, { width: 390, height: 844 });
    await allLive(phone);
    const boxes = [];
    for (const camera of CAMERAS) boxes.push(await tile(phone, camera).boundingBox());
    boxes.forEach((box, index) => {
      assert.ok(box.x >= 0 && box.x + box.width <= 390, `${CAMERAS[index]} is as wide as the phone`);
      assert.ok(index === 0 || box.y >= boxes[index - 1].y + boxes[index - 1].height, `${CAMERAS[index]} is below`);
    });
    assert.equal(await phone.evaluate(() => document.documentElement.scrollWidth), 390);
    await shoot(phone, "six-390x844");
    // A camera below the window gets no pictures until it is scrolled into it.
    const [first, last] = [CAMERAS[0], CAMERAS.at(-1)];
    assert.ok(boxes.at(-1).y > 844, `${last} is below the window`);
    const shown = async (camera) => Number(await tile(phone, camera).getAttribute("data-count"));
    const more = async (count) => {
      const before = await shown(first);
      await until(`${count} more pictures`, async () => (await shown(first)) >= before + count);
    };
    await more(5);
    const before = await shown(last);
    await more(10);
    assert.equal(await shown(last), before);
    await tile(phone, last).scrollIntoViewIfNeeded();
    await until("pictures of the last camera", async () => (await shown(last)) > before);
    await phone.context().close();
  });

  await t.test("no request leaves the page's origin, and nothing went wrong", async () => {
    const own = new URL(url);
    assert.ok(page.asked.length > 5);
    for (const asked of page.asked) {
      const { protocol, host } = new URL(asked);
      assert.ok(protocol === "blob:" || host === own.host, asked);
    }
    assert.deepEqual(page.wrong, []);
    const policy = (await fetch(url)).headers.get("content-security-policy");
    assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self'/);
  });

  const { code, report } = await rig.stop();
  assert.equal(code, 0, rig.said);
  const right = report.actors.find((actor) => actor.name === "right");
  assert.equal(right.restarts > 0, true);
});

test("a token is asked for, once", async (t) => {
  const rig = await Rig.start(`
[camera.front]
driver = "synthetic"
options = { depth = "424x240@15", color = "424x240@15" }
[processor.view]
kind = "view"
inputs = ["front"]
options = { listen = "0.0.0.0:0", token = "a-secret-of-the-test" }
`);
  t.after(() => rig.remove());
  const url = new URL(rig.found[0].replace("0.0.0.0", "127.0.0.1"));
  assert.equal(url.search, "?token=a-secret-of-the-test");
  const get = async (path, headers = {}) => (await fetch(new URL(path, url), { headers, redirect: "manual" })).status;
  for (const path of ["/", "/main.js", "/status", "/metrics", "/socket", "/?token=a-secret-of-the-tesT", "/?token="]) {
    assert.equal(await get(path), 401, path);
  }
  assert.equal(await get("/metrics", { authorization: "Bearer a-secret-of-the-test" }), 200);
  assert.equal(await get("/metrics", { authorization: "Bearer another-secret" }), 401);
  assert.equal(await get("/metrics", { authorization: "Bearer a-secret-of-the-test", origin: "http://elsewhere" }), 403);
  const page = await open(url.href);
  await until("a live tile", async () => (await page.locator(".tile.live").count()) === 1);
  // The token is in a cookie now, and nowhere to be seen.
  assert.equal(new URL(page.url()).search, "");
  await page.reload();
  await until("a live tile again", async () => (await page.locator(".tile.live").count()) === 1);
  assert.deepEqual(page.wrong, []);
});

test("a name that is not this machine's is not answered", async (t) => {
  const rig = await Rig.start(`
[camera.front]
driver = "synthetic"
options = { depth = "424x240@15", color = "off" }
[processor.view]
kind = "view"
inputs = ["front"]
`);
  t.after(() => rig.remove());
  const { request } = await import("node:http");
  const { hostname, port } = new URL(rig.found[0]);
  const ask = (host) => new Promise((resolve, reject) => {
    request({ hostname, port, headers: { host } }, (answer) => resolve(answer.resume().statusCode)).on("error", reject).end();
  });
  assert.equal(await ask(`localhost:${port}`), 200);
  assert.equal(await ask(`elsewhere.example:${port}`), 403);
});

test("masks and boxes of a processor are drawn over the color image", async (t) => {
  const rig = await Rig.start(`
[camera.front]
driver = "synthetic"
options = { seed = 1, color = "424x240@15", depth = "off" }
[processor.detect]
kind = "detect"
inputs = ["front"]
options = { threshold = 0.45 }
[processor.view]
kind = "view"
inputs = ["detect"]
options = { quality = 95 }
`, undefined, resolve(process.env.DETECT ?? "target/debug/detect"));
  t.after(() => rig.remove());
  const page = await open(rig.found[0], { width: 1280, height: 760 });
  const color = page.locator('.tile [data-stream="color"] canvas');
  const label = /^(red|green|blue) [01]\.\d\d(, |$)/;
  await until("boxes", async () => label.test((await color.getAttribute("aria-label").catch(() => "")) ?? ""));
  assert.equal(await page.locator(".pane").count(), 1);
  assert.equal(await page.locator(".listed").textContent(), "heat (other, tensor-f32)");
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });

  // The numbers of pixels in the color of boxes and labels, and of those tinted by the mask, in a still picture.
  const counts = async () => {
    await page.keyboard.press("Space");
    await until("a pause", () => page.evaluate(() => document.querySelector(".tile").classList.contains("kept")));
    const counted = await color.evaluate((canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let [boxes, masked] = [0, 0];
      for (let at = 0; at < data.length; at += 4) {
        const [red, green, blue] = data.subarray(at, at + 3);
        if (red === 0xff && green === 0xd2 && blue === 0x3f) boxes += 1;
        // 45 % of the mask's color, and any color below it.
        if (red >= 113 && red <= 255 && blue >= 70 && red - green > 60 && blue - green > 20) masked += 1;
      }
      return { boxes, masked, label: canvas.getAttribute("aria-label") };
    });
    await page.keyboard.press("Space");
    return counted;
  };
  const toggle = async (stream, pressed) => {
    const button = page.locator(`button[data-stream="${stream}"]`);
    await button.click();
    assert.equal(await button.getAttribute("aria-pressed"), pressed);
  };
  const all = await counts();
  assert.ok(all.boxes > 500 && all.masked > 500, JSON.stringify(all));
  await toggle("boxes", "false");
  const mask = await counts();
  assert.ok(mask.boxes === 0 && mask.masked > 100 && mask.label === null, JSON.stringify(mask));
  await toggle("mask", "false");
  const plain = await counts();
  assert.ok(plain.masked * 4 < mask.masked, JSON.stringify({ mask, plain }));
  assert.deepEqual(page.wrong, []);
});

/** The WebSocket's answer to a request for the color of a camera's next frameset: its first part and that part's bytes. */
async function colorOf(url, camera, width) {
  const socket = new WebSocket(new URL("socket", url.replace("http", "ws")));
  socket.on("open", () => socket.send(JSON.stringify({ ask: "frames", camera, after: 0, streams: ["color"], width })));
  const [data] = await once(socket, "message");
  socket.terminate();
  const end = 4 + data.readUInt32LE(0);
  const { sequence, parts } = JSON.parse(data.subarray(4, end));
  return { sequence, part: parts[0], bytes: data.subarray(end, end + parts[0].bytes) };
}

test("JPEG images of a camera are shown as they are, or smaller", async (t) => {
  const rig = await Rig.start(`
[camera.front]
driver = "synthetic"
options = { color = "424x240@15", color_format = "mjpeg", depth = "424x240@15" }
[processor.view]
kind = "view"
inputs = ["front"]
[processor.snapshot]
kind = "snapshot"
inputs = ["front"]
overflow = "block"
options = { folder = "FOLDER/seen", every = 1 }
[processor.record]
kind = "record"
inputs = ["front"]
overflow = "block"
options = { file = "FOLDER/rig.mcap" }
`);
  t.after(() => rig.remove());
  const [url] = rig.found;
  const page = await open(url);
  const color = page.locator('.tile [data-stream="color"] canvas');
  await until("a picture", async () => (await color.evaluate(({ width }) => width).catch(() => 0)) === 424);

  // Only the balls move: most of each picture is that of any frameset.
  const drawn = await color.evaluate((canvas) => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]);
  const [name] = readdirSync(join(rig.folder, "seen")).filter((name) => name.endsWith("-color.png"));
  const truth = PNG.sync.read(readFileSync(join(rig.folder, "seen", name))).data;
  const near = drawn.filter((value, at) => Math.abs(value - truth[at]) <= 16).length;
  assert.ok(drawn.length === truth.length && near > 0.7 * truth.length, `${near} of ${truth.length} channels`);

  // The picture of a paused page is the PNG file, which the server decodes.
  await page.keyboard.press("Space");
  await until("a pause", () => page.evaluate(() => document.querySelector(".tile").classList.contains("kept")));
  const paused = await color.evaluate((canvas) => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]);
  const sequence = await page.locator(".tile").getAttribute("data-sequence");
  const file = `front-${sequence.padStart(6, "0")}-color.png`;
  await until(file, () => readdirSync(join(rig.folder, "seen")).includes(file));
  const saved = PNG.sync.read(readFileSync(join(rig.folder, "seen", file))).data;
  assert.ok(saved.equals(Buffer.from(paused)), `the picture is that of ${file}`);
  assert.deepEqual(page.wrong, []);

  const whole = await colorOf(url, 0, 424);
  const small = await colorOf(url, 0, 100);
  assert.deepEqual([whole.part.kind, small.part.kind, small.bytes.length < whole.bytes.length / 3], ["picture", "picture", true]);
  await rig.stop();
  const args = ["recording", "export", join(rig.folder, "rig.mcap"), "-o", join(rig.folder, "images")];
  execFileSync(resolve(process.env.CAMRIG ?? "target/debug/camrig"), args);
  const recorded = readFileSync(join(rig.folder, "images/front/color", `${String(whole.sequence).padStart(6, "0")}.jpg`));
  assert.ok(recorded.equals(whole.bytes), "the page got the bytes that the camera sent");
});

/** A topology of cameras with these names, and a view of them. `options` has more options of a camera, by name. */
function cameras(names, options = {}, keys = {}) {
  const camera = (name, seed) => `
[camera.${name}]
driver = "synthetic"
${keys[name] ?? ""}
options = { depth = "424x240@6", color = "424x240@6", seed = ${seed}${options[name] ?? ""} }`;
  return `${names.map(camera).join("")}
[processor.view]
kind = "view"
inputs = ${JSON.stringify(names)}
`;
}

/** Asserts that the name of each camera and the reason why it has no signal can be read, and that nothing needs scrolling. */
async function assertLegible(page, names) {
  const found = await page.evaluate(() =>
    [...document.querySelectorAll(".tile .label")].map((label) => {
      const box = label.getBoundingClientRect();
      const shown = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2) === label;
      return { text: label.textContent, whole: label.scrollWidth <= label.clientWidth, shown };
    }));
  assert.deepEqual(found, names.map((text) => ({ text, whole: true, shown: true })));
  const crossed = await page.evaluate(() => {
    const shown = (selector) => [...document.querySelectorAll(selector)].filter((element) => element.checkVisibility());
    const boxes = (selector) => shown(selector).map((element) => [element.textContent, element.getBoundingClientRect()]);
    const cross = (one, other) => one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
    return boxes(".lost > *").filter(([, box]) => boxes(".facts, figcaption").some(([, other]) => cross(box, other))).map(([text]) => text);
  });
  assert.deepEqual(crossed, []);
  const [wide, high] = await page.evaluate(() => {
    const { scrollWidth, scrollHeight } = document.documentElement;
    return [scrollWidth - innerWidth, scrollHeight - innerHeight];
  });
  assert.deepEqual({ wide, high }, { wide: 0, high: 0 });
}

const allDrawn = (page, panes) =>
  until(`${panes} pictures`, async () => (await page.locator(".pane canvas").evaluateAll((all) => all.filter(({ width }) => width > 16).length)) >= panes);

test("six cameras fit small windows, and their names are legible", async (t) => {
  const names = ["front", "rear", "left", "right", "top", "wrist-upper-left"];
  const rig = await Rig.start(cameras(names,
    { rear: ", unplug_at = 1.0", left: ", stall_at = 1.0", top: ', stall_at = 1.0, stall_stream = "color"' },
    { rear: "device_timeout_millis = 500", left: "stall_timeout_millis = 3600000", top: "stall_timeout_millis = 3600000" }));
  t.after(() => rig.remove());
  const page = await open(rig.found[0], { width: 800, height: 600 });
  const rear = page.locator('.tile[data-camera="1"]');
  await until("a failed camera", async () => /^failed: /.test(await rear.locator(".lost span").textContent()));

  await t.test("a camera that stalls says for how long, and shows no old latency", async () => {
    const left = page.locator('.tile[data-camera="2"]');
    const silence = async () => Number(/^no frames for (\d+\.\d) s$/.exec(await left.locator(".lost span").textContent())?.[1]);
    await until("a silent camera", async () => (await left.locator(".state").textContent()) === "no frames");
    const first = await until("its silence", silence);
    await until("a longer silence", async () => (await silence()) > first);
    assert.equal(await left.locator(".latency").textContent(), "");
    assert.match(await page.locator('.tile[data-camera="0"] .latency').textContent(), /^\d+\.\d ms$/);
  });

  await t.test("a stream that stops says for how long, while the other one has a rate", async () => {
    const rate = (stream) => page.locator(`.tile[data-camera="4"] [data-stream="${stream}"] .facts .hertz`).textContent();
    const silence = async () => Number(/^no frames for (\d+\.\d) s$/.exec(await rate("color"))?.[1]);
    const first = await until("a silent stream", silence);
    await until("a longer silence", async () => (await silence()) > first);
    await until("a rate", async () => /^\d+\.\d Hz$/.test(await rate("depth")));
  });

  // Those of three cameras, and one of `top`: the others may have stopped before the page was open.
  await allDrawn(page, 7);
  for (const [width, height] of [[800, 600], [1024, 768], [1280, 800], [1024, 500]]) {
    await page.setViewportSize({ width, height });
    await page.waitForFunction(() => document.documentElement.scrollHeight === innerHeight);
    await assertLegible(page, names);
    await shoot(page, `six-${width}x${height}`);
  }

  await t.test("a paused page looks paused", async () => {
    const tags = () => page.locator(".panes").evaluateAll((all) => all.map((panes) => getComputedStyle(panes, "::after").content));
    assert.deepEqual(await tags(), names.map(() => "none"));
    assert.equal(await page.locator("#paused").isVisible(), false);
    await page.keyboard.press("Space");
    assert.deepEqual(await tags(), names.map(() => '"paused"'));
    assert.equal(await page.locator("#paused").innerText(), "PAUSED");
    assert.equal(await page.locator("#pause").innerText(), "resume");
    // The header has one line more now.
    await assertLegible(page, names);
    await shoot(page, "paused");
    await page.keyboard.press("Space");
    assert.deepEqual(await tags(), names.map(() => "none"));
    assert.equal(await page.locator("#paused").isVisible(), false);
    assert.equal(await page.locator("#pause").innerText(), "pause");
  });
  assert.deepEqual(page.wrong, []);
});

test("sixteen cameras fit a window, and their names are legible", async (t) => {
  const names = Array.from({ length: 16 }, (_, number) => `camera-${number + 1}`);
  const rig = await Rig.start(`placement = "in-process"\n${cameras(names)}`);
  t.after(() => rig.remove());
  const page = await open(rig.found[0], { width: 1280, height: 800 });
  await allDrawn(page, 32);
  await page.waitForFunction(() => document.documentElement.scrollHeight === innerHeight);
  await assertLegible(page, names);
  await shoot(page, "sixteen-1280x800");
});

test("the address has the settings, and depth is read off under the cursor only", async (t) => {
  const rig = await Rig.start(cameras(["front", "rear"]));
  t.after(() => rig.remove());
  const [url] = rig.found;
  // A browser may resolve this name to either loopback address.
  const page = await open(url.replace("127.0.0.1", "localhost"));
  await allDrawn(page, 4);
  const pressed = (stream) => page.locator(`button[data-stream="${stream}"]`).getAttribute("aria-pressed");
  const shown = async () => ({
    hash: new URL(page.url()).hash,
    tiles: await page.locator(".tile:visible .label").allTextContents(),
    streams: [await pressed("color"), await pressed("depth")],
    range: await page.locator("#near").inputValue() + " " + await page.locator("#far").inputValue(),
    auto: await page.locator("#auto").getAttribute("aria-pressed"),
  });
  const grid = { hash: "", tiles: ["front", "rear"], streams: ["true", "true"], range: "0.1 4", auto: "true" };
  assert.deepEqual(await shown(), grid);

  await page.keyboard.press("2");
  const rear = { ...grid, hash: "#camera=rear", tiles: ["rear"] };
  assert.deepEqual(await shown(), rear);
  await page.keyboard.press("c");
  const depth = { ...rear, hash: "#camera=rear&streams=depth", streams: ["false", "true"] };
  assert.deepEqual(await shown(), depth);
  await page.locator("#near").fill("0.5");
  await page.locator("#far").fill("3");
  await page.locator("#far").blur();
  const ranged = { ...depth, hash: "#camera=rear&streams=depth&range=0.5-3", range: "0.5 3", auto: "false" };
  await until("the range", async () => (await shown()).hash === ranged.hash);
  assert.deepEqual(await shown(), ranged);
  const caption = page.locator('.tile:visible [data-stream="depth"] figcaption');
  await until("depth in this range", async () => (await caption.textContent()) === "0.50 – 3.00 m");

  await t.test("near beyond far is refused, and the range before remains", async () => {
    const refused = page.locator("#refused");
    assert.equal(await refused.isVisible(), false);
    for (const near of ["3", "3.5", "", "-1"]) {
      await page.locator("#near").fill(near);
      assert.equal(await refused.innerText(), "near must be less than far");
      assert.equal(await page.locator("#near").getAttribute("aria-invalid"), "true");
    }
    await page.locator("#near").blur();
    assert.equal(new URL(page.url()).hash, ranged.hash);
    assert.equal(await caption.textContent(), "0.50 – 3.00 m");
    await page.locator("#near").fill("0.5");
    assert.equal(await refused.isVisible(), false);
    await page.locator("#near").blur();
  });

  await page.reload();
  await until("the same after a reload", async () => (await shown()).tiles.length === 1);
  assert.deepEqual(await shown(), ranged);
  const nearOnly = { ...ranged, hash: "#camera=rear&streams=depth&range=0.5-4" };
  for (const step of [nearOnly, depth, rear, grid]) {
    await page.goBack();
    assert.deepEqual(without(await shown()), without(step));
  }
  await page.goForward();
  assert.deepEqual(without(await shown()), without(rear));
  await page.goBack();
  // Another page, and back.
  await page.keyboard.press("1");
  await page.goto("about:blank");
  await page.goBack();
  await until("the camera", async () => (await shown()).tiles.length === 1);
  assert.equal((await shown()).hash, "#camera=front");
  await page.keyboard.press("Escape");

  await t.test("the depth goes when the cursor goes", async () => {
    const canvas = page.locator('.tile[data-camera="0"] [data-stream="depth"] canvas');
    const outputs = page.locator("output:visible");
    const hover = async () => {
      await until("a picture of depth", async () => (await canvas.count()) === 1 && (await canvas.evaluate(({ width }) => width)) > 16);
      const box = await canvas.boundingBox();
      await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
      await page.mouse.move(box.x + box.width / 2 + 2, box.y + box.height / 2);
      await until("a depth", async () => (await outputs.count()) === 1);
    };
    await hover();
    await page.mouse.move(5, 5);
    await until("no depth beside the pictures", async () => (await outputs.count()) === 0);
    // The picture leaves, not the cursor.
    await hover();
    await page.keyboard.press("d");
    await page.mouse.move(5, 5);
    await page.keyboard.press("d");
    await until("a picture of depth again", async () => (await canvas.count()) === 1);
    const sequence = () => page.locator('.tile[data-camera="0"]').getAttribute("data-sequence");
    const before = await sequence();
    await until("another frameset", async () => (await sequence()) !== before);
    assert.equal(await outputs.count(), 0);
    // The window loses the focus.
    await hover();
    await page.evaluate(() => dispatchEvent(new Event("blur")));
    assert.equal(await outputs.count(), 0);
    await hover();
    await page.keyboard.press("2");
    await page.mouse.move(5, 5);
    await page.keyboard.press("Escape");
    assert.equal(await outputs.count(), 0);
  });
  assert.deepEqual(page.wrong, []);
});

/** The settings that going back has to restore: the fields of the range keep their last values. */
function without({ range, ...rest }) {
  return rest;
}

/** Returns the numbers of different colors and of pixels that are not nearly black, of a picture. */
async function colorsOf(canvas) {
  const png = PNG.sync.read(await canvas.screenshot());
  const colors = new Set();
  let bright = 0;
  for (let at = 0; at < png.data.length; at += 4) {
    const [red, green, blue] = png.data.subarray(at, at + 3);
    colors.add(png.data.readUInt32BE(at) >>> 12);
    if (Math.max(red, green, blue) > 40) bright += 1;
  }
  return { colors: colors.size, bright: bright / (png.width * png.height), data: png.data };
}

test("the points of a processor are drawn, and turn", async (t) => {
  const rig = await Rig.start(`
[camera.front]
driver = "synthetic"
options = { depth = "424x240@6", color = "424x240@6", seed = 1 }
[processor.cloud]
kind = "pointcloud"
inputs = ["front"]
[processor.view]
kind = "view"
inputs = ["front", "cloud"]
`);
  t.after(() => rig.remove());
  const page = await open(rig.found[0]);
  const cloud = page.locator('.tile[data-camera="1"]');
  const points = cloud.locator('[data-stream="points"]');
  await until("points", async () => Number(await points.getAttribute("data-painted").catch(() => 0)) > 1);
  assert.deepEqual(await cloud.locator(".pane").evaluateAll((all) => all.map((pane) => pane.dataset.stream)), ["points"]);
  // A tile with one picture beside one with two: every picture has its shape, and nothing needs scrolling.
  await page.waitForFunction(() => document.documentElement.scrollHeight === innerHeight);
  for (const pane of await page.locator(".pane").all()) {
    const { width, height } = await pane.boundingBox();
    assert.ok(Math.abs(width / height - 424 / 240) < 0.05, `${width} x ${height}`);
  }
  const small = await colorsOf(points.locator("canvas"));
  assert.ok(small.colors > 50 && small.bright > 0.3, JSON.stringify({ ...small, data: null }));
  await shoot(page, "points");

  await page.keyboard.press("2");
  await page.keyboard.press("Space");
  await until("a pause", () => cloud.evaluate((tile) => tile.classList.contains("kept")));
  const still = async () => {
    const painted = await points.getAttribute("data-painted");
    await pause(300);
    return painted === (await points.getAttribute("data-painted"));
  };
  await until("the last points", still);
  const large = await colorsOf(points.locator("canvas"));
  assert.ok(large.colors > 50 && large.bright > 0.3, JSON.stringify({ ...large, data: null }));
  const box = await points.boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width / 2 + 150, box.y + box.height / 2 + 30, { steps: 4 });
  await page.mouse.up();
  await until("another view", async () => !large.data.equals((await colorsOf(points.locator("canvas"))).data));
  await shoot(page, "points-large");
  const turned = await colorsOf(points.locator("canvas"));
  await page.keyboard.press("t");
  await until("other colors", async () => !turned.data.equals((await colorsOf(points.locator("canvas"))).data));
  assert.deepEqual(page.wrong, []);
});

test("a merged cloud has the fields of view of its cameras, and a color for each", async (t) => {
  const calibration = `
version = 1
root = "front"
[camera.front]
serial = "1"
translation_meters = [0, 0, 0]
quaternion_xyzw = [0, 0, 0, 1]
[camera.rear]
serial = "2"
translation_meters = [0.5, 0, 4]
quaternion_xyzw = [0, 1, 0, 0]
`;
  const rig = await Rig.start(`
calibration = "rig.calib.toml"
[camera.front]
driver = "synthetic"
options = { depth = "424x240@6", color = "424x240@6", serial = "1" }
[camera.rear]
driver = "synthetic"
options = { depth = "424x240@6", color = "424x240@6", serial = "2" }
[processor.cloud]
kind = "merge"
inputs = ["front", "rear"]
match = { window_millis = 80 }
options = { voxel_millimeters = 20, decimation = 4 }
[processor.view]
kind = "view"
inputs = ["front", "rear", "cloud"]
`, undefined, undefined, { "rig.calib.toml": calibration });
  t.after(() => rig.remove());
  const page = await open(rig.found[0]);
  const points = page.locator('.tile[data-camera="2"] [data-stream="points"]');
  await until("points", async () => Number(await points.getAttribute("data-painted").catch(() => 0)) > 1);
  await until("both cameras", async () => (await points.getAttribute("data-frusta")) === "front rear");

  await page.keyboard.press("3");
  const colors = () => points.locator("canvas").evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
  });
  await until("colors of the images", async () => (await colors()) > 20);
  await shoot(page, "merged");
  await page.keyboard.press("g");
  await page.keyboard.press("t");
  await page.keyboard.press("t");
  assert.equal(await page.locator("#tint").textContent(), "by camera");
  // The background, and the points of two cameras.
  await until("a color for each camera", async () => (await colors()) === 3);
  await page.keyboard.press("g");
  await until("axes and fields of view", async () => (await colors()) > 3);
  await shoot(page, "merged-cameras");
  await page.keyboard.press("t");
  assert.equal(await page.locator("#tint").getAttribute("aria-pressed"), "false");

  // A camera that faces the root: it is at its place, and sees toward the root.
  const lines = await page.evaluate(async () => {
    const { frustumLines } = await import("/guides.js");
    const pose = { translation_meters: [0.5, 0, 4], quaternion_xyzw: [0, 1, 0, 0] };
    return frustumLines({ pose, lens: { width: 424, height: 240, ppx: 211.5, ppy: 119.5, fx: 212, fy: 212 } }, [1, 0, 0]);
  });
  assert.deepEqual(lines[0].from, [0.5, 0, 4]);
  lines[0].to.forEach((at, axis) => assert.ok(Math.abs(at - [0.65, -0.15 * (120 / 212), 3.85][axis]) < 1e-9, String(lines[0].to)));
  assert.deepEqual(page.wrong, []);
});

test("keys, themes, the scale of depth and buttons are there for everyone", async (t) => {
  const rig = await Rig.start(cameras(["front", "rear"]));
  t.after(() => rig.remove());
  const page = await open(rig.found[0], { width: 1024, height: 768 });
  await allDrawn(page, 4);

  await t.test("one labelled scale holds for all cameras", async () => {
    const ends = async () => (await page.locator("#scale .near, #scale .far").allTextContents()).map(parseFloat);
    const captions = async () => (await page.locator('[data-stream="depth"] figcaption').allTextContents()).map((text) => text.split(/[^\d.]+/).slice(0, 2).map(Number));
    await until("the same range everywhere", async () => {
      const [front, rear] = await captions();
      const [near, far] = await ends();
      return [front, rear].every((range) => Math.abs(range[0] - near) < 0.1 && Math.abs(range[1] - far) < 0.1);
    });
    assert.match(await page.locator("#scale").getAttribute("aria-label"), /^depth colors: red is \d\.\d+ m, blue is \d\.\d+ m$/);
    await page.locator("#near").fill("0.5");
    await page.locator("#far").fill("3");
    await until("the written range", async () => (await page.locator("#scale .ends").innerText()).replace(/\s+/g, " ") === "0.5 m 1.8 m 3.0 m");
    await page.locator("#auto").click();
  });

  await t.test("? lists every key, and Esc closes the list only", async () => {
    await page.keyboard.press("1");
    await page.keyboard.press("?");
    const keys = page.locator("#keys");
    assert.equal(await keys.isVisible(), true);
    const listed = await keys.locator("kbd").allTextContents();
    assert.deepEqual(listed, ["1 to 9", "Esc", "←", "→", "space", ..."cdiasoptg+-rfl?"]);
    await shoot(page, "keys");
    // No key works while the list is open.
    await page.keyboard.press("c");
    await page.keyboard.press("Escape");
    assert.equal(await keys.isVisible(), false);
    assert.equal(await page.locator(".tile:visible").count(), 1);
    assert.equal(await page.locator('button[data-stream="color"]').getAttribute("aria-pressed"), "true");
    await page.keyboard.press("Escape");
    assert.equal(await page.locator(".tile:visible").count(), 2);
  });

  await t.test("a light theme is kept", async () => {
    const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const dark = await back();
    await page.keyboard.press("l");
    const light = await back();
    assert.notEqual(light, dark);
    await page.reload();
    await allDrawn(page, 4);
    assert.equal(await back(), light);
    await shoot(page, "light-1024x768");
    await page.locator("#theme").click();
    assert.equal(await back(), dark);
  });

  await t.test("buttons are buttons, with names", async () => {
    await page.getByRole("button", { name: "front", exact: true }).click();
    assert.equal(await page.locator(".tile:visible").count(), 1);
    await page.getByRole("button", { name: "front", exact: true }).press("Enter");
    assert.equal(await page.locator(".tile:visible").count(), 2);
    for (const button of await page.getByRole("button").all()) {
      const name = (await button.getAttribute("aria-label")) ?? (await button.textContent());
      assert.match(name, /\w/, await button.evaluate((button) => button.outerHTML));
    }
    for (const name of ["keys", "pause", "control", "light", "full"]) assert.equal(await page.getByRole("button", { name, exact: true }).count(), 1, name);
  });

  await t.test("the page fills the screen, and comes back", async () => {
    const isFull = () => page.evaluate(() => document.fullscreenElement !== null);
    await page.keyboard.press("f");
    await until("a full screen", isFull);
    await page.keyboard.press("f");
    await until("the window", async () => !(await isFull()));
  });
  assert.deepEqual(page.wrong, []);
});

test("a point cloud has axes, sizes and a first view, and fingers move it", async (t) => {
  const rig = await Rig.start(cameras(["front"]));
  t.after(() => rig.remove());
  const page = await open(rig.found[0]);
  await allDrawn(page, 2);
  await page.keyboard.press("1");
  await page.keyboard.press("p");
  const cloud = page.locator(".pane.cloud");
  await until("a point cloud", async () => Number(await cloud.getAttribute("data-painted").catch(() => 0)) > 1);
  await page.keyboard.press("Space");
  await until("a pause", () => page.locator(".tile").evaluate((tile) => tile.classList.contains("kept")));
  const canvas = cloud.locator("canvas");
  const changes = async (what, act) => {
    const before = await colorsOf(canvas);
    await act();
    return until(what, async () => {
      const now = await colorsOf(canvas);
      return !now.data.equals(before.data) && now;
    });
  };
  const box = await canvas.boundingBox();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  // From far away the axes are in view.
  const far = await changes("another distance", async () => {
    await page.mouse.move(x, y);
    await page.mouse.wheel(0, 900);
  });
  const without = await changes("no axes", () => page.keyboard.press("g"));
  assert.ok(without.bright < far.bright, `${without.bright} and ${far.bright}`);
  const larger = await changes("larger points", () => page.keyboard.press("+"));
  assert.ok(larger.bright > without.bright, `${larger.bright} and ${without.bright}`);
  const devtools = await page.context().newCDPSession(page);
  const touch = (type, ...points) => devtools.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([dx, dy], id) => ({ x: x + dx, y: y + dy, id })) });
  const near = await changes("what two fingers zoom to", async () => {
    await touch("touchStart", [-40, 0], [40, 0]);
    await touch("touchMove", [-160, 0], [160, 0]);
    await touch("touchEnd");
  });
  assert.ok(near.bright > larger.bright, `${near.bright} and ${larger.bright}`);
  await changes("what one finger turns", async () => {
    await touch("touchStart", [0, 0]);
    await touch("touchMove", [120, 20]);
    await touch("touchEnd");
  });
  const first = await changes("the first view", () => page.locator("#home").click());
  await changes("another size", () => page.locator("#smaller").click());
  await changes("the size before", () => page.locator("#larger").click());
  await until("the same picture", async () => (await colorsOf(canvas)).data.equals(first.data));
  await shoot(page, "cloud");
  assert.deepEqual(page.wrong, []);
});

test("samples of motion are plotted", async (t) => {
  const rig = await Rig.start(`
[camera.front]
driver = "synthetic"
options = { model = "d435i", depth = "424x240@6", color = "424x240@6", accel = 100, gyro = 200 }
[processor.view]
kind = "view"
inputs = ["front"]
options = { frames_per_second = 2 }
`);
  t.after(() => rig.remove());
  const page = await open(rig.found[0]);
  await allDrawn(page, 2);
  for (const stream of ["accel", "gyro"]) await page.locator(`button[data-stream="${stream}"]`).click();
  const pane = (stream) => page.locator(`.pane[data-stream="${stream}"]`);
  // Every sample arrives, although the page gets every third frameset only.
  const samples = async (stream) => Number(await pane(stream).getAttribute("data-samples"));
  await until("three seconds of samples", async () => (await samples("accel")) >= 300 && (await samples("gyro")) >= 600);
  assert.match(await pane("accel").locator("figcaption").textContent(), /^x -?\d\.\d\d {2}y -9\.\d\d {2}z -?\d\.\d\d m\/s²$/);
  assert.match(await pane("gyro").locator("figcaption").textContent(), /^x -?\d\.\d\d .* rad\/s$/);
  assert.ok((await colorsOf(pane("gyro").locator("canvas"))).colors > 3);
  await shoot(page, "motion");
  assert.deepEqual(page.wrong, []);
});

test("a second stream of depth and an image of classes are drawn", async (t) => {
  const rig = await Rig.start(`
[camera.front]
driver = "synthetic"
options = { depth = "424x240@6", color = "424x240@6", seed = 1 }
[processor.more]
kind = "streams"
inputs = ["front"]
[processor.view]
kind = "view"
inputs = ["more"]
`, undefined, resolve(process.env.STREAMS ?? "target/debug/examples/streams"));
  t.after(() => rig.remove());
  const page = await open(rig.found[0]);
  const pane = (stream) => page.locator(`.tile [data-stream="${stream}"]`);
  await allDrawn(page, 3);
  assert.deepEqual(await page.locator(".pane").evaluateAll((all) => all.map((pane) => pane.dataset.stream)), ["depth", "depth-2", "classes"]);
  // The processor says what it does.
  await until("progress", async () => (await page.locator("#progress").textContent()) === "more: doubles depth\nof `front`");
  await shoot(page, "streams");
  for (const stream of ["depth", "depth-2", "classes"]) {
    const { colors, bright } = await colorsOf(pane(stream).locator("canvas"));
    assert.ok(colors >= 4 && bright > 0.3, `${stream}: ${colors} colors, ${bright} bright`);
  }
  // The cursor reads each stream's own depth.
  await page.keyboard.press("Space");
  await until("a pause", () => page.locator(".tile").evaluate((tile) => tile.classList.contains("kept")));
  const read = async (stream) => {
    const box = await pane(stream).locator("canvas").boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height * 0.8);
    return parseFloat(await pane(stream).locator("output").textContent());
  };
  const [whole, half] = [await read("depth"), await read("depth-2")];
  assert.ok(whole > 0.2 && Math.abs(half - whole / 2) < 0.002, `${whole} m and ${half} m`);
  const box = await pane("classes").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height * 0.8);
  assert.equal(await page.locator("output:visible").count(), 0);
  assert.deepEqual(page.wrong, []);
});

test("a supervisor that is stopped holds up no picture, and its states are unknown", async (t) => {
  const rig = await Rig.start(`placement = "multi-process"\n${cameras(["front", "rear"])}`);
  t.after(async () => {
    rig.child.kill("SIGCONT");
    await rig.remove();
  });
  const page = await open(rig.found[0]);
  await allDrawn(page, 4);
  const front = page.locator('.tile[data-camera="0"]');
  await until("a rate", async () => /^[1-9]\d* fps$/.test(await front.locator(".rate").textContent()));
  rig.child.kill("SIGSTOP");
  await until("an unknown state", async () => (await front.locator(".state").textContent()) === "state unknown");
  assert.equal(await front.locator(".rate").textContent(), "– fps");
  assert.ok(await front.evaluate((tile) => tile.classList.contains("live")));
  // The longest time between two of twenty framesets, while statuses are asked for in vain: a status takes 2 s.
  const longest = await front.evaluate((tile) => new Promise((resolve) => {
    let [last, longest, count] = [performance.now(), 0, 0];
    const observer = new MutationObserver(() => {
      const now = performance.now();
      [longest, last, count] = [Math.max(longest, now - last), now, count + 1];
      if (count < 20) return;
      observer.disconnect();
      resolve(longest);
    });
    observer.observe(tile, { attributeFilter: ["data-count"] });
  }));
  assert.ok(longest < 1500, `${longest} ms without a picture`);
  assert.deepEqual(page.wrong, []);
});
