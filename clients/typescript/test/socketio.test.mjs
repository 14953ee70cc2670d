import assert from "node:assert/strict";
import { test } from "node:test";
import { ChainflumeClient } from "../dist/index.js";
import { quick, turn, until } from "./fakes.mjs";

/** `io` whose other end is the test. */
function fakeIo() {
  const sockets = [];
  const io = (url, options) => {
    const socket = { url, options, listeners: {}, joins: [], left: [] };
    socket.on = (event, listener) => (socket.listeners[event] = listener);
    socket.onAny = (listener) => (socket.any = listener);
    socket.emit = (event, given, ack) => {
      if (event === "join") socket.joins.push({ room: given, ack });
      else if (event === "refresh") (socket.tokens ??= []).push({ token: given, ack });
      else socket.left.push(given);
    };
    socket.disconnect = () => (socket.isClosed = true);
    sockets.push(socket);
    return socket;
  };
  return { io, sockets };
}

const send = (socket, seq, rooms, event = "message") =>
  socket.any(event, { seq }, { id: `id-${seq}`, seq, position: `e.${seq}`, state: "confirmed", ...(rooms && { rooms }) });

test("the stock client resumes by the position in its handshake", async () => {
  const { io, sockets } = fakeIo();
  const client = new ChainflumeClient({ url: "https://push.example/base/", transport: "socket.io", io, rooms: ["a-1"], token: "t", backoff: quick });
  const seen = [];
  client.eventStream.subscribe("*", ({ room, position }) => seen.push(`${room} ${position}`));
  client.connect();
  await until(() => sockets.length === 1);
  assert.equal(sockets[0].url, "https://push.example");
  assert.equal(sockets[0].options.path, "/base/socket.io/");
  assert.deepEqual(sockets[0].options.auth, { token: "t" });
  sockets[0].listeners.connect();
  sockets[0].joins[0].ack({ ok: true, position: "e.3", recovered: true });
  await until(() => client.state === "connected");
  send(sockets[0], 4);
  sockets[0].listeners.disconnect("transport close");
  await until(() => sockets.length === 2);
  assert.deepEqual(sockets[1].options.auth, { token: "t", since: "e.4" });
  sockets[1].listeners.connect();
  sockets[1].joins[0].ack({ ok: true, position: "e.6", recovered: true });
  for (const seq of [4, 5]) send(sockets[1], seq);
  assert.deepEqual(seen, ["a-1 e.4", "a-1 e.5"]);
  client.leave("a-1");
  assert.deepEqual(sockets[1].left, ["a-1"]);
  client.close();
  assert.ok(sockets[1].isClosed);
});

test("rooms that catch up one after the other neither hide messages nor double them", async () => {
  const { io, sockets } = fakeIo();
  const client = new ChainflumeClient({ url: "https://push.example", transport: "socket.io", io, rooms: ["a-1", "b-1"], since: "e.3", backoff: quick });
  const seen = [];
  client.eventStream.subscribe("*", ({ position }) => seen.push(position));
  client.connect();
  await until(() => sockets.length === 1);
  sockets[0].listeners.connect();
  await turn();
  for (const { ack } of sockets[0].joins) ack({ ok: true, position: "e.9", recovered: true });
  await until(() => client.state === "connected");
  for (const seq of [5, 9, 4, 9]) send(sockets[0], seq);
  assert.deepEqual(seen, ["e.5", "e.9", "e.4"]);
  assert.equal(client.position, "e.3", "older messages may still be under way");
  send(sockets[0], 10);
  assert.equal(client.position, "e.9", "what follows all answers follows the past of all rooms");
  client.close();
});

