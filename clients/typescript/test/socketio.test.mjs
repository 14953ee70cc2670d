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
    socket.emit = (event, room, ack) => (event === "join" ? socket.joins.push({ room, ack }) : socket.left.push(room));
    socket.disconnect = () => (socket.isClosed = true);
    sockets.push(socket);
    return socket;
  };
  return { io, sockets };
}

const send = (socket, seq, room, event = "message") =>
  socket.any(event, { seq }, { id: `id-${seq}`, seq, position: `e.${seq}`, state: "confirmed", ...(room && { room }) });

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
  sockets[1].listeners.connect_error(Object.assign(new Error("no"), { data: { code: "revoked" } }));
  assert.equal(client.state, "closed");
});
