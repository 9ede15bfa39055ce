// A page that changes its rig, and the HTTP API: node --test crates/camrig-view/tests/browser/control.test.mjs
//
// Has the same requirements as page.test.mjs.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { after, before, test } from "node:test";

import Ajv from "ajv/dist/2020.js";

import { launch, openPage, shoot } from "./browser.mjs";
import { Rig, until } from "./rig.mjs";

const TOKEN = "a-secret-of-the-test";

const camera = (name, more = "") => `
[camera.${name}]
driver = "synthetic"
options = { depth = "424x240@15", color = "424x240@15"${more} }
`;

const view = (inputs, options) => `
[processor.view]
kind = "view"
inputs = ${JSON.stringify(inputs)}
options = { ${options} }
`;

const CONTROL = `token = "${TOKEN}", control = true`;

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

/** The mean of all channels of a canvas. */
const brightness = (canvas) =>
  canvas.evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.reduce((sum, value) => sum + value, 0) / data.length;
  });

test("a page changes its rig", async (t) => {
  const rig = await Rig.start(`${camera("left")}${camera("right", ", seed = 2")}${view(["left", "right"], CONTROL)}`);
  t.after(() => rig.remove());
  const page = await openPage(browser, rig.found[0]);
  const color = page.locator('.tile[data-camera="0"] [data-stream="color"] canvas');
  const panel = page.locator("#panel");
  const said = panel.locator(".said");
  const option = (name) => panel.locator(`[data-option="${name}"]`);
  const numberOf = (name) => option(name).locator('input[type="number"]');
  await until("pictures", async () => (await page.locator(".tile.live").count()) === 2);
  await page.keyboard.press("1");
  await page.keyboard.press("o");
  await until("options", async () => (await option("exposure").count()) === 1);
  await shoot(page, "control-1280x760");

  await t.test("an exposure changes the picture, and is reset", async () => {
    await option("auto_exposure").locator('input[type="checkbox"]').uncheck();
    const first = await until("the exposure of the device", () => numberOf("exposure").inputValue());
    const bright = await brightness(color);
    const slider = option("exposure").locator('input[type="range"]');
    const { min } = await slider.evaluate(({ min, max, step }) => ({ min, max, step }));
    await slider.fill(min);
    await until("a dark picture", async () => (await brightness(color)) < 0.6 * bright);
    await until("the number beside the slider", async () => (await numberOf("exposure").inputValue()) === min);
    const note = await option("exposure").locator(".note").textContent();
    assert.match(note, /^1 to \d+ us, step \d+, default \d+$/);
    await option("exposure").getByRole("button", { name: /^reset exposure to / }).click();
    await until("a bright picture", async () => (await brightness(color)) > 0.8 * bright);
    assert.equal(await option("exposure").locator(".reset").isVisible(), false);
    assert.equal(await said.isVisible(), false, first);
  });

  await t.test("a value out of range is refused with the range, and the device's value comes back", async () => {
    const value = await numberOf("exposure").inputValue();
    await numberOf("exposure").fill("99999999");
    await numberOf("exposure").press("Enter");
    await until("a refusal", () => said.isVisible());
    assert.match(await said.textContent(), /exposure.* is 99999999: it must be 1 to \d+/s);
    await numberOf("exposure").blur();
    await until("the value of the device", async () => (await numberOf("exposure").inputValue()) === value);
  });

  await t.test("a camera pauses and resumes", async () => {
    const state = page.locator('.tile[data-camera="0"] .state');
    const halt = panel.locator(".halt");
    await halt.click();
    await until("a paused camera", async () => (await state.textContent()) === "paused");
    await until("what the picture says", async () => /^CAMERA PAUSED no frames for \d+\.\d s$/.test((await page.locator('.tile[data-camera="0"] .lost').innerText()).replace(/\s+/g, " ")));
    await until("the other button", async () => (await halt.textContent()) === "resume camera");
    await halt.click();
    await until("pictures", () => page.locator('.tile[data-camera="0"].live').count());
    await until("the first button", async () => (await halt.textContent()) === "pause camera");
  });

  await t.test("a recording is where the page says", async () => {
    const downloads = [];
    page.on("download", (download) => downloads.push(download.url()));
    await panel.locator(".record").click();
    const row = panel.locator(".recording");
    await until("a recording", async () => (await row.locator(".what").textContent().catch(() => "")) === "recording left");
    const seconds = async () => parseFloat(await row.locator(".numbers").textContent());
    await until("ten seconds", async () => (await seconds()) >= 10);
    await shoot(page, "recording");
    await row.getByRole("button", { name: /^stop record-/ }).click();
    await until("its end", async () => (await row.locator(".what").textContent()) === "recorded left");
    const file = await row.locator(".where").textContent();
    assert.ok(file.startsWith(`${rig.folder}/left-`), file);
    await until("its size", async () =>
      (await row.locator(".numbers").textContent()).includes(`${(statSync(file).size / 1e6).toFixed(1)} MB`));
    assert.match(await row.locator(".numbers").textContent(), /^[1-9]\d\.\d s · .* · 0 dropped$/);
    const checked = execFileSync(resolve(process.env.CAMRIG ?? "target/debug/camrig"), ["recording", "verify", file]);
    assert.match(String(checked), /^left: \d+ intact framesets, /);
    assert.equal(await page.locator("#notice").isVisible(), false);
    assert.deepEqual(downloads, []);
  });

  await t.test("a snapshot is saved", async () => {
    const files = [];
    page.on("download", (download) => files.push(download.suggestedFilename()));
    await panel.locator(".snapshot").click();
    await until("two files", () => files.length === 2);
    assert.match(files.sort().join(" "), /^left-(\d{6})-color\.png left-\1-depth16\.png$/);
  });

  await t.test("all cameras are recorded, and a camera is restarted", async () => {
    await panel.locator(".restart").click();
    await until("a restart", async () => {
      const { actors } = await (await fetch(new URL("status", rig.found[0]), { headers: { authorization: `Bearer ${TOKEN}` } })).json();
      return actors[0].state === "running" && !(await said.isVisible());
    });
    await page.keyboard.press("Escape");
    assert.equal(await panel.locator("h2").textContent(), "All cameras");
    await panel.locator(".record").click();
    const row = panel.locator(".recording").first();
    await until("a recording", async () => (await row.locator(".what").textContent()) === "recording left, right");
    await row.locator(".stop").click();
    await until("its end", async () => (await row.locator(".what").textContent()) === "recorded left, right");
    await panel.getByRole("button", { name: "right …" }).click();
    assert.equal(await panel.locator("h2").textContent(), "right");
  });

  for (const [width, height] of [[800, 600], [1024, 768], [1280, 800]]) {
    await page.setViewportSize({ width, height });
    await until("no scroll bar", () => page.evaluate(() => document.documentElement.scrollHeight <= innerHeight && document.documentElement.scrollWidth <= innerWidth));
    await shoot(page, `control-${width}x${height}`);
  }
  await page.setViewportSize({ width: 390, height: 844 });
  await until("nothing is cut", () => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  const box = await panel.boundingBox();
  assert.ok(box.x >= 0 && box.x + box.width <= 390, JSON.stringify(box));
  await shoot(page, "control-390x844");
  await page.keyboard.press("l");
  await shoot(page, "control-light-390x844");
  await page.setViewportSize({ width: 1280, height: 800 });
  await shoot(page, "control-light-1280x800");
  assert.deepEqual(page.wrong.filter((text) => !/422/.test(text)), []);
  const { report } = await rig.stop();
  const changes = report.changes.filter(({ by }) => by === "page of `view`").flatMap(({ changes }) => changes);
  for (const change of [/restart camera `left`/, /add processor `record-left-/, /remove processor `record-left-/]) {
    assert.ok(changes.some((line) => change.test(line)), `${change} in ${changes}`);
  }
});

test("a page without control says so, and its API refuses", async (t) => {
  const rig = await Rig.start(`${camera("left")}${view(["left"], `token = "${TOKEN}"`)}`);
  t.after(() => rig.remove());
  const page = await openPage(browser, rig.found[0]);
  await until("a picture", () => page.locator(".tile.live").count());
  await page.keyboard.press("o");
  assert.match(await page.locator("#panel .refused").innerText(), /^This page is read-only\. .*`control = true` and a `token`\.$/);
  for (const name of [".halt", ".restart", ".record"]) assert.equal(await page.locator(`#panel ${name}`).isVisible(), false);
  const headers = { authorization: `Bearer ${TOKEN}`, "content-type": "application/json" };
  const answer = await fetch(new URL("api/restart", rig.found[0]), { method: "POST", headers, body: '{"actors":["left"]}' });
  const { error } = await answer.json();
  assert.deepEqual([answer.status, error], [403, "the topology permits no control: `view` needs the options `control = true` and `token`"]);
  assert.deepEqual(page.wrong, []);
});

test("the HTTP API is what its description says", async (t) => {
  const rig = await Rig.start(`${camera("left")}${view(["left"], CONTROL)}`);
  t.after(() => rig.remove());
  const description = JSON.parse(readFileSync(new URL("../../../camrig-http/src/openapi.json", import.meta.url)));
  const ajv = new Ajv({ strict: false });
  ajv.addSchema(description, "api");
  const fits = (content, pointer, what) => {
    const validate = ajv.getSchema(`api#${pointer}`);
    assert.ok(validate(content), `${what}: ${JSON.stringify(content)} ${ajv.errorsText(validate.errors)}`);
  };
  const escaped = (text) => text.replaceAll("~", "~0").replaceAll("/", "~1");
  const ask = async (method, path, { body, type = "application/json", ...more } = {}) => {
    const headers = { authorization: `Bearer ${TOKEN}`, ...(body && { "content-type": type }), ...more };
    const answer = await fetch(new URL(path, rig.found[0]), { method, headers, body });
    const text = await answer.text();
    return { code: answer.status, content: answer.headers.get("content-type") === "application/json" ? JSON.parse(text) : text };
  };
  const ERROR = "/components/schemas/Error";
  assert.deepEqual((await ask("GET", "/api/openapi.json")).content, description);

  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, { parameters = [], requestBody, responses }] of Object.entries(methods)) {
      const what = `${method} ${path}`;
      const query = new URLSearchParams(parameters.map(({ name, example }) => [name, example]));
      const example = requestBody?.content["application/json"].example;
      if (example) fits(example, `/paths/${escaped(path)}/${method}/requestBody/content/application~1json/schema`, what);
      const own = [method.toUpperCase(), `${path}${query.size > 0 ? `?${query}` : ""}`];
      const body = example && JSON.stringify(example);

      const foreign = await ask(...own, { body, origin: "http://elsewhere.example" });
      assert.equal(foreign.code, 403, what);
      const unknown = await ask(...own, { body, authorization: "Bearer another-secret" });
      assert.equal(unknown.code, 401, what);
      assert.equal(typeof unknown.content, "string", what);
      if (example) {
        const wrong = await ask(...own, { body: JSON.stringify({ ...example, more: 1 }) });
        assert.equal(wrong.code, 400, what);
        fits(wrong.content, ERROR, what);
        const required = description.components.schemas[requestBody.content["application/json"].schema.$ref.split("/").pop()].required;
        for (const name of required) {
          const { [name]: _, ...less } = example;
          assert.equal((await ask(...own, { body: JSON.stringify(less) })).code, 400, `${what} without ${name}`);
        }
        assert.equal((await ask(...own, { body, type: "text/plain" })).code, 415, what);
      }

      const { code, content } = await ask(...own, { body });
      if (path === "/api/preset") {
        // A synthetic camera has none.
        assert.equal(code, 422, `${what}: ${JSON.stringify(content)}`);
        fits(content, ERROR, what);
        continue;
      }
      assert.equal(code, 200, `${what}: ${JSON.stringify(content)}`);
      fits(content, `/paths/${escaped(path)}/${method}/responses/200/content/application~1json/schema`, what);
      assert.ok(responses["200"] && responses.default && responses["401"], what);
      t.diagnostic(`${what}: ${JSON.stringify(content).slice(0, 120)}`);
    }
  }

  const refused = await ask("POST", "/api/restart", { body: '{"actors":["nobody"]}' });
  assert.equal(refused.code, 422);
  fits(refused.content, ERROR, "a refusal");
  assert.equal((await ask("POST", "/api/erase", { body: "{}" })).code, 404);
  // The rig runs with the changes of a call.
  await ask("POST", "/api/set", { body: '{"actor":"left","settings":{"gain":32},"live":true}' });
  const { content } = await ask("GET", "/api/options?camera=left");
  assert.equal(content.options.find(({ name }) => name === "gain").value, 32);
});
