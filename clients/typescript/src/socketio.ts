import { ChainflumeError } from "./errors.js";
import type { End, Events, Joined, Link, Target, Transport } from "./link.js";
import type { Gap, State } from "./messages.js";

/** An answer of the server takes no longer. */
const PATIENCE = 15_000;
const REFUSED_TOKENS = new Set(["token_expired", "token_invalid", "credential_missing", "key_unknown"]);
const LASTING = new Set(["forbidden", "origin_forbidden", "revoked", "token_revoked"]);

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

/** Socket.IO through the stock client, which the application brings along. */
export class SocketIoTransport implements Transport {
  readonly name = "socket.io";
  readonly joinsAtConnect = false;
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
      timeout: PATIENCE,
      auth: { ...(token === undefined ? {} : { token }), ...(since === undefined ? {} : { since }) },
    });
    return new IoLink(socket, events);
  }
}

class IoLink implements Link {
  readonly #socket: SocketLike;
  readonly #events: Events;
  #isOver = false;
  #expired = false;

  constructor(socket: SocketLike, events: Events) {
    [this.#socket, this.#events] = [socket, events];
    socket.on("connect", () => this.#isOver || events.open());
    socket.on("connect_error", (error: Error & { data?: { code?: string; detail?: string } }) => {
      const code = error.data?.code ?? "connect_error";
      this.#end({ then: meaning(code), error: new ChainflumeError(code, error.data?.detail ?? error.message) });
    });
    socket.on("disconnect", (reason: string) => {
      const then = this.#expired ? "token" : "again";
      this.#end({ then, error: new ChainflumeError("closed", `the connection ended: ${reason}`) });
    });
    socket.onAny((event, ...given) => this.#receive(event, given));
  }

  async join(rooms: string[]): Promise<Joined> {
    const answers = await Promise.all(rooms.map((room) => this.#ask("join", room)));
    // Rooms are joined one by one and each has caught up by itself, so the answer of the first is the earliest.
    return { position: answers[0]?.position, recovered: answers.every(({ recovered }) => recovered ?? true) };
  }

  leave(rooms: string[]): void {
    for (const room of rooms) if (!this.#isOver) this.#socket.emit("leave", room);
  }

  async refresh(): Promise<boolean> {
    return false;
  }

  close(): void {
    this.#end(undefined);
  }

  #ask(event: string, room: string): Promise<Ack> {
    return new Promise((resolve, reject) => {
      const lost = new ChainflumeError("timeout", "no answer");
      const timer = setTimeout(() => {
        reject(lost);
        this.#end({ then: "again", error: lost });
      }, PATIENCE);
      this.#socket.emit(event, room, (ack: Ack) => {
        clearTimeout(timer);
        if (ack?.ok) resolve(ack);
        else reject(new ChainflumeError(ack?.code ?? "refused", ack?.detail ?? `${room} was not joined`));
      });
    });
  }

  #receive(event: string, [data, meta]: unknown[]): void {
    if (this.#isOver) return;
    if (event === "gap") return this.#events.gap(data as Gap);
    if (event === "expired") {
      this.#expired = true;
      return;
    }
    const { id, position, state, room } = (meta ?? {}) as { id?: string; position?: string; state?: State; room?: string };
    if (id === undefined || position === undefined || state === undefined) return;
    this.#events.frame({ event, data, id, position, state, ...(room === undefined ? {} : { room }) }, false);
  }

  #end(end: End | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#socket.disconnect();
    if (end) this.#events.closed(end);
  }
}

function meaning(code: string): End["then"] {
  if (REFUSED_TOKENS.has(code)) return "token";
  return LASTING.has(code) ? "stop" : "again";
}
