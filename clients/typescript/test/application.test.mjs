import assert from "node:assert/strict";
import { test } from "node:test";
import { ChainflumeClient, ChainflumeError } from "../dist/index.js";

/** A client whose requests get these answers in turn; what it sent is in `sent`. */
function clientOf(answers, options = {}) {
  const sent = [];
  const fetch = async (url, { method, headers, body }) => {
    sent.push({ line: `${method} ${url}`, key: headers["idempotency-key"], bearer: headers.authorization, body: JSON.parse(body) });
    const answer = answers.shift();
    if (answer instanceof Error) throw answer;
    const [status, json, more = {}] = answer;
    return new Response(JSON.stringify(json), { status, headers: more });
  };
  return { client: new ChainflumeClient({ url: "http://push.example/base", fetch, ...options }), sent };
}

const problem = (code) => ({ code, detail: "what to do" });

test("each call has its route and answers what the server says", async () => {
  const activity = { eventId: "e 1", status: "completed" };
  const { client, sent } = clientOf([
    [201, { eventId: "e 1" }],
    [200, activity],
    [200, activity],
    [200, activity],
    [201, { events: [{ id: "i", seq: 7, duplicate: false }] }],
  ]);
  const begun = await client.createEvent({ userId: "7", type: "send", title: "Send" });
  assert.deepEqual(begun, { eventId: "e 1" });
  assert.deepEqual(await client.updateEvent("e 1", { status: "in_progress" }), activity);
  await client.completeEvent("e 1", { title: "Sent" });
  await client.failEvent("e 1");
  const event = { type: "order.shipped", aggregateType: "order", aggregateId: "9" };
  assert.deepEqual(await client.publish(event), [{ id: "i", seq: 7, duplicate: false }]);
  assert.deepEqual(
    sent.map(({ line }) => line.replace("http://push.example/base/", "")),
    [
      "POST v1/activities",
      "PATCH v1/activities/e%201",
      "POST v1/activities/e%201/complete",
      "POST v1/activities/e%201/fail",
      "POST v1/domain-events",
    ],
  );
  assert.deepEqual(sent.map(({ body }) => body).slice(2), [{ title: "Sent" }, {}, event]);
  assert.equal(new Set(sent.map(({ key }) => key)).size, 5, "each call has a key of its own");
});

test("a call is sent again with its key after a lost connection, a restart and a slow commit", async () => {
  const { client, sent } = clientOf([
    new TypeError("fetch failed"),
    [503, problem("unavailable"), { "retry-after": "0" }],
    [503, problem("busy"), { "retry-after": "0" }],
    [201, { eventId: "e" }],
  ]);
  await client.createEvent({ userId: "7", type: "send", title: "Send" });
  assert.equal(sent.length, 4);
  assert.equal(new Set(sent.map(({ key }) => key)).size, 1);
});

test("a page of plain HTTP, where the platform has no randomUUID, writes too", async (t) => {
  t.mock.method(crypto, "randomUUID", () => assert.fail("it is not there"));
  globalThis.isSecureContext = false;
  t.after(() => delete globalThis.isSecureContext);
  const { client, sent } = clientOf([[201, { events: [] }], [201, { events: [] }]]);
  await client.publish([]);
  await client.publish([]);
  assert.ok(sent.every(({ key }) => /^[0-9a-f]{32}$/.test(key)) && sent[0].key !== sent[1].key, `${sent.map(({ key }) => key)}`);
});

test("a lasting refusal is thrown at once with its code", async () => {
  const { client, sent } = clientOf([[409, problem("activity_final")], [422, problem("schema_violation")]]);
  const refused = (code, status) => (error) =>
    error instanceof ChainflumeError && error.code === code && error.status === status;
  await assert.rejects(client.completeEvent("e"), refused("activity_final", 409));
  await assert.rejects(client.publish([]), refused("schema_violation", 422));
  assert.equal(sent.length, 2);
  assert.throws(() => client.updateEvent("", {}), refused("update_by_id_only", undefined));
});

test("a call that stays unanswered fails with the last answer", async () => {
  const answers = Array.from({ length: 4 }, () => [503, problem("unavailable"), { "retry-after": "0" }]);
  const { client, sent } = clientOf(answers);
  await assert.rejects(client.publish([]), (error) => error.code === "unavailable");
  assert.equal(sent.length, 4);
});

test("a token that is refused is fetched anew once", async () => {
  const asked = [];
  const token = ({ refresh }) => (asked.push(refresh), refresh ? "new" : "old");
  const { client, sent } = clientOf([[401, problem("token_expired")], [201, { events: [] }]], { token });
  await client.publish([], { idempotencyKey: "mine" });
  assert.deepEqual(asked, [false, true]);
  assert.deepEqual(sent.map(({ bearer, key }) => [bearer, key]), [["Bearer old", "mine"], ["Bearer new", "mine"]]);
});

test("an aborted call is not sent again", async () => {
  const stop = new AbortController();
  const { client, sent } = clientOf([[503, problem("unavailable"), { "retry-after": "5" }]]);
  const call = client.publish([], { signal: stop.signal });
  setTimeout(() => stop.abort(), 1);
  await assert.rejects(call, (error) => error.name === "AbortError");
  assert.equal(sent.length, 1);
});
