// A browser for the tests of pages, and what every page must be.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
/** As long as a slow machine needs. */
export const PATIENCE = 60_000;
/** How a page is looked at: light, dark, and as narrow as a phone. */
export const LOOKS = [
  { look: "light", colorScheme: "light", viewport: { width: 1200, height: 800 } },
  { look: "dark", colorScheme: "dark", viewport: { width: 1200, height: 800 } },
  { look: "narrow", colorScheme: "light", viewport: { width: 360, height: 740 } },
];

export async function launch() {
  const known = ["/usr/bin/chromium", "/usr/bin/google-chrome"].find((path) => existsSync(path));
  assert.ok(known, "no browser: apt-get install chromium");
  // The tests run as root in containers, where its sandbox cannot.
  return chromium.launch({ executablePath: known, args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
}

/** A page that collects what it complains of. */
export async function open(browser, settings, troubles) {
  const context = await browser.newContext(settings);
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.on("pageerror", (error) => troubles.push(String(error)));
  page.on("console", (said) => ["error", "warning"].includes(said.type()) && troubles.push(said.text()));
  return page;
}

/** Everybody can use it, nothing hangs over its edge; keeps a picture to look at. */
export async function inspect(page, folder, name) {
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${name} is ${overflow} pixels too wide`);
  const found = await page.evaluate(`(() => { ${axe}; return axe.run({ runOnly: ${JSON.stringify(RULES)} }); })()`);
  const problems = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  assert.deepEqual(problems, [], name);
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
}

/** What the test in Rust says next, a JSON value a line; `tell` answers. */
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
export const hear = async () => JSON.parse((await lines.next()).value ?? "null");
export const tell = (value) => console.log(JSON.stringify(value));
