import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { ChainflumeClient } from "../dist/index.js";
import { parseEvents } from "../dist/sse-parser.js";
import { frame, quick, until } from "./fakes.mjs";

let server;
let url;
let requests = [];
/** What each request is answered with, in order. */
let script = [];
before(async () => {
  server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const address = new URL(request.url, "http://here");
    requests.push({ method: request.method, path: address.pathname, query: Object.fromEntries(address.searchParams), token: request.headers.authorization, body });
    const answer = script.shift();
    if (answer) answer(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${server.address().port}`;
});
after(() => server.close() && server.closeAllConnections());

const event = (one) => `id: ${one.position}\nevent: ${one.event}\ndata: ${JSON.stringify(one)}\n\n`;
const stream = (text, isOver) => (response) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write(text);
  if (isOver) response.end();
};
const problem = (status, code, headers = {}) => (response) => {
  response.writeHead(status, { "content-type": "application/problem+json", ...headers });
  response.end(JSON.stringify({ status, code, detail: "no" }));
};
const follow = (options) => {
  const client = new ChainflumeClient({ url, transport: "sse", backoff: quick, ...options });
  const seen = { frames: [], gaps: [], errors: [] };
  client.eventStream.subscribe("*", ({ position }) => seen.frames.push(position));
  client.on("gap", (gap) => seen.gaps.push(gap));
  client.on("error", (error) => seen.errors.push(error.code));
  return [client.connect(), seen];
};

test("events arrive whole however the bytes are cut", () => {
  const text = "retry: 7\nid: e.1\n\n:\nid: e.2\n\nid: e.3\r\nevent: moved\r\ndata: a\r\ndata: b\r\n\r\ndata:c\rdata\r\r\n";
  for (let size = 1; size <= text.length; size++) {
    const [events, pauses] = [[], []];
    const read = parseEvents((one) => events.push(one), (pause) => pauses.push(pause));
    for (let at = 0; at < text.length; at += size) read(text.slice(at, at + size));
    assert.deepEqual(pauses, [7]);
    assert.deepEqual(events, [
      { event: "message", id: "e.1", data: "" },
      { event: "message", id: "e.2", data: "" },
      { event: "moved", id: "e.3", data: "a\nb" },
      { event: "message", id: undefined, data: "c\n" },
    ]);
  }
});

test("a stream sends its token in a header and resumes where it ended", async () => {
  requests = [];
  script = [
    stream(`retry: 1\nid: e.4\n\n${event(frame("a-1", 5))}:\nid: e.9\n\n`, true),
    problem(503, "unavailable"),
    stream(`event: gap\nid: e.20\ndata: {"from":"e.9","to":"e.20","reason":"retention"}\n\n${event(frame("a-1", 21))}`),
  ];
  const [client, seen] = follow({ rooms: ["a-1", "b-1"], token: "t" });
  await until(() => seen.frames.includes("e.21"));
  client.close();
  const asked = requests.map(({ path, query, token }) => [path, query.rooms, query.since, token]);
  assert.deepEqual(asked, [
    ["/v1/stream", "a-1,b-1", undefined, "Bearer t"],
    ["/v1/stream", "a-1,b-1", "e.9", "Bearer t"],
    ["/v1/stream", "a-1,b-1", "e.9", "Bearer t"],
  ]);
  assert.deepEqual(seen.frames, ["e.5", "e.21"]);
  assert.deepEqual(seen.gaps, [{ from: "e.9", to: "e.20", reason: "retention" }]);
  assert.equal(client.position, "e.21");
});

test("a token that expires is replaced at once, and a lasting refusal ends the client", async () => {
  requests = [];
  script = [
    stream('id: e.1\n\nevent: expired\ndata: {"code":"token_expired"}\n\n', true),
    stream("id: e.1\n\n"),
    problem(403, "forbidden"),
    stream("id: e.1\n\n"),
  ];
  const [client] = follow({ rooms: ["a-1"], token: ({ refresh }) => (refresh ? "new" : "old") });
  await until(() => client.state === "connected" && requests.length === 2);
  assert.equal(requests[1].token, "Bearer new");
  await assert.rejects(client.join("user-8"), { code: "forbidden" });
  await until(() => client.state === "connected" && requests.length === 4);
  assert.deepEqual(client.rooms, ["a-1"], "the client goes on without the room that is refused");
  client.close();

  script = [problem(401, "key_unknown")];
  const [other, seen] = follow({ rooms: ["a-1"], token: "cfk_wrong" });
  await until(() => other.state === "closed");
  assert.deepEqual(seen.errors, ["key_unknown"]);
});

test("a position of another epoch is a gap, and the stream begins from now", async () => {
  requests = [];
  script = [problem(409, "epoch_mismatch"), stream("id: f.3\n\n")];
  const [client, seen] = follow({ rooms: ["a-1"], since: "e.9" });
  await until(() => client.position === "f.3");
  client.close();
  assert.equal(requests[1].query.since, undefined);
  assert.deepEqual(seen.gaps, [{ from: "e.9", to: null, reason: "ahead" }]);
});

test("a room that is joined from now on gets nothing older when another is joined with a past", async () => {
  requests = [];
  script = [
    (response) => {
      response.setHeader("chainflume-position", "e.4");
      stream("id: e.4\n\n")(response);
    },
    stream([2, 5].map((seq) => event(frame("a-1", seq))).join("") + event(frame("b-1", 6))),
  ];
  const [client, seen] = follow({ rooms: ["a-1"] });
  const positions = [];
  client.on("position", (position) => positions.push(position));
  await until(() => client.state === "connected");
  client.join("b-1", "e.1");
  await until(() => seen.frames.includes("e.6"));
  client.close();
  assert.deepEqual(seen.frames, ["e.5", "e.6"]);
  assert.ok(positions.every((position) => position !== undefined), String(positions));
});

test("an EventSource has a ticket of its own for each connection", async () => {
  requests = [];
  script = [];
  const tickets = [];
  const answer = (response) => {
    response.writeHead(201, { "content-type": "application/json" });
    tickets.push(`ticket-${tickets.length + 1}`);
    response.end(JSON.stringify({ ticket: tickets.at(-1) }));
  };
  script = [answer, answer];
  const sources = [];
  class Source extends EventTarget {
    constructor(address) {
      super();
      this.address = new URL(address);
      sources.push(this);
    }
    close() {}
    say(one) {
      this.dispatchEvent(new MessageEvent(one.event, { data: JSON.stringify(one), lastEventId: one.position }));
    }
  }
  const [client, seen] = follow({ rooms: ["a-1"], token: "t", transport: "eventsource", EventSource: Source, events: ["moved"] });
  await until(() => sources.length === 1);
  sources[0].onopen();
  sources[0].say(frame("a-1", 5, { event: "moved" }));
  sources[0].onerror();
  await until(() => sources.length === 2);
  client.close();
  assert.deepEqual(sources.map(({ address }) => address.search), ["?ticket=ticket-1", "?ticket=ticket-2"]);
  assert.deepEqual(requests.map(({ method, path, body }) => [method, path, JSON.parse(body)]), [
    ["POST", "/v1/tickets", { rooms: ["a-1"] }],
    ["POST", "/v1/tickets", { rooms: ["a-1"], since: "e.5" }],
  ]);
  assert.deepEqual(seen.frames, ["e.5"]);
});

test("pages are read to the end, with a new token where the old one is refused", async () => {
  requests = [];
  const page = (messages, next, more = {}) => (response) => {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ messages, next, position: "e.9", ...more }));
  };
  const gap = { from: "e.0", to: "e.1", reason: "retention" };
  script = [page([{ seq: 1 }], "e.1", { gap }), problem(401, "token_expired"), page([], "e.5"), page([{ seq: 9 }], "e.9"), page([], "e.9")];
  const client = new ChainflumeClient({ url, transport: "sse", token: ({ refresh }) => (refresh ? "new" : "old") });
  const [read, gaps] = [[], []];
  client.on("gap", (one) => gaps.push(one));
  for await (const { seq } of client.messages({ room: "chain-1", limit: 2 })) read.push(seq);
  assert.deepEqual([read, gaps], [[1, 9], [gap]]);
  assert.deepEqual(requests.map(({ query, token }) => `${query.since} ${token}`), [
    "undefined Bearer old", "e.1 Bearer old", "e.1 Bearer new", "e.5 Bearer old", "e.9 Bearer old",
  ]);
});
