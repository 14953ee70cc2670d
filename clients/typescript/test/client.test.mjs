import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { ChainflumeClient } from "../dist/index.js";
import { WebSocketTransport } from "../dist/websocket.js";
import { FakeSocket, frame, quick, socketAt, turn, until } from "./fakes.mjs";

let client;
let seen;
const make = (options = {}) => {
  client = new ChainflumeClient({
    url: "http://push.example/base",
    transport: "websocket",
    WebSocket: FakeSocket,
    backoff: quick,
    ...options,
  });
  seen = { frames: [], gaps: [], errors: [], states: [] };
  client.eventStream.subscribe("*", ({ room, position }) => seen.frames.push(`${room} ${position}`));
  client.on("gap", (gap) => seen.gaps.push(gap));
  client.on("error", (error) => seen.errors.push(error.code ?? error.message));
  client.on("state", (state) => seen.states.push(state));
  return client.connect();
};
beforeEach(() => (FakeSocket.all = []));
afterEach(() => client.close());

test("a client joins its rooms with its token, and comes again with its position", async () => {
  make({ rooms: ["chain-1"], token: "a.b.c" });
  const first = await socketAt(0);
  assert.equal(first.url, "ws://push.example/base/v1/ws");
  assert.deepEqual(first.protocols, ["chainflume.v1", "bearer.a.b.c"]);
  first.open();
  const { rooms, since } = await first.answer("subscribe", { position: "e.5", recovered: true });
  assert.deepEqual([rooms, since], [["chain-1"], undefined]);
  assert.equal(client.position, "e.5");
  first.say(frame("chain-1", 6));
  first.say(frame("chain-1", 9));
  assert.equal(client.position, "e.9");
  first.drop(1006);
  assert.equal(client.state, "waiting");
  const second = await socketAt(1);
  second.open();
  assert.equal((await second.answer("subscribe", { position: "e.12", recovered: true })).since, "e.9");
  for (const seq of [9, 10, 12]) second.say(frame("chain-1", seq));
  assert.deepEqual(seen.frames, ["chain-1 e.6", "chain-1 e.9", "chain-1 e.10", "chain-1 e.12"]);
  assert.deepEqual(seen.states, ["connecting", "connected", "waiting", "connecting", "connected"]);
});

test("a message is complete when it has arrived in all rooms", async () => {
  make({ rooms: ["a-1", "b-1"], since: "e.1" });
  const first = await socketAt(0);
  first.open();
  assert.deepEqual((await first.answer("subscribe", { position: "e.9" })).rooms, ["a-1", "b-1"]);
  first.say(frame("a-1", 7));
  first.say(frame("a-1", 8));
  assert.equal(client.position, "e.7", "message 8 may be in the other room too");
  first.drop(1006);
  const second = await socketAt(1);
  second.open();
  assert.equal((await second.answer("subscribe", { position: "e.9" })).since, "e.7");
  second.say(frame("a-1", 8));
  second.say(frame("b-1", 8, { event: "moved" }));
  assert.deepEqual(seen.frames, ["a-1 e.7", "a-1 e.8", "b-1 e.8"]);
});

test("a message that is in several rooms is one event to a subscription", async () => {
  make({ rooms: ["a-1", "b-1"] });
  const socket = await socketAt(0);
  socket.open();
  await socket.answer("subscribe", { position: "e.1" });
  const inB = [];
  client.eventStream.subscribe("erc20.*", (one) => inB.push(one.room), { room: "b-1" });
  socket.say(frame("a-1", 2));
  socket.say(frame("b-1", 2));
  assert.deepEqual([seen.frames, inB], [["a-1 e.2"], ["b-1"]]);
});

test("the position stays where a room joins with a past, until the server reports that all has arrived", async () => {
  make({ rooms: ["a-1"], transport: new WebSocketTransport(FakeSocket, 5) });
  const socket = await socketAt(0);
  socket.open();
  await socket.answer("subscribe", { position: "e.50" });
  const joined = client.join("b-1", "e.10");
  socket.say(frame("b-1", 12));
  assert.equal((await socket.answer("subscribe", { position: "e.51" })).since, "e.10");
  await joined;
  socket.say(frame("b-1", 20));
  socket.say(frame("a-1", 51));
  socket.say(frame("b-1", 30));
  await socket.answer("ping", { position: "e.51", settled: false });
  assert.equal(client.position, "e.10");
  await socket.answer("ping", { position: "e.51", settled: true });
  assert.equal(client.position, "e.51");
  assert.deepEqual(seen.frames, ["b-1 e.20", "a-1 e.51", "b-1 e.30"]);
});

