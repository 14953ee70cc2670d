// Whatever happens to connections, each room gives what the log has of it since the join: in order, once, nothing missing.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ChainflumeClient } from "../dist/index.js";
import { WebSocketTransport } from "../dist/websocket.js";
import { turn } from "./fakes.mjs";

const ROOMS = ["a-1", "b-1", "c-1", "d-1"];
const RUNS = 60;
const STEPS = 250;

/** Numbers that are the same for the same seed. */
function generator(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** A server that keeps the promises of docs/PUSH.md and no others: what is read for a client waits, and goes over a slow wire. */
class Model {
  log = [];
  connection = undefined;
  /** By room, the position after which the client wants it. */
  floors = new Map();

  newest = () => this.log.length;

  publish(rooms) {
    this.log.push(rooms);
    const live = rooms.filter((room) => this.connection?.live.has(room));
    live.forEach((room) => this.connection.ready.push(this.frame(room, this.log.length)));
  }

  frame = (room, seq) => ({ room, event: "message", position: `e.${seq}`, id: `${seq}`, state: "confirmed", data: seq });

  accept(socket) {
    this.connection = { socket, live: new Set(), resumes: [], ready: [], wire: [] };
  }

  ask(connection, { id, op, rooms, since }) {
    const position = `e.${this.newest()}`;
    const { live, resumes, wire } = connection;
    if (op !== "ping") this.tell("asked to", op, rooms, since ?? "now");
    if (op === "ping") return wire.push({ id, ok: true, position, settled: resumes.length === 0 && connection.ready.length === 0 });
    if (op === "unsubscribe") {
      this.leave(connection, rooms);
      return wire.push({ id, ok: true });
    }
    if (since === undefined) {
      const fresh = rooms.filter((room) => !live.has(room) && !resumes.some((resume) => resume.rooms.includes(room)));
      if (resumes.length === 0) fresh.forEach((room) => live.add(room));
      else resumes.push({ rooms: fresh, after: this.newest() });
      const arrived = () => rooms.forEach((room) => this.floors.has(room) || this.floors.set(room, this.newestAt(position)));
      return wire.push({ id, ok: true, position, recovered: true, arrived });
    }
    // The other rooms wait where they are, and what waits of these comes again.
    this.leave(connection, rooms);
    connection.ready = connection.ready.filter(({ room }) => !rooms.includes(room));
    if (connection.resumes.length === 0 && live.size > 0) connection.resumes.push({ rooms: [...live], after: this.newest() });
    live.clear();
    connection.resumes.push({ rooms, after: Number(since.split(".")[1]) });
    return wire.push({ id, ok: true, position, recovered: true });
  }

  leave(connection, rooms) {
    rooms.forEach((room) => connection.live.delete(room));
    const left = connection.resumes.map(({ rooms: all, after }) => ({ rooms: all.filter((room) => !rooms.includes(room)), after }));
    connection.resumes = left.filter((resume) => resume.rooms.length > 0);
  }

  newestAt = (position) => Number(position.split(".")[1]);

  /** Reads a page of the past that is furthest behind, up to where the next one is; rooms that meet go on together. */
  read({ live, resumes, ready }) {
    resumes.sort((one, other) => one.after - other.after);
    while (resumes[1]?.after === resumes[0].after) resumes[0].rooms.push(...resumes.splice(1, 1)[0].rooms);
    const [hindmost, next] = resumes;
    if (next === undefined && hindmost.after === this.newest()) return resumes.shift().rooms.forEach((room) => live.add(room));
    for (const end = Math.min(hindmost.after + 3, next?.after ?? this.newest()); hindmost.after < end; ) {
      const seq = ++hindmost.after;
      this.log[seq - 1].filter((room) => hindmost.rooms.includes(room)).forEach((room) => ready.push(this.frame(room, seq)));
    }
  }

  /** Reads, sends or delivers something. */
  step(random) {
    const { connection } = this;
    if (!connection) return;
    const what = random(3);
    if (what === 0 && connection.resumes.length > 0) return this.read(connection);
    if (what === 1 && connection.ready.length > 0) return connection.wire.push(connection.ready.shift());
    const next = connection.wire.shift();
    if (!next) return;
    next.arrived?.();
    this.tell("sent", next.room ?? "an answer", next.position, next.settled ?? "");
    connection.socket.onmessage({ data: JSON.stringify({ ...next, arrived: undefined }) });
  }

  /** What was not sent yet is lost with the connection. */
  cut() {
    const { connection } = this;
    this.connection = undefined;
    this.tell("cut");
    connection?.socket.onclose({ code: 1006, reason: "" });
  }

  get isIdle() {
    const { wire, ready, resumes } = this.connection ?? {};
    return wire?.length === 0 && ready.length === 0 && resumes.length === 0;
  }
}

async function run(seed, context) {
  const [random, model, story] = [generator(seed), new Model(), []];
  model.tell = (...words) => story.push(words.join(" "));
  class Socket {
    constructor() {
      queueMicrotask(() => (model.accept(this), this.onopen()));
    }
    send(text) {
      if (model.connection?.socket === this) model.ask(model.connection, JSON.parse(text));
    }
    close() {
      if (model.connection?.socket === this) model.connection = undefined;
    }
  }
  const client = new ChainflumeClient({
    url: "http://push.example", transport: new WebSocketTransport(Socket, 3), rooms: ["a-1"], backoff: { min: 1, max: 1, random: () => 0 },
  });
  // Else a run that fails would never end.
  context.after(() => client.close());
  // A room that was left stays left: what is under way of it may still arrive after it is joined again.
  const joined = new Set(client.rooms);
  const got = new Map(ROOMS.map((room) => [room, []]));
  for (const room of ROOMS) client.eventStream.subscribe("*", ({ data }) => got.get(room).push(data), { room });
  client.connect();
  const someRooms = () => ROOMS.filter(() => random(3) === 0);
  for (let step = 0; step < STEPS; step++) {
    const [what, room] = [random(40), ROOMS[random(ROOMS.length)]];
    if (what < 12) model.publish(someRooms());
    else if (what === 12) model.cut();
    else if (what === 13 && (!joined.has(room) || client.rooms.includes(room))) {
      // A room that is joined goes back.
      const since = !joined.has(room) && random(2) === 0 ? undefined : random(model.newest() + 1);
      joined.add(room);
      got.set(room, []);
      model.tell("join", room, since ?? "now");
      model.floors.delete(room);
      if (since !== undefined) model.floors.set(room, since);
      client.join(room, since === undefined ? undefined : `e.${since}`);
    } else if (what === 14 && client.rooms.length > 1) {
      if (client.rooms.includes(room)) model.tell("leave", room);
      client.leave(room);
    }
    else model.step(random);
    // Time passes now and then: answers are taken, pings asked, connections made.
    if (random(4) === 0) await (random(6) === 0 ? new Promise((resolve) => setTimeout(resolve, 2)) : turn());
  }
  for (const deadline = Date.now() + 20_000; !(client.state === "connected" && model.isIdle && client.rooms.every((room) => model.floors.has(room))); ) {
    assert.ok(Date.now() < deadline, `seed ${seed}: it never comes to rest ${client.state} ${model.isIdle} ${model.connection?.wire.length} ${model.connection?.resumes.length} rooms ${client.rooms} floors ${[...model.floors.keys()]}\n${story.slice(-25).join("\n")}`);
    model.step(random);
    await turn();
  }
  const failed = `seed ${seed}`;
  for (const room of client.rooms) {
    const floor = model.floors.get(room);
    const expected = model.log.flatMap((rooms, index) => (rooms.includes(room) && index + 1 > floor ? [index + 1] : []));
    assert.deepEqual(got.get(room), expected, `${failed}: ${room} after ${floor}\n${story.join("\n")}`);
  }
  client.close();
}

test("every room gives its messages in order and once, whatever happens", async (context) => {
  const first = Number(process.env.PROPERTY_SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`PROPERTY_SEED=${first}`);
  for (let at = 0; at < RUNS; at++) await run(first + at, context);
});

test("a room that is joined anew between an answer and its continuation waits for its own answer", (context) => run(554_930_304, context));
