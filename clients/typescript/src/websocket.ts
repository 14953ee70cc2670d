import { ChainflumeError } from "./errors.js";
import { ANSWER_TIMEOUT, ClosingLink, type End, type Events, type Joined, type Link, type Target, type Transport } from "./link.js";
import type { Frame, Gap } from "./messages.js";

/** A quiet connection is asked so often whether it lives: browsers show no pings of the protocol. */
const PING_EVERY = 20_000;

type SocketClass = new (url: string, protocols?: string | string[]) => WebSocket;

interface Answer {
  id: number;
  ok: boolean;
  code?: string;
  detail?: string;
  position?: string;
  recovered?: boolean;
  settled?: boolean;
}

/** The server's own protocol, `GET /v1/ws`. */
export class WebSocketTransport implements Transport {
  readonly name = "websocket";
  readonly joinsAtConnect = false;
  readonly #class: SocketClass;
  readonly #pingEvery: number;

  constructor(socket: SocketClass, pingEvery = PING_EVERY) {
    this.#class = socket;
    this.#pingEvery = pingEvery;
  }

  open(target: Target, events: Events): Link {
    const protocols = target.token ? ["chainflume.v1", `bearer.${target.token}`] : ["chainflume.v1"];
    const url = new URL("v1/ws", target.url);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    return new SocketLink(new this.#class(url.href, protocols), events, this.#pingEvery);
  }
}

class SocketLink extends ClosingLink {
  readonly #socket: WebSocket;
  readonly #asked = new Map<number, { answer(answer: Answer): void; fail(error: Error): void }>();
  #lastId = 0;
  #joins = 0;
  #isOpen = false;
  #pings: ReturnType<typeof setInterval> | undefined;
  #opening: ReturnType<typeof setTimeout>;

  constructor(socket: WebSocket, events: Events, pingEvery: number) {
    super(events);
    this.#socket = socket;
    this.#opening = setTimeout(() => this.end({ then: "again", error: new ChainflumeError("timeout", "no connection") }), ANSWER_TIMEOUT);
    socket.onopen = () => {
      clearTimeout(this.#opening);
      this.#isOpen = true;
      this.#pings = setInterval(() => void this.#ping(), pingEvery);
      events.open();
    };
    socket.onmessage = ({ data }) => this.isOver || this.#receive(String(data));
    // Where a handshake fails, some platforms report an error without a close, and none reports the status.
    socket.onerror = () => this.#isOpen || this.end(this.#meaning(1006, ""));
    socket.onclose = ({ code, reason }) => this.end(this.#meaning(code, reason));
  }

  async join(rooms: string[], since: string | undefined, answered: (position: string | undefined) => void): Promise<Joined> {
    this.#joins += 1;
    // At once, since messages may follow in the same turn, before a promise is continued.
    const question = { op: "subscribe", rooms, ...(since === undefined ? {} : { since }) };
    const answer = await this.#ask(question, ({ position }) => answered(position));
    return { position: answer.position, recovered: answer.recovered ?? true };
  }

  leave(rooms: string[]): void {
    this.#ask({ op: "unsubscribe", rooms }).catch(() => {});
  }

  async refresh(token: string): Promise<boolean> {
    await this.#ask({ op: "refresh", token });
    return true;
  }

  async #ping(): Promise<void> {
    const [began, joins] = [performance.now(), this.#joins];
    try {
      const { position, settled } = await this.#ask({ op: "ping" });
      if (this.isOver) return;
      this.events.latency(performance.now() - began);
      // What was settled before a join says nothing of the past that the join wants.
      const isCurrent = settled === true && joins === this.#joins;
      if (isCurrent && position !== undefined) this.events.settled(position);
    } catch {
      // A ping without an answer ends the connection in #ask.
    }
  }

  #ask(question: Record<string, unknown>, answered: (answer: Answer) => void = () => {}): Promise<Answer> {
    const id = ++this.#lastId;
    return this.ask((resolve, reject) => {
      const done = () => this.#asked.delete(id);
      this.#asked.set(id, {
        answer: (answer) => {
          done();
          if (!answer.ok) return reject(new ChainflumeError(answer.code ?? "refused", answer.detail ?? "the server refused"));
          answered(answer);
          resolve(answer);
        },
        fail: (error) => (done(), reject(error)),
      });
      this.#socket.send(JSON.stringify({ id, ...question }));
    });
  }

  #receive(text: string): void {
    let frame: Partial<Answer> & Partial<Frame> & { gap?: Gap };
    try {
      frame = JSON.parse(text) as typeof frame;
    } catch {
      return this.end({ then: "again", error: new ChainflumeError("malformed", "a frame is not JSON") });
    }
    if (typeof frame.id === "number") this.#asked.get(frame.id)?.answer(frame as Answer);
    else if (frame.gap) this.events.gap(frame.gap);
    else if (frame.event !== undefined && frame.position !== undefined) this.events.frame(frame as Frame, false);
  }

  #meaning(code: number, reason: string): End {
    const error = new ChainflumeError(reason || `close_${code}`, `the connection was closed with ${code}`, code);
    if (code === 4401) return { then: "token", error };
    if (code === 4403) return { then: "stop", error };
    // Perhaps the token was refused: no browser says.
    return { then: this.#isOpen ? "again" : "token", error };
  }

  protected dispose(error: Error): void {
    clearTimeout(this.#opening);
    clearInterval(this.#pings);
    for (const asked of [...this.#asked.values()]) asked.fail(error);
    try {
      this.#socket.close();
    } catch {
      // It never opened.
    }
  }
}