test("a room with an older past is joined by another connection, which begins there", async () => {
  const { io, sockets } = fakeIo();
  const client = new ChainflumeClient({ url: "https://push.example", transport: "socket.io", io, rooms: ["a-1"], backoff: quick });
  const seen = [];
  client.eventStream.subscribe("*", ({ room, position }) => seen.push(`${room} ${position}`));
  client.connect();
  await until(() => sockets.length === 1);
  sockets[0].listeners.connect();
  sockets[0].joins[0].ack({ ok: true, position: "e.9", recovered: true });
  await until(() => client.state === "connected");
  const joined = client.join("b-1", "e.3");
  await until(() => sockets.length === 2);
  assert.ok(sockets[0].isClosed);
  assert.equal(sockets[1].options.auth.since, "e.3");
  sockets[1].listeners.connect();
  await turn();
  assert.deepEqual(sockets[1].joins.map(({ room }) => room), ["a-1", "b-1"]);
  for (const { ack } of sockets[1].joins) ack({ ok: true, position: "e.9", recovered: true });
  await joined;
  send(sockets[1], 4, ["a-1", "b-1"]);
  send(sockets[1], 10, ["a-1"]);
  assert.deepEqual(seen, ["b-1 e.4", "a-1 e.10"], "the other room had what is older");
  client.close();
});

test("messages that never pause move the position, however often rooms are joined from now on", async () => {
  const { io, sockets } = fakeIo();
  const client = new ChainflumeClient({ url: "https://push.example", transport: "socket.io", io, rooms: ["a-1"], since: "e.1", backoff: quick });
  client.connect();
  await until(() => sockets.length === 1);
  sockets[0].listeners.connect();
  sockets[0].joins[0].ack({ ok: true, position: "e.1", recovered: true });
  await until(() => client.state === "connected");
  for (const seq of [10, 20, 30]) {
    void client.join(`b-${seq}`);
    sockets[0].joins.at(-1).ack({ ok: true, position: `e.${seq}`, recovered: true });
    await turn();
    for (const next of [1, 2]) send(sockets[0], seq + next, ["a-1"]);
    assert.equal(client.position, `e.${seq + 1}`);
  }
  client.close();
});

test("a position that the server does not know is a gap, and the next connection begins from now", async () => {
  const { io, sockets } = fakeIo();
  const client = new ChainflumeClient({ url: "https://push.example", transport: "socket.io", io, rooms: ["a-1"], since: "e.50", backoff: quick });
  const [seen, gaps] = [[], []];
  client.eventStream.subscribe("*", ({ position }) => seen.push(position));
  client.on("gap", (gap) => gaps.push(gap));
  client.connect();
  await until(() => sockets.length === 1);
  sockets[0].listeners.connect();
  sockets[0].joins[0].ack({ ok: false, code: "position_ahead", detail: "it is ahead" });
  await until(() => sockets.length === 2);
  assert.deepEqual([sockets[1].options.auth, gaps], [{}, [{ from: "e.50", to: null, reason: "ahead" }]]);
  sockets[1].listeners.connect();
  sockets[1].joins[0].ack({ ok: true, position: "e.9", recovered: true });
  await until(() => client.state === "connected");
  assert.equal(client.position, "e.9", "what comes from now on is missed no more");
  send(sockets[1], 10, ["a-1"]);
  assert.deepEqual([seen, client.position], [["e.10"], "e.10"]);
  client.close();
});

test("an expired token is replaced, and a revoked one ends the client", async () => {
  const { io, sockets } = fakeIo();
  const asked = [];
  const token = ({ refresh }) => (asked.push(refresh), "t");
  const client = new ChainflumeClient({ url: "https://push.example", transport: "socket.io", io, rooms: ["a-1"], token, backoff: quick });
  client.connect();
  await until(() => sockets.length === 1);
  sockets[0].listeners.connect();
  sockets[0].joins[0].ack({ ok: true, position: "e.3" });
  sockets[0].any("expired", { code: "token_expired" });
  sockets[0].listeners.disconnect("io server disconnect");
  await until(() => sockets.length === 2);
  assert.deepEqual(asked, [false, true]);
  sockets[1].listeners.connect_error(Object.assign(new Error("no"), { data: { code: "credential_revoked" } }));
  assert.equal(client.state, "closed");
});

