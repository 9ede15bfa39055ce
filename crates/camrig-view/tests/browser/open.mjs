// Keeps a page open until stdin ends, for measurements of a rig: node crates/camrig-view/tests/browser/open.mjs URL
//
// It prints the number of messages with a frameset that the page has got, once when it is open and at the end, and the width of
// a picture on the page.

import { launch, openPage } from "./browser.mjs";

const browser = await launch();
try {
  const page = await openPage(browser, "about:blank");
  await page.addInitScript(() => {
    window.framesets = 0;
    const Plain = WebSocket;
    window.WebSocket = class extends Plain {
      constructor(url) {
        super(url);
        this.addEventListener("message", ({ data }) => (window.framesets += typeof data !== "string"));
      }
    };
  });
  // A stream of pictures does not end.
  await page.goto(process.argv[2], { waitUntil: "commit" });
  const tell = async () => {
    const width = document => document.querySelector("[data-stream] canvas, img")?.clientWidth ?? 0;
    console.log(JSON.stringify(await page.evaluate(`({ framesets: window.framesets, width: (${width})(document) })`)));
  };
  await page.waitForTimeout(1000);
  await tell();
  for await (const _ of process.stdin);
  await tell();
} finally {
  await browser.close();
}
