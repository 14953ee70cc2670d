// Looks at the dashboard of a server without access control while the test mines and reorganises.
import assert from "node:assert/strict";
import { hear, inspect, launch, LOOKS, open, tell } from "./browser.mjs";

const [, , url, folder] = process.argv;
const browser = await launch();
const troubles = [];
const live = (page) => page.waitForFunction(() => document.getElementById("connection").textContent === "live");

for (const { look, ...settings } of LOOKS) {
  const page = await open(browser, settings, troubles);
  await page.goto(`${url}/`);
  await live(page);
  await page.getByRole("heading", { name: "dev" }).waitFor();
  await page.getByRole("table", { name: "sources of dev" }).waitFor();
  await inspect(page, folder, `overview-${look}`);
  await page.goto(`${url}/live`);
  await live(page);
  await page.locator("#messages li").first().waitFor();
  await inspect(page, folder, `live-${look}`);
  await page.goto(`${url}/docs`);
  await page.getByRole("heading", { name: "GET /v1/stream" }).first().waitFor();
  await inspect(page, folder, `docs-${look}`);
  await page.context().close();
}

tell({ ready: "looks" });

// By keyboard alone: over the link to the content to the other page.
const page = await open(browser, LOOKS[0], troubles);
await page.goto(`${url}/`);
for (const expected of ["Skip to the content", "Overview", "Live"]) {
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), expected);
}
await page.keyboard.press("Enter");
await page.waitForURL("**/live");
await live(page);

// What a reorg takes back is shown as such.
tell({ ready: "reorg" });
await hear();
await page.locator("#messages li.retracted").first().waitFor();
await page.locator("#messages li.withdrawn").first().waitFor();
await inspect(page, folder, "live-after-a-reorg");

// Filters are in the address.
await page.getByLabel("State").selectOption("retracted");
await page.waitForURL("**/live?state=retracted");
await page.locator("#messages li.retracted").first().waitFor();
assert.equal(await page.locator("#messages li:not(.retracted)").count(), 0);
await page.getByLabel("Type").fill("erc721.*");
await page.keyboard.press("Enter");
await page.waitForURL("**/live?type=erc721.*&state=retracted");
await page.goBack();
await page.goBack();
await page.waitForURL("**/live");
assert.equal(await page.getByLabel("State").inputValue(), "");

// Filters that are applied several times at once show each message once.
await page.evaluate(() => [1, 2, 3].forEach(() => document.getElementById("filters").requestSubmit()));
await live(page);

// Rooms are written as people write lists, and a state that there is not is none.
await page.goto(`${url}/live?state=nonsense&rooms=type-erc20.transfer, type-erc20.mint`);
await page.locator("#messages li.confirmed").first().waitFor();
assert.equal(await page.getByLabel("State").inputValue(), "");
await page.goto(`${url}/live`);
await live(page);

// While it is paused nothing moves, and nothing is lost.
await page.locator("#messages li.confirmed").first().waitFor();
await page.getByRole("button", { name: "Pause" }).click();
const shown = await page.locator("#messages li").count();
tell({ ready: "mine" });
await hear();
await page.waitForFunction(() => /, [1-9]\d* wait/.test(document.getElementById("count").textContent));
assert.equal(await page.locator("#messages li").count(), shown);
await page.getByRole("button", { name: "Resume" }).click();
await page.waitForFunction((before) => document.querySelectorAll("#messages li").length > before, shown);
const numbers = (await page.locator("#messages .seq").allTextContents()).filter((text) => text.startsWith("#"));
assert.equal(new Set(numbers).size, numbers.length, `${numbers}`);

// Words of strangers are text.
const evil = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`;
const data = { seq: 1, type: evil, payload: { [evil]: evil }, metadata: { blockNumber: 1, source: evil }, timestamp: evil };
const frame = { room: "all", event: "message", position: "e.1", id: `"] ${evil}`, state: "confirmed", data };
const fact = { ...frame, id: "fact", data: { seq: 2, type: "order.shipped", payload: {}, metadata: { blockNumber: null, source: "shop" } } };
const frames = [frame, { ...frame, state: "retracted" }, fact];
const streamed = frames.map((one) => `event: message\ndata: ${JSON.stringify(one)}\n\n`).join("");
await page.route("**/v1/stream*", (route) => route.fulfill({ contentType: "text/event-stream", body: streamed }));
await page.reload();
await page.locator("#messages li.withdrawn").waitFor();
await page.getByText("of shop", { exact: true }).waitFor();
await page.getByText("message", { exact: true }).nth(1).click();
assert.equal(await page.title(), "Live · Chainflume");
assert.equal(await page.locator("main img, main script").count(), 0);
assert.ok((await page.locator("#messages li").nth(1).textContent()).includes(evil));

tell({ ready: "texts" });

// While the page is paused, what it has no room for still takes back what it shows, and the end of a credential is no message.
await page.unroute("**/v1/stream*");
const texts = (all) => all.map((one) => `event: message\ndata: ${JSON.stringify(one)}\n\n`).join("");
let body = texts([fact]);
await page.route("**/v1/stream*", (route) => route.fulfill({ contentType: "text/event-stream", body }));
await page.reload();
await page.locator("#messages li").first().waitFor();
await page.getByRole("button", { name: "Pause" }).click();
const others = Array.from({ length: 1_000 }, (_, number) => ({ ...fact, id: `other ${number}` }));
const revoked = `event: revoked\ndata: {"code":"credential_revoked"}\n\n`;
body = texts([{ ...fact, state: "retracted" }, ...others]) + revoked;
await page.waitForFunction(() => /dropped/.test(document.getElementById("count").textContent));
assert.notEqual(await page.locator("#messages li.withdrawn").count(), 0);
body = revoked;
await page.getByRole("button", { name: "Resume" }).click();
assert.doesNotMatch(await page.locator("#count").textContent(), /wait/);

// A process that reads no chain shows what the database has.
let status;
// A database that is busy is asked again.
do status = await page.evaluate(() => fetch("/v1/status").then((answer) => answer.json()));
while (!status.stored);
const other = { lease: "chain 313370", holder: "another chain's", epoch: 1, secondsLeft: 9 };
const leases = [other, ...status.stored.leases];
const alone = JSON.stringify({ ...status, daemon: null, stored: { ...status.stored, leases } });
await page.route("**/v1/status/stream", (route) => route.fulfill({ contentType: "text/event-stream", body: `event: status\ndata: ${alone}\n\n` }));
await page.goto(`${url}/`);
await page.getByText("serves only").waitFor();
await page.getByRole("table", { name: "sources of dev" }).getByRole("cell", { name: "erc721" }).waitFor();
assert.ok((await page.locator("#leases").textContent()).includes("chain 31337"));
assert.ok(!(await page.locator("#chains").textContent()).includes("another chain's"));

assert.deepEqual(troubles, []);
await browser.close();
tell({ done: true });
process.exit(0);
