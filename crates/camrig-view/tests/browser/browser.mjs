// The browser of the tests, and its pages.

import { join } from "node:path";

import { chromium } from "playwright-core";

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    ],
  });
}

/** Opens a page of a rig. Records every request that it makes, and every error. */
export async function openPage(browser, url, size = { width: 1280, height: 760 }) {
  const context = await browser.newContext({ viewport: size, acceptDownloads: true });
  const page = await context.newPage();
  page.asked = [];
  page.wrong = [];
  page.on("request", (request) => page.asked.push(request.url()));
  page.on("websocket", (socket) => page.asked.push(socket.url()));
  page.on("pageerror", (error) => page.wrong.push(String(error)));
  page.on("console", (line) => line.type() === "error" && page.wrong.push(line.text()));
  await page.goto(url);
  return page;
}

/** Writes a picture of the page into the folder SCREENSHOTS, if there is one. */
export async function shoot(page, name) {
  if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`) });
}
