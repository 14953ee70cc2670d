import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { createElement } from "react";
import { act, create } from "react-test-renderer";
import { ChainflumeClient } from "../dist/index.js";
import { ChainflumeProvider, useEventData, useOptimisticAction, useQueryInvalidation, useWebSocket } from "../dist/react.js";
import { FakeSocket, frame, quick, socketAt } from "./fakes.mjs";

globalThis.IS_REACT_ACT_ENVIRONMENT = true;
beforeEach(() => (FakeSocket.all = []));

const newClient = () => new ChainflumeClient({ url: "http://push.example", transport: "websocket", WebSocket: FakeSocket, backoff: quick });

test("hooks join rooms, fold messages, and leave when the last component goes", async () => {
  const client = newClient();
  let [data, connection] = [];
  const Ticket = () => ((data = useEventData("7")), createElement("p"));
  const User = () => ((connection = useWebSocket("7", "9")), createElement("p"));
  const page = (...children) => createElement(ChainflumeProvider, { client }, ...children);
  let renderer;
  await act(async () => (renderer = create(page(createElement(Ticket, { key: "t" }), createElement(User, { key: "u" })))));
  const socket = await socketAt(0);
  await act(async () => {
    socket.open();
    const { rooms } = await socket.answer("subscribe", { position: "e.1" });
    assert.deepEqual(rooms, ["event-7", "user-9"]);
  });
  assert.equal(connection.isConnected, true);
  await act(async () => {
    socket.say(frame("event-7", 2));
    socket.say(frame("event-7", 3));
    socket.say(frame("user-9", 4));
  });
  assert.deepEqual(data.frames.map(({ position }) => position), ["e.2", "e.3"]);
  assert.equal(connection.last.room, "user-9");
  await act(async () => socket.say(frame("event-7", 5, { id: "id-3", state: "retracted" })));
  assert.deepEqual([data.latest.position, data.retracted.position], ["e.2", "e.5"]);
  await act(async () => socket.say({ gap: { from: "e.5", to: "e.8", reason: "retention" } }));
  assert.equal(data.gap.to, "e.8");

  await act(async () => renderer.update(page(createElement(User, { key: "u" }))));
  assert.deepEqual(client.rooms, ["event-7", "user-9"]);
  await act(async () => renderer.update(page()));
  assert.deepEqual(client.rooms, []);
  await act(async () => renderer.unmount());
  assert.equal(client.state, "closed");
});

test("a refused room is an error of its component", async () => {
  const client = newClient();
  let connection;
  const User = () => ((connection = useWebSocket(undefined, "8")), createElement("p"));
  let renderer;
  await act(async () => (renderer = create(createElement(ChainflumeProvider, { client }, createElement(User)))));
  const socket = await socketAt(0);
  await act(async () => {
    socket.open();
    await socket.answer("subscribe", { ok: false, code: "forbidden", detail: "no" });
  });
  assert.equal(connection.error.code, "forbidden");
  await act(async () => renderer.unmount());
});

test("what broke a connection is no error after the next one", async () => {
  const client = newClient();
  let connection;
  const User = () => ((connection = useWebSocket(undefined, "8")), createElement("p"));
  let renderer;
  await act(async () => (renderer = create(createElement(ChainflumeProvider, { client }, createElement(User)))));
  const socket = await socketAt(0);
  await act(async () => {
    socket.open();
    await socket.answer("subscribe", { position: "e.1" });
    socket.drop(1012, "restart");
  });
  assert.equal(connection.error.code, "restart");
  await act(async () => {
    const next = await socketAt(1);
    next.open();
    await next.answer("subscribe", { position: "e.2" });
  });
  assert.deepEqual([connection.isConnected, connection.error], [true, undefined]);
  await act(async () => renderer.unmount());
});

test("an action is shown at once and rolled back alone when it fails", async () => {
  const calls = [];
  const send = (n) => new Promise((resolve, reject) => calls.push({ n, resolve, reject }));
  let seen;
  const Cart = ({ tickets }) => ((seen = useOptimisticAction(tickets, { apply: (all, n) => [...all, n], send })), createElement("p"));
  let renderer;
  await act(async () => (renderer = create(createElement(Cart, { tickets: [1] }))));
  let runs;
  await act(async () => (runs = [seen.run(2), seen.run(3).catch((error) => error.message)]));
  assert.deepEqual([seen.state, seen.isPending], [[1, 2, 3], true]);
  await act(async () => {
    calls[1].reject(new Error("sold out"));
    assert.equal(await runs[1], "sold out");
  });
  assert.deepEqual([seen.state, seen.isPending, seen.error.message], [[1, 2], true, "sold out"]);
  await act(async () => {
    renderer.update(createElement(Cart, { tickets: [1, 2] }));
    calls[0].resolve();
    await runs[0];
  });
  assert.deepEqual([seen.state, seen.isPending], [[1, 2], false]);
  await act(async () => renderer.unmount());
});

test("messages invalidate the queries that they touch, and a gap all of them", async () => {
  const client = newClient();
  const invalidated = [];
  const queries = { invalidateQueries: (filters) => invalidated.push(filters?.queryKey ?? "all") };
  const List = () => {
    useWebSocket("7");
    useQueryInvalidation(queries, ({ id }) => [["ticket", id], ["tickets"]], { room: "event-7" });
    return createElement("p");
  };
  let renderer;
  await act(async () => (renderer = create(createElement(ChainflumeProvider, { client }, createElement(List)))));
  const socket = await socketAt(0);
  await act(async () => {
    socket.open();
    await socket.answer("subscribe", { position: "e.1" });
    socket.say(frame("event-7", 2));
    socket.say({ gap: { from: "e.2", to: "e.8", reason: "retention" } });
  });
  assert.deepEqual(invalidated, [["ticket", "id-2"], ["tickets"], "all"]);
  await act(async () => renderer.unmount());
});