test("a gap is reported, and the client goes on after it", async () => {
  make({ rooms: ["a-1"], since: "e.10" });
  const socket = await socketAt(0);
  socket.open();
  await socket.answer("subscribe", { position: "f.400", recovered: false });
  socket.say({ gap: { from: "e.10", to: "f.400", reason: "epoch" } });
  socket.say(frame("a-1", 401, { position: "f.401" }));
  assert.deepEqual(seen.gaps, [{ from: "e.10", to: "f.400", reason: "epoch" }]);
  assert.deepEqual([seen.frames, client.position], [["a-1 f.401"], "f.401"]);
});

test("a position that the server does not know is a gap", async () => {
  make({ rooms: ["a-1"], since: "e.10" });
  const socket = await socketAt(0);
  socket.open();
  await socket.answer("subscribe", { ok: false, code: "position_ahead", detail: "it is ahead" });
  await until(() => socket.sent.length === 1);
  const [{ id, since }] = socket.sent;
  assert.equal(since, undefined);
  // In the turn of the answer, as they may come.
  socket.say({ id, ok: true, position: "e.3" });
  socket.say(frame("a-1", 4));
  await until(() => client.state === "connected");
  assert.deepEqual(seen.gaps, [{ from: "e.10", to: "e.3", reason: "ahead" }]);
  assert.deepEqual([seen.frames, client.position], [["a-1 e.4"], "e.4"], "what comes now is below the position, and new");
});

test("joins without a past do not keep the position from advancing", async () => {
  make({ rooms: ["a-1"], since: "e.1" });
  const socket = await socketAt(0);
  socket.open();
  await socket.answer("subscribe", { position: "e.9" });
  client.join("b-1");
  await socket.answer("subscribe", { position: "e.9" });
  for (const seq of [10, 11]) socket.say(frame("a-1", seq));
  assert.equal(client.position, "e.10");
});

test("a token that expires is fetched anew, and the client comes again at once", async () => {
  const asked = [];
  make({ rooms: ["a-1"], token: ({ refresh }) => (asked.push(refresh), `token-${asked.length}`), backoff: { min: 60_000 } });
  const first = await socketAt(0);
  first.open();
  await first.answer("subscribe", { position: "e.1" });
  first.drop(4401, "token_expired");
  const second = await socketAt(1);
  assert.deepEqual(second.protocols, ["chainflume.v1", "bearer.token-2"]);
  assert.deepEqual(asked, [false, true]);
});

test("a token is replaced on the open connection before it expires", async () => {
  const jwt = (exp) => `h.${Buffer.from(JSON.stringify({ exp })).toString("base64url")}.s`;
  const soon = Math.floor(Date.now() / 1_000) + 2;
  const tokens = [jwt(soon), jwt(soon + 3_600)];
  make({ rooms: ["a-1"], token: ({ refresh }) => tokens[refresh ? 1 : 0] });
  const socket = await socketAt(0);
  socket.open();
  await socket.answer("subscribe", { position: "e.1" });
  assert.equal((await socket.answer("refresh", {})).token, tokens[1]);
  assert.equal(FakeSocket.all.length, 1);
});

test("a room that is refused is left out, and a client that was revoked stops", async () => {
  make({ rooms: ["a-1"] });
  const socket = await socketAt(0);
  socket.open();
  await socket.answer("subscribe", { position: "e.1" });
  const joined = client.join("user-8");
  await socket.answer("subscribe", { ok: false, code: "forbidden", detail: "no" });
  await assert.rejects(joined, { code: "forbidden" });
  assert.deepEqual([client.rooms, client.state], [["a-1"], "connected"]);
  socket.drop(4403, "revoked");
  assert.equal(client.state, "closed");
  await turn();
  assert.equal(FakeSocket.all.length, 1);
});