test("a subscription to a room gets what the server names for that room", async () => {
  const { io, sockets } = fakeIo();
  const client = new ChainflumeClient({ url: "https://push.example", transport: "socket.io", io, rooms: ["a-1", "b-1"], since: "e.1", backoff: quick });
  const seen = { all: [], a: [], b: [] };
  client.eventStream.subscribe("*", ({ position, event }) => seen.all.push(`${position} ${event}`));
  for (const room of ["a", "b"]) client.eventStream.subscribe("*", ({ position, event }) => seen[room].push(`${position} ${event}`), { room: `${room}-1` });
  client.connect();
  await until(() => sockets.length === 1);
  sockets[0].listeners.connect();
  await turn();
  for (const { ack } of sockets[0].joins) ack({ ok: true, position: "e.1", recovered: true });
  await until(() => client.state === "connected");
  send(sockets[0], 2, ["a-1"]);
  send(sockets[0], 3, ["a-1", "b-1"]);
  send(sockets[0], 4, ["b-1"], "moved");
  send(sockets[0], 4, ["a-1"], "paid");
  send(sockets[0], 4, ["a-1"], "paid");
  assert.deepEqual(seen, {
    all: ["e.2 message", "e.3 message", "e.4 moved", "e.4 paid"],
    a: ["e.2 message", "e.3 message", "e.4 paid"],
    b: ["e.3 message", "e.4 moved"],
  });
  client.close();
});

test("a client that is cut off between two events of a message gets the second", async () => {
  const { io, sockets } = fakeIo();
  const client = new ChainflumeClient({ url: "https://push.example", transport: "socket.io", io, rooms: ["a-1"], since: "e.1", backoff: quick });
  const seen = [];
  client.eventStream.subscribe("*", ({ position, room }) => seen.push(`${position} ${room}`));
  client.connect();
  await until(() => sockets.length === 1);
  sockets[0].listeners.connect();
  sockets[0].joins[0].ack({ ok: true, position: "e.1", recovered: true });
  await until(() => client.state === "connected");
  client.join("b-1").catch(() => {});
  await until(() => sockets[0].joins.length === 2);
  sockets[0].joins[1].ack({ ok: true, position: "e.1", recovered: true });
  send(sockets[0], 2, ["a-1"]);
  send(sockets[0], 3, ["a-1"], "paid");
  sockets[0].listeners.disconnect("transport close");
  await until(() => sockets.length === 2);
  assert.ok(["e.1", "e.2"].includes(sockets[1].options.auth.since), sockets[1].options.auth.since);
  sockets[1].listeners.connect();
  await turn();
  for (const { ack } of sockets[1].joins) ack({ ok: true, position: "e.3", recovered: true });
  for (const [seq, rooms, event] of [[2, ["a-1"]], [3, ["a-1"], "paid"], [3, ["b-1"], "moved"]]) send(sockets[1], seq, rooms, event);
  assert.deepEqual(seen, ["e.2 a-1", "e.3 a-1", "e.3 b-1"]);
  client.close();
});

test("a newer token replaces the old one on the open connection, and a revocation ends the client", async () => {
  const { io, sockets } = fakeIo();
  const claims = (left) => `x.${btoa(JSON.stringify({ exp: Date.now() / 1_000 + left }))}.y`;
  const tokens = [claims(1.2), claims(3_600)];
  const token = () => tokens.shift();
  const errors = [];
  const client = new ChainflumeClient({ url: "https://push.example", transport: "socket.io", io, rooms: ["a-1"], token, backoff: quick });
  client.on("error", ({ code }) => errors.push(code));
  client.connect();
  await until(() => sockets.length === 1);
  sockets[0].listeners.connect();
  sockets[0].joins[0].ack({ ok: true, position: "e.3" });
  await until(() => sockets[0].tokens?.length === 1);
  sockets[0].tokens[0].ack({ ok: true });
  await turn();
  assert.equal(sockets.length, 1, "the connection stays");
  sockets[0].any("revoked", { code: "credential_revoked" });
  sockets[0].listeners.disconnect("io server disconnect");
  assert.deepEqual([client.state, errors], ["closed", ["credential_revoked"]]);
});
