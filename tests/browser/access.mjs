// The dashboard of a server with access control asks for a credential, and keeps it in the tab.
import assert from "node:assert/strict";
import { inspect, launch, LOOKS, open, tell } from "./browser.mjs";

const [, , url, folder, user, admin] = process.argv;
const browser = await launch();
// The browser notes each answer 401 and 403 as an error; everything else is one.
const troubles = [];
const page = await open(browser, LOOKS[2], troubles);
await page.goto(`${url}/`);
const field = page.getByLabel(/Service key or token/);
const why = page.locator("#access-why");
await field.waitFor();
assert.equal(await why.textContent(), "This server asks for a credential.");
await inspect(page, folder, "access-narrow");
// A sign that no header can have is not sent, and not kept.
await field.fill(`${admin}\u200b`);
await page.getByRole("button", { name: "Open" }).click();
await page.waitForFunction(() => document.getElementById("access-why").textContent.startsWith("A credential has"), undefined, { timeout: 5_000 });
await page.reload();
await field.waitFor({ timeout: 5_000 });
await field.fill(user);
await page.getByRole("button", { name: "Open" }).click();
await page.waitForFunction(() => document.getElementById("access-why").textContent.startsWith("This credential does not open"));
assert.equal(await page.locator("#overview").isVisible(), false);
await field.fill(admin);
await page.keyboard.press("Enter");
await page.getByRole("heading", { name: "dev" }).waitFor();
await page.getByRole("link", { name: "Live" }).click();
await page.waitForFunction(() => document.getElementById("connection").textContent === "live");
await page.locator("#messages li").first().waitFor();
assert.ok(!page.url().includes(admin), "no credential is in an address");
// A tab that begins there shows what was before it, as soon as it has a credential.
const other = await open(browser, LOOKS[2], troubles);
await other.goto(`${url}/live`);
await other.getByLabel(/Service key or token/).fill(admin);
await other.keyboard.press("Enter");
await other.locator("#messages li").first().waitFor();
assert.deepEqual(troubles.filter((trouble) => !/status of 40[13]/.test(trouble)), []);
await browser.close();
tell({ done: true });
process.exit(0);
