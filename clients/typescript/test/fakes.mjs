// A server of the tests: sockets that a test answers by hand.

/** A WebSocket whose other end is the test. */
export class FakeSocket {
  static all = [];
  sent = [];
  closed = false;
  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    FakeSocket.all.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close() {
    this.closed = true;
  }
  open() {
    this.onopen();
  }
  say(frame) {
    this.onmessage({ data: JSON.stringify(frame) });
  }
  /** Answers the oldest question that has no answer yet, of this kind. */
  async answer(op, answer) {
    await until(() => this.sent.some((question) => question.op === op));
    const index = this.sent.findIndex((question) => question.op === op);
    const [question] = this.sent.splice(index, 1);
    this.say({ id: question.id, ok: true, ...answer });
    await turn();
    return question;
  }
  drop(code, reason = "") {
    this.onclose({ code, reason });
  }
}

/** The socket with this number, when it exists. */
export async function socketAt(index) {
  await until(() => FakeSocket.all.length > index);
  return FakeSocket.all[index];
}

export async function until(condition) {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`never: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export const turn = () => new Promise((resolve) => setImmediate(resolve));

export const frame = (room, seq, more = {}) => ({
  room,
  event: "message",
  position: `e.${seq}`,
  id: `id-${seq}`,
  state: "confirmed",
  data: { seq, type: "erc20.transfer" },
  ...more,
});

/** Pauses of a millisecond, since the tests wait for facts. */
export const quick = { min: 1, max: 2 };
