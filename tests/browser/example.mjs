// The page of examples/page in a browser, by both transports that browsers have.
import assert from "node:assert/strict";
import { hear, inspect, launch, LOOKS, open, tell } from "./browser.mjs";

const [, , address, server, folder] = process.argv;
const browser = await launch();
const troubles = [];
const pages = [];
for (const transport of ["websocket", "sse"]) {
  const page = await open(browser, LOOKS[2], troubles);
  await page.goto(`${address}?server=${encodeURIComponent(server)}&transport=${transport}`);
  await page.waitForFunction(() => document.getElementById("status").textContent === "connected");
  pages.push(page);
}
tell({ ready: true });
const { confirmed, gone } = await hear();
for (const [index, page] of pages.entries()) {
  await page.waitForFunction(
    (expected) => document.getElementById("confirmed").value === expected[0] && document.getElementById("gone").value === expected[1],
    [String(confirmed), String(gone)],
  );
  assert.ok((await page.locator("li.gone").count()) > 0, "what was taken back is shown as such");
  await inspect(page, folder, `example-${index}`);
}
assert.deepEqual(troubles, []);
await browser.close();
tell({ done: true });
process.exit(0);