test("a client whose rooms are all refused stops and says why", async () => {
  make({ rooms: ["all"] });
  const socket = await socketAt(0);
  socket.open();
  await socket.answer("subscribe", { ok: false, code: "forbidden", detail: "no" });
  await until(() => client.state === "closed");
  assert.deepEqual(seen.errors, ["forbidden"]);
});

test("a client that was closed connects again where it ended", async () => {
  make({ rooms: ["a-1"] });
  const first = await socketAt(0);
  first.open();
  await first.answer("subscribe", { position: "e.4" });
  client.close();
  assert.deepEqual([client.state, first.closed], ["closed", true]);
  client.connect();
  const joined = client.join("a-1");
  const second = await socketAt(1);
  second.open();
  assert.equal((await second.answer("subscribe", { position: "e.9" })).since, "e.4");
  await joined;
});

test("rooms joined while the server is away are joined when it is back", async () => {
  make({ rooms: ["a-1"] });
  (await socketAt(0)).drop(1006);
  const joined = client.join("b-1");
  const socket = await socketAt(1);
  socket.open();
  assert.deepEqual((await socket.answer("subscribe", { position: "e.1" })).rooms, ["a-1", "b-1"]);
  await joined;
  socket.say(frame("b-1", 1));
  socket.say(frame("c-1", 2));
  assert.deepEqual(seen.frames, [], "neither what came before the join nor a room that was not joined");
});

test("a callback that throws harms no other", async () => {
  make({ rooms: ["a-1"] });
  client.eventStream.subscribe("message", () => {
    throw new Error("mine");
  });
  const late = [];
  const end = client.eventStream.subscribe("message", ({ position }) => late.push(position));
  const socket = await socketAt(0);
  socket.open();
  await socket.answer("subscribe", { position: "e.1" });
  socket.say(frame("a-1", 2));
  end();
  socket.say(frame("a-1", 3));
  assert.deepEqual([late, seen.errors], [["e.2"], ["mine", "mine"]]);
});

test("a ping without an answer is a lost connection", { timeout: 60_000 }, async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  make({ rooms: ["a-1"] });
  await turn();
  FakeSocket.all[0].open();
  await turn();
  const [question] = FakeSocket.all[0].sent.splice(0);
  FakeSocket.all[0].say({ id: question.id, ok: true, position: "e.1" });
  await turn();
  assert.equal(client.state, "connected");
  t.mock.timers.tick(20_000);
  assert.equal(FakeSocket.all[0].sent[0].op, "ping");
  t.mock.timers.tick(15_000);
  assert.equal(FakeSocket.all[0].closed, true);
  assert.equal(client.state, "waiting");
});

for (const [event, cause] of [
  ["error", (socket) => socket.drop(1008, "no")],
  ["state", (socket) => socket.drop(1006)],
  ["gap", (socket) => socket.say({ gap: { from: "e.1", to: "e.5", reason: "retention" } })],
]) {
  test(`a listener of ${event} may close the client`, async () => {
    make({ rooms: ["chain-1"], since: "e.1" });
    const first = await socketAt(0);
    first.open();
    await first.answer("subscribe", { position: "e.2" });
    const off = client.on(event, () => (off(), client.close()));
    cause(first);
    assert.equal(client.state, "closed");
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(client.state, "closed");
    assert.equal(FakeSocket.all.length, 1, "nothing connects again");
  });
}

test("a listener that throws is an error, and the client goes on", async () => {
  make({ rooms: ["chain-1"], since: "e.1" });
  client.on("position", (position) => {
    throw new Error(`cannot store ${position}`);
  });
  const later = [];
  client.on("position", (position) => later.push(position));
  const first = await socketAt(0);
  first.open();
  await first.answer("subscribe", { position: "e.2" });
  first.say(frame("chain-1", 6));
  assert.deepEqual(seen.frames, ["chain-1 e.6"]);
  assert.equal(client.state, "connected");
  assert.deepEqual(later.at(-1), "e.6");
  assert.ok(seen.errors.includes("cannot store e.6"), String(seen.errors));
});
