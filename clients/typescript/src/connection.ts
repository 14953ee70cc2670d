import { Backoff } from "./backoff.js";
import { asError } from "./emitter.js";
import { ChainflumeError } from "./errors.js";
import type { End, Events, Link, Transport } from "./link.js";
import type { ChainflumeOptions } from "./options.js";
import { canRefresh, getToken, refreshIn } from "./token.js";
import { transportOf } from "./transports.js";

/** `connecting` and `waiting` alternate while the server is away. `closed` is the end, by `close()` or by a lasting refusal. */
export type ConnectionState = "idle" | "connecting" | "connected" | "waiting" | "closed";

/** Longer waits overflow the timers of browsers. */
const MAX_TIMER = 2 ** 31 - 1;

/** What happens after a link has ended: connect after a pause, connect at once, or connect no more. */
export type Next = "later" | "now" | "never";

/** The client of a connection. Its functions are called for the open link alone, never for one that was replaced. */
export interface ConnectionUser extends Pick<Events, "frame" | "gap" | "settled"> {
  /** The rooms of the client, for a protocol that names them as it connects. */
  readonly rooms: string[];
  /** A link is about to be opened. Returns the position from which it resumes. */
  opening(): string | undefined;
  /** Joins rooms over the open link; rejects when one is refused. */
  join(link: Link): Promise<void>;
  /** A join over the open link was refused. */
  refused(error: Error): void;
  /** A link ended by this error. Returns what happens next if the client decides it, as of an error of rooms or positions. */
  ended(error: Error | undefined): Next | undefined;
  /** The connection is closed for this reason. */
  closed(error: Error): void;
  state(state: ConnectionState): void;
  error(error: Error): void;
}

/** Keeps one link to the server: opens it, renews its token, and replaces it when it ends. */
export class Connection {
  readonly transport: Transport;
  readonly #options: ChainflumeOptions;
  readonly #url: string;
  readonly #user: ConnectionUser;
  readonly #backoff: Backoff;
  #state: ConnectionState = "idle";
  #link: Link | undefined;
  #isOpen = false;
  #wantsFreshToken = false;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #tokenTimer: ReturnType<typeof setTimeout> | undefined;
  /** Counts links, so that reports of one that was replaced are dropped. */
  #attempt = 0;
  #began = 0;
  readonly #online = () => this.#state === "waiting" && this.#schedule(Math.random() * 1_000);

