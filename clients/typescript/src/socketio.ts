import { ChainflumeError } from "./errors.js";
import { ANSWER_TIMEOUT, ClosingLink, endOf, type End, type Events, type Joined, type Link, type Target, type Transport } from "./link.js";
import type { Gap, State } from "./messages.js";

const REFUSED_TOKENS = new Set(["token_expired", "token_invalid", "credential_missing", "key_unknown"]);
const LASTING = new Set(["forbidden", "origin_forbidden", "credential_revoked"]);

/** The part of a socket of `socket.io-client` that is used. */
export interface SocketLike {
  on(event: string, listener: (...given: any[]) => void): unknown;
  onAny(listener: (event: string, ...given: any[]) => void): unknown;
  emit(event: string, ...given: unknown[]): unknown;
  disconnect(): unknown;
}

/** `io` of `socket.io-client`. */
export type Io = (url: string, options: any) => SocketLike;

interface Ack {
  ok?: boolean;
  position?: string;
  recovered?: boolean;
  code?: string;
  detail?: string;
}

/** The second argument of an event. */
interface Meta {
  id: string;
  position: string;
  state: State;
  replay?: true;
  /** Those of this client that the event is in. */
  rooms: string[];
}

/** Socket.IO through the stock client, which the application brings along. */
export class SocketIoTransport implements Transport {
  readonly name = "socket.io";
  readonly joinsAtConnect = false;
  readonly resumesAtConnect = true;
  readonly #io: Io;

  constructor(io: Io) {
    this.#io = io;
  }

  open(target: Target, events: Events): Link {
    const { token, since } = target;
    const path = new URL("socket.io/", target.url).pathname;
    // Each attempt is a socket of its own with the newest position; when to try again is decided in one place for all protocols.
    const socket = this.#io(new URL(target.url).origin, {
      path,
      forceNew: true,
      reconnection: false,
      timeout: ANSWER_TIMEOUT,
      auth: { ...(token === undefined ? {} : { token }), ...(since === undefined ? {} : { since }) },
    });
    return new IoLink(socket, events);
  }
}

class IoLink extends ClosingLink {
  readonly #socket: SocketLike;
  /** Why the server is about to disconnect. */
  #last: End | undefined;

  constructor(socket: SocketLike, events: Events) {
    super(events);
    this.#socket = socket;
    socket.on("connect", () => this.isOver || events.open());
    socket.on("connect_error", (error: Error & { data?: { code?: string; detail?: string } }) => {
      const code = error.data?.code ?? "connect_error";
      this.end({ then: meaning(code), error: new ChainflumeError(code, error.data?.detail ?? error.message) });
    });
    socket.on("disconnect", (reason: string) => {
      this.end(this.#last ?? { then: "again", error: new ChainflumeError("closed", `the connection ended: ${reason}`) });
    });
    socket.onAny((event, ...given) => this.#receive(event, given));
  }

  async join(rooms: string[]): Promise<Joined> {
    const answers = await Promise.all(rooms.map((room) => this.#emit("join", room)));
    // Rooms are joined one by one and each has caught up by itself, so the answer of the first is the earliest.
    return { position: answers[0]?.position, upTo: answers.at(-1)?.position, recovered: answers.every(({ recovered }) => recovered ?? true) };
  }

  leave(rooms: string[]): void {
    for (const room of rooms) if (!this.isOver) this.#socket.emit("leave", room);
  }

  async refresh(token: string): Promise<boolean> {
    await this.#emit("refresh", token);
    return true;
  }

  protected dispose(): void {
    this.#socket.disconnect();
  }

  #emit(event: string, argument: string): Promise<Ack> {
    return this.ask((answer, fail) => {
      this.#socket.emit(event, argument, (ack: Ack) => {
        if (ack?.ok) answer(ack);
        else fail(new ChainflumeError(ack?.code ?? "refused", ack?.detail ?? `the server refused: ${event}`));
      });
    });
  }

  #receive(event: string, [data, meta]: unknown[]): void {
    if (this.isOver) return;
    if (event === "gap") return this.events.gap(data as Gap);
    if (event === "expired" || event === "revoked") {
      this.#last = endOf(event);
      return;
    }
    const { id, position, state, replay, rooms = [undefined] } = (meta ?? {}) as Partial<Meta>;
    if (id === undefined || position === undefined || state === undefined) return;
    // One packet is the event of all these rooms; another event of the same message may be in others.
    for (const room of rooms) {
      const more = { ...(replay === undefined ? {} : { replay }), ...(room === undefined ? {} : { room }) };
      this.events.frame({ event, data, id, position, state, ...more }, false);
    }
  }
}

function meaning(code: string): End["then"] {
  if (REFUSED_TOKENS.has(code)) return "token";
  return LASTING.has(code) ? "stop" : "again";
}
