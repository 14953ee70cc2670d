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

/** A server that keeps the promises of docs/PUSH.md and no others: pasts of rooms are read one after the other, among live messages. */
class Model {
  log = [];
  connection = undefined;
  /** By room, the position after which the client wants it. */
  floors = new Map();

  newest = () => this.log.length;

  publish(rooms) {
    this.log.push(rooms);
    const live = rooms.filter((room) => this.connection?.live.has(room));
    live.forEach((room) => this.connection.out.push(this.frame(room, this.log.length)));
  }

  frame = (room, seq) => ({ room, event: "message", position: `e.${seq}`, id: `${seq}`, state: "confirmed", data: seq });

  accept(socket) {
    this.connection = { socket, live: new Set(), resumes: [], out: [] };
  }

  ask(connection, { id, op, rooms, since }) {
    const position = `e.${this.newest()}`;
    if (op !== "ping") this.tell("asked to", op, rooms, since ?? "now");
    if (op === "ping") return connection.out.push({ id, ok: true, position, settled: connection.resumes.length === 0 });
    if (op === "unsubscribe") {
      rooms.forEach((room) => connection.live.delete(room));
      connection.resumes.forEach((resume) => (resume.rooms = resume.rooms.filter((room) => !rooms.includes(room))));
      return connection.out.push({ id, ok: true });
    }
    if (since === undefined) {
      rooms.forEach((room) => connection.live.add(room));
      const arrived = () => rooms.forEach((room) => this.floors.has(room) || this.floors.set(room, this.newestAt(position)));
      return connection.out.push({ id, ok: true, position, recovered: true, arrived });
    }
    rooms.forEach((room) => connection.live.delete(room));
    connection.resumes.push({ rooms, after: Number(since.split(".")[1]) });
    return connection.out.push({ id, ok: true, position, recovered: true });
  }

  newestAt = (position) => Number(position.split(".")[1]);

  /** Reads a page of the oldest past that is wanted, or sends the next frame. */
  step(random) {
    const { connection } = this;
    if (!connection) return;
    const [resume] = connection.resumes;
    if (resume && random(2) === 0) {
      for (const end = Math.min(resume.after + 3, this.newest()); resume.after < end; ) {
        const seq = ++resume.after;
        this.log[seq - 1].filter((room) => resume.rooms.includes(room)).forEach((room) => connection.out.push(this.frame(room, seq)));
      }
      if (resume.after === this.newest()) {
        resume.rooms.forEach((room) => connection.live.add(room));
        connection.resumes.shift();
      }
    } else {
      const next = connection.out.shift();
      next?.arrived?.();
      if (next) this.tell("sent", next.room ?? "an answer", next.position, next.settled ?? "");
      if (next) connection.socket.onmessage({ data: JSON.stringify({ ...next, arrived: undefined }) });
    }
  }

  /** What was not sent yet is lost with the connection. */
  cut() {
    const { connection } = this;
    this.connection = undefined;
    this.tell("cut");
    connection?.socket.onclose({ code: 1006, reason: "" });
  }

  get isIdle() {
    return this.connection !== undefined && this.connection.out.length === 0 && this.connection.resumes.length === 0;
  }
}

async function run(seed) {
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
    else if (what === 13 && !joined.has(room)) {
      joined.add(room);
      const since = random(2) === 0 ? undefined : random(model.newest() + 1);
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
    assert.ok(Date.now() < deadline, `seed ${seed}: it never comes to rest ${client.state} ${model.isIdle} ${model.connection?.out.length} ${model.connection?.resumes.length} rooms ${client.rooms} floors ${[...model.floors.keys()]}\n${story.slice(-25).join("\n")}`);
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

test("every room gives its messages in order and once, whatever happens", async () => {
  const first = Number(process.env.PROPERTY_SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`PROPERTY_SEED=${first}`);
  for (let at = 0; at < RUNS; at++) await run(first + at);
});