  constructor(url: string, options: ChainflumeOptions, user: ConnectionUser) {
    this.transport = transportOf(options);
    this.#options = options;
    this.#url = url;
    this.#user = user;
    this.#backoff = new Backoff(options.backoff);
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** The link, while rooms can be joined over it. */
  get link(): Link | undefined {
    return this.#isOpen ? this.#link : undefined;
  }

  /** Begins to connect, and stays connected until `stop`. */
  start(): void {
    if (this.#state !== "idle" && this.#state !== "closed") return;
    globalThis.addEventListener?.("online", this.#online);
    this.#wantsFreshToken = false;
    this.#backoff.reset();
    void this.#open();
  }

  /** Disconnects for good, or until the next `start`. */
  stop(error: Error): void {
    globalThis.removeEventListener?.("online", this.#online);
    clearTimeout(this.#retry);
    this.#leave();
    if (this.#state !== "idle") this.#become("closed");
    this.#user.closed(error);
  }

  /** Connects anew with other rooms. Rooms that are named one after the other are one connection. */
  reopen(): void {
    if (this.#state === "idle" || this.#state === "closed") return;
    this.#leave();
    this.#schedule(0);
  }

  /** The link has ended, or is of no more use. */
  end({ then, error, retryAfter }: End): void {
    this.#leave();
    const attempt = this.#attempt;
    if (error) this.#user.error(error);
    const next = this.#user.ended(error) ?? this.#next(then, error);
    // A listener may have closed the client meanwhile.
    if (attempt !== this.#attempt) return;
    if (next === "never") this.stop(error ?? new ChainflumeError("closed", "the server refused"));
    else this.#schedule(next === "now" ? 0 : this.#backoff.next(retryAfter));
  }

  #next(then: End["then"], error: Error | undefined): Next {
    if (then === "stop") return "never";
    if (then === "again") return "later";
    if (!canRefresh(this.#options.token)) return isAboutToken(error) ? "never" : "later";
    const isFirst = !this.#wantsFreshToken;
    this.#wantsFreshToken = true;
    // A token that expired is replaced at once; one that was refused twice is not asked for in a loop.
    return isFirst && error instanceof ChainflumeError && error.code === "token_expired" ? "now" : "later";
  }

  async #open(): Promise<void> {
    const attempt = ++this.#attempt;
    clearTimeout(this.#retry);
    this.#become("connecting");
    if (this.transport.joinsAtConnect && this.#user.rooms.length === 0) return;
    let token: string | undefined;
    try {
      token = await getToken(this.#options.token, { refresh: this.#wantsFreshToken });
    } catch (error) {
      if (attempt === this.#attempt) this.end({ then: "again", error: asError(error) });
      return;
    }
    if (attempt !== this.#attempt) return;
    this.#began = performance.now();
    const since = this.#user.opening();
    try {
      const target = { url: this.#url, token, rooms: this.#user.rooms, since };
      this.#link = this.transport.open(target, this.#events(attempt, token));
    } catch (error) {
      this.end({ then: "again", error: asError(error) });
    }
  }

  /** What the link of an attempt reports, while it is the newest. */
  #events(attempt: number, token: string | undefined): Events {
    const newest = <A extends unknown[]>(act: (...given: A) => void) => (...given: A) => {
      if (attempt === this.#attempt) act(...given);
    };
    return {
      open: newest(() => void this.#opened(attempt, token)),
      frame: newest((frame, isComplete) => this.#user.frame(frame, isComplete)),
      gap: newest((gap) => this.#user.gap(gap)),
      settled: newest((position) => this.#user.settled(position)),
      latency: newest((took) => this.#options.monitor?.record("latency", took)),
      closed: newest((end) => this.end(end)),
    };
  }

  async #opened(attempt: number, token: string | undefined): Promise<void> {
    this.#isOpen = true;
    try {
      if (this.#link) await this.#user.join(this.#link);
    } catch (error) {
      if (attempt === this.#attempt) this.#user.refused(asError(error));
      return;
    }
    if (attempt !== this.#attempt || !this.#isOpen) return;
    this.#backoff.reset();
    this.#wantsFreshToken = false;
    this.#options.monitor?.record("connect", performance.now() - this.#began);
    this.#become("connected");
    if (attempt === this.#attempt) this.#renewLater(token);
  }

  #schedule(pause: number): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => void this.#open(), pause);
    this.#become("waiting");
  }

  #renewLater(token: string | undefined): void {
    const pause = canRefresh(this.#options.token) ? refreshIn(token) : undefined;
    if (pause === undefined || pause > MAX_TIMER) return;
    const link = this.#link;
    this.#tokenTimer = setTimeout(() => {
      this.#renew(link).catch((error: unknown) => {
        // The token that is in use may serve until it expires.
        this.#user.error(asError(error));
      });
    }, Math.max(pause, 1_000));
  }

  async #renew(link: Link | undefined): Promise<void> {
    const token = await getToken(this.#options.token, { refresh: true });
    if (link === undefined || link !== this.#link || token === undefined) return;
    if (await link.refresh(token)) return this.#renewLater(token);
    // This protocol takes a token only as it connects. Nothing is lost: the next connection resumes.
    if (link === this.#link) this.reopen();
  }

  #leave(): void {
    this.#attempt++;
    this.#isOpen = false;
    clearTimeout(this.#tokenTimer);
    const link = this.#link;
    this.#link = undefined;
    link?.close();
  }

  #become(state: ConnectionState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#user.state(state);
  }
}

/** The token was refused, and another try with it would be as well. */
function isAboutToken(error: Error | undefined): boolean {
  if (!(error instanceof ChainflumeError)) return false;
  return error.status === 401 || error.code.startsWith("token_") || ["credential_missing", "key_unknown"].includes(error.code);
}
