import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff, BackgroundSync, ChainflumeError, Fold, isAfter, parsePosition, PerformanceMonitor } from "../dist/index.js";
import { Cursor } from "../dist/cursor.js";
import { refreshIn } from "../dist/token.js";
import { frame, quick, until } from "./fakes.mjs";

test("pauses begin at one second, double, are spread, and are bounded", () => {
  const pauses = (random) => {
    const backoff = new Backoff({ random });
    return Array.from({ length: 7 }, () => backoff.next());
  };
  assert.deepEqual(pauses(() => 0), [1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  assert.deepEqual(pauses(() => 0.5), [1_500, 3_000, 6_000, 12_000, 22_500, 22_500, 22_500]);
  const backoff = new Backoff({ random: () => 0 });
  assert.equal(backoff.next(5_000), 5_000, "as a server asks");
  assert.equal(backoff.next(86_400_000), 60_000, "within reason");
  backoff.reset();
  assert.equal(backoff.next(), 1_000);
});

test("positions are compared within an epoch, and another epoch is later", () => {
  assert.deepEqual(parsePosition("00ff.12"), { epoch: "00ff", seq: 12 });
  for (const text of ["", "12", "e.", ".1", "e.1x", "e.1.2", null]) assert.equal(parsePosition(text), undefined);
  assert.ok(isAfter("e.10", "e.9") && !isAfter("e.9", "e.9") && isAfter("f.1", "e.9") && isAfter("e.1", undefined));
});

test("a position that waits for older messages advances after half a minute in order, though messages never pause", () => {
  let clock = 0;
  const cursor = new Cursor("e.1", () => clock);
  cursor.unsettle();
  const seen = new Set();
  for (let seq = 2; seq <= 100; seq += 1) {
    clock += 1_000;
    cursor.advance(`e.${seq}`, true);
    seen.add(cursor.position);
  }
  assert.equal(cursor.position, "e.100");
  assert.ok(seen.has("e.1") && !seen.has("e.20"), "older ones may have been under way");
});

test("a position that waits for the past of several rooms advances with the first message after all answers", () => {
  const cursor = new Cursor("e.1", () => 0);
  const positions = (...seqs) => seqs.map((seq) => (cursor.advance(`e.${seq}`, true), cursor.position));
  cursor.unsettle();
  cursor.unsettle();
  assert.deepEqual(positions(5, 9), ["e.1", "e.1"]);
  cursor.answered("e.20");
  assert.deepEqual(positions(21), ["e.1"], "one answer is missing");
  cursor.answered("e.22");
  assert.deepEqual(positions(22, 3, 22, 23), ["e.1", "e.1", "e.1", "e.23"]);
  cursor.unsettle();
  cursor.answered("f.30");
  assert.deepEqual(positions(24), ["e.23"], "places of different epochs cannot be compared");
  // A join that was refused is waited for by time.
  cursor.restart();
  cursor.unsettle();
  cursor.answered(undefined);
  assert.deepEqual(positions(25), ["e.23"]);
});

test("a token is renewed before it expires", () => {
  const jwt = (exp) => `h.${Buffer.from(JSON.stringify({ exp })).toString("base64url")}.s`;
  assert.equal(refreshIn(jwt(3_600), 0), 3_570_000);
  assert.equal(refreshIn(jwt(10), 0), 8_000);
  assert.equal(refreshIn(jwt(10), 60_000), 0);
  for (const token of [undefined, "cfk_key", "a.b.c", `h.${btoa("{}")}.s`]) assert.equal(refreshIn(token), undefined);
});

test("a fold keeps what is true", () => {
  const fold = new Fold();
  for (const seq of [1, 2, 3]) fold.apply(frame("a-1", seq));
  fold.apply(frame("a-1", 4, { id: "id-2", state: "retracted" }));
  fold.apply(frame("a-1", 5, { id: "id-1", state: "confirmed" }));
  assert.deepEqual(fold.frames.map(({ position }) => position), ["e.3", "e.5"]);
  fold.apply(frame("a-1", 6, { id: "id-3", replay: true }));
  assert.deepEqual(fold.frames.map(({ position }) => position), ["e.3", "e.5"]);
  fold.trim(1);
  assert.deepEqual(fold.frames.map(({ position }) => position), ["e.5"]);
});

test("a monitor keeps the last hundred values", async () => {
  const monitor = new PerformanceMonitor();
  for (let value = 1; value <= 150; value++) monitor.record("latency", value);
  monitor.record("latency", Number.NaN);
  const { count, last, mean, min, max, p50, p95, p99 } = monitor.statistics("latency");
  assert.deepEqual([count, last, mean, min, max, p50, p95, p99], [100, 150, 100.5, 51, 150, 100, 145, 149]);
  await assert.rejects(monitor.time("work", () => Promise.reject(new Error("no"))));
  assert.equal(monitor.report().work.count, 1);
  assert.equal(monitor.statistics("nothing"), undefined);
});

const memory = () => {
  const values = new Map();
  return { getItem: (key) => values.get(key) ?? null, setItem: (key, value) => values.set(key, value) };
};

test("a queue sends in order, and what fails stays at its head", async () => {
  const [storage, sent, tries] = [memory(), [], []];
  const sync = new BackgroundSync({
    storage,
    backoff: quick,
    send: async (item) => {
      tries.push(`${item.data} ${item.tries}`);
      if (item.data === "b" && item.tries < 2) throw new Error("away");
      sent.push(item.data);
    },
  });
  for (const data of ["a", "b", "c"]) sync.enqueue(data);
  await until(() => sent.length === 3);
  assert.deepEqual(sent, ["a", "b", "c"]);
  assert.deepEqual(tries, ["a 0", "b 0", "b 1", "b 2", "c 0"]);
  assert.deepEqual(sync.items, []);
  sync.stop();
});

test("a queue survives a page that is closed while it sends, with the same ids", async () => {
  const storage = memory();
  const hanging = new BackgroundSync({ storage, send: () => new Promise(() => {}) });
  const ids = ["a", "b"].map((data) => hanging.enqueue(data).id);
  await until(() => hanging.items.length === 2);
  hanging.stop();
  const sent = [];
  const sync = new BackgroundSync({ storage, send: async ({ id }) => sent.push(id) });
  await until(() => sync.items.length === 0);
  assert.deepEqual(sent, ids);
  sync.stop();
});

test("a request that is wrong in itself is told from one that may pass later", () => {
  const isPermanent = (status, code = "any") => new ChainflumeError(code, "what to do", status).isPermanent;
  assert.deepEqual([400, 404, 409, 413, 415, 422].map((status) => isPermanent(status)), Array(6).fill(true));
  assert.deepEqual([401, 403, 408, 429, 500, 503, undefined].map((status) => isPermanent(status)), Array(7).fill(false));
});

test("a queue waits while there is no network and drops what can never succeed", async (t) => {
  const [storage, sent, dropped, network] = [memory(), [], [], { onLine: false }];
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: network, configurable: true });
  const events = new EventTarget();
  globalThis.addEventListener = events.addEventListener.bind(events);
  globalThis.removeEventListener = events.removeEventListener.bind(events);
  t.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
    if (before) Object.defineProperty(globalThis, "navigator", before);
    else delete globalThis.navigator;
  });
  const sync = new BackgroundSync({
    storage,
    send: async ({ data }) => {
      if (data === "bad") throw new ChainflumeError("schema_violation", "it does not fit", 422);
      sent.push(data);
    },
    onDropped: ({ data }) => dropped.push(data),
  });
  sync.enqueue("bad");
  sync.enqueue("good");
  await sync.flush();
  assert.deepEqual([sent, sync.items.length], [[], 2]);
  network.onLine = true;
  events.dispatchEvent(new Event("online"));
  await until(() => sync.items.length === 0);
  assert.deepEqual([sent, dropped], [["good"], ["bad"]]);
  sync.stop();
});

test("a queue goes on where a callback or the storage throws", async (t) => {
  const [storage, sent, reported] = [memory(), [], []];
  t.mock.method(console, "error", (error) => reported.push(error.message));
  const throws = (name) => () => {
    throw new Error(name);
  };
  let full = false;
  const setItem = storage.setItem;
  storage.setItem = (key, value) => (full ? ((full = false), throws("storage")()) : setItem(key, value));
  const sync = new BackgroundSync({
    storage,
    backoff: quick,
    send: async ({ data, tries }) => {
      if (data === "bad") throw new ChainflumeError("schema_violation", "it does not fit", 422);
      if (tries === 0) throw new Error("away");
      sent.push(data);
      full = data === "first" && sent.length === 1;
    },
    onError: throws("onError"),
    onDropped: throws("onDropped"),
    onChange: throws("onChange"),
  });
  for (const data of ["first", "bad", "last"]) sync.enqueue(data);
  await until(() => sync.items.length === 0);
  // It could not be removed after it was sent the first time.
  assert.deepEqual(sent, ["first", "first", "last"]);
  assert.deepEqual([...new Set(reported)].sort(), ["onChange", "onDropped", "onError", "storage"]);
  sync.stop();
});
