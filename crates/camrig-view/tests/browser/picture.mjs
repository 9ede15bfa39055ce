// README's picture, made by the program itself: node crates/camrig-view/tests/browser/picture.mjs
//
// Six synthetic cameras, one of them unplugged, and the depth under the cursor.

import { chromium } from "playwright-core";

import { Rig, until } from "./rig.mjs";

const PICTURE = new URL("../../view.png", import.meta.url).pathname;

const names = ["front", "rear", "left", "right", "top", "wrist"];
const cameras = names.map((name) => {
  const model = name === "top" || name === "wrist" ? `model = "d405", ` : "";
  const unplug = name === "wrist" ? ", unplug_at = 3.0" : "";
  return `[camera.${name}]
driver = "synthetic"
device_timeout_millis = 3600000
options = { ${model}depth = "848x480@30", color = "848x480@30"${unplug} }\n`;
});
const rig = await Rig.start(`${cameras.join("")}
[processor.view]
kind = "view"
inputs = ${JSON.stringify(names)}
options = { quality = 95 }
`);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
});
try {
  const page = await browser.newPage({ viewport: { width: 1100, height: 634 } });
  await page.goto(rig.found[0]);
  await until("NO SIGNAL", async () => /waiting/.test(await page.locator('.tile[data-camera="5"] .lost').textContent()));
  const depth = page.locator('.tile[data-camera="1"] [data-stream="depth"] canvas');
  const box = await depth.boundingBox();
  await depth.hover({ position: { x: box.width * 0.55, y: box.height * 0.75 } });
  await until("a depth", async () => await page.locator("output:visible").count());
  // Rates count from the last second: those of the first seconds are too low.
  const rates = page.locator('.tile:not([data-camera="5"]) .rate');
  await until("30 fps", async () => (await rates.allTextContents()).every((rate) => rate === "30 fps"));
  await page.screenshot({ path: PICTURE });
} finally {
  await browser.close();
  await rig.remove();
}
