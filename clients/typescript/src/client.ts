import {
  type Activity,
  type ActivityChange,
  type ApplicationEvent,
  activityPath,
  type NewActivity,
  type PublishedEvent,
  write,
  type WriteOptions,
  type WriteTarget,
} from "./application.js";
import { Backoff } from "./backoff.js";
import { Cursor } from "./cursor.js";
import { ChainflumeError } from "./errors.js";
import { EventStream } from "./event-stream.js";
import type { End, Joined, Link, Transport } from "./link.js";
import type { Frame, Gap, Message, MessageType } from "./messages.js";
import type { ChainflumeOptions } from "./options.js";
import { type MessagesQuery, readPages } from "./pages.js";
import { canRefresh, getToken, refreshIn } from "./token.js";
import { transportOf } from "./transports.js";

/** `connecting` and `waiting` alternate while the server is away. `closed` is the end, by `close()` or by a lasting refusal. */
export type ConnectionState = "idle" | "connecting" | "connected" | "waiting" | "closed";

/** What a client reports beside messages. */
export interface ClientEvents {
  state: ConnectionState;
  /** Messages that cannot be had any more. */
  gap: Gap;
  /** Why a connection ended or a callback failed. The client goes on, unless its state is `closed`. */
  error: Error;
  /** Where to resume after a reload: keep the newest. */
  position: string;
}

/** Messages without a room are remembered by so many, to drop those that come again. */
const REMEMBERED = 10_000;
/** Longer waits overflow the timers of browsers. */
const LONGEST_TIMER = 2 ** 31 - 1;
/** The server wants the client to be in other rooms, or with another position. */
const POSITION_REFUSED = new Set(["position_ahead", "epoch_mismatch", "bad_position"]);

/** The server refuses a room, or a list of rooms for one of them. */
const REFUSED_ROOMS = new Set(["forbidden", "bad_room", "too_many_rooms"]);

/** The last words of an activity. */
export type ActivityEnd = Pick<ActivityChange, "title" | "description" | "data">;

interface Room {
  /** Whether its past is wanted, from the position of the client. */
  resumes: boolean;
  /** Whether the server has answered the join. */
  isAnswered: boolean;
  joined: Deferred;
}

interface Deferred {
  promise: Promise<void>;
  resolve(): void;
  reject(error: Error): void;
}

/** Follows rooms of a Chainflume server: at least once becomes once, in order, through reconnects and reorgs. */
export class ChainflumeClient {
  /** Messages by type. */
  readonly eventStream: EventStream;
  readonly #options: ChainflumeOptions;
  readonly #url: string;
  readonly #transport: Transport;
  readonly #backoff: Backoff;
  readonly #cursor: Cursor;
  readonly #rooms = new Map<string, Room>();
  readonly #listeners = new Map<string, Set<(value: any) => void>>();
  readonly #remembered = new Set<string>();
  #state: ConnectionState = "idle";
  #link: Link | undefined;
  #isOpen = false;
  #wantsFreshToken = false;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #tokenTimer: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;
  #began = 0;
  readonly #online = () => this.#state === "waiting" && this.#schedule(Math.random() * 1_000);

  constructor(options: ChainflumeOptions) {
    this.#options = options;
    this.#url = options.url.endsWith("/") ? options.url : `${options.url}/`;
    this.#transport = transportOf(options);
    this.#backoff = new Backoff(options.backoff);
    this.#cursor = new Cursor(options.since);
    this.eventStream = new EventStream((error) => this.#report(error));
    for (const room of options.rooms ?? []) {
      this.#add(room, options.since !== undefined);
      if (options.since !== undefined) this.#cursor.begin(room, options.since);
    }
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Everything up to here has arrived; `undefined` before anything is known. Give it as `since` after a reload. */
  get position(): string | undefined {
    return this.#cursor.position;
  }

  /** The rooms of this client. */
  get rooms(): string[] {
    return [...this.#rooms.keys()];
  }

  /** Calls `listener` when something happens; returns the function that ends it. */
  on<E extends keyof ClientEvents>(event: E, listener: (value: ClientEvents[E]) => void): () => void {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /** Begins to connect, and stays connected until `close()`. A client that was closed begins again where it ended. */
  connect(): this {
    if (this.#state !== "idle" && this.#state !== "closed") return this;
    globalThis.addEventListener?.("online", this.#online);
    this.#wantsFreshToken = false;
    this.#backoff.reset();
    void this.#open();
    return this;
  }

  /** Disconnects. Rooms and position stay. */
  close(): void {
    this.#stop(new ChainflumeError("closed", "the client was closed"));
  }

  /**
   * Joins a room, from now on, or with what is stored since a position. Resolves when the server has answered, which may be after
   * some reconnects, and rejects when the server refuses: `forbidden`, `bad_room`.
   */
  join(name: string, since?: string): Promise<void> {
    const known = this.#rooms.get(name);
    if (known && since === undefined) return known.joined.promise;
    const room = this.#add(name, since !== undefined);
    if (since !== undefined) {
      this.#cursor.rewind(since);
      // Another room may want an older past, which brings more of this room than was asked for.
      this.#cursor.begin(name, since);
    }
    const isNamedAtConnect = this.#transport.joinsAtConnect || (since !== undefined && this.#transport.resumesAtConnect);
    if (isNamedAtConnect) this.#reopen();
    else if (this.#isOpen) {
      // A room without a past has nothing older than the others.
      void this.#ask([name], since, since !== undefined).catch((error: Error) => this.#refused([name], error));
    }
    return room.joined.promise;
  }

  /** Leaves a room. */
  leave(name: string): void {
    if (!this.#rooms.delete(name)) return;
    this.#cursor.leave(name);
    if (this.#transport.joinsAtConnect) this.#reopen();
    else if (this.#isOpen) this.#link?.leave([name]);
  }

  /** Reads stored messages page by page, oldest first, up to the newest. Those after `since` that are deleted are the event `gap`. */
  messages<T extends string = MessageType>(query: MessagesQuery = {}): AsyncGenerator<Message<T>, void, void> {
    const { token, fetch: get = globalThis.fetch } = this.#options;
    return readPages({ url: this.#url, token, fetch: get }, query, (gap) => this.#emit("gap", gap));
  }

  /** Begins an activity of a user. Keep the `eventId`: changes are made by it alone. */
  createEvent(activity: NewActivity, options?: WriteOptions): Promise<{ eventId: string }> {
    return write(this.#target(), ["POST", "v1/activities"], activity, options);
  }

  /** Changes an activity that is not final. */
  updateEvent(eventId: string, change: ActivityChange, options?: WriteOptions): Promise<Activity> {
    return write(this.#target(), ["PATCH", activityPath(eventId)], change, options);
  }

  /** Completes an activity for good. */
  completeEvent(eventId: string, end: ActivityEnd = {}, options?: WriteOptions): Promise<Activity> {
    return write(this.#target(), ["POST", activityPath(eventId, "complete")], end, options);
  }

  /** Fails an activity for good. */
  failEvent(eventId: string, end: ActivityEnd = {}, options?: WriteOptions): Promise<Activity> {
    return write(this.#target(), ["POST", activityPath(eventId, "fail")], end, options);
  }

  /** Publishes one event of the application, or up to 500 in one transaction; resolves when they are stored. */
  async publish(events: ApplicationEvent | ApplicationEvent[], options?: WriteOptions): Promise<PublishedEvent[]> {
    const answer = await write<{ events: PublishedEvent[] }>(
      this.#target(),
      ["POST", "v1/domain-events"],
      events,
      options,
    );
    return answer.events;
  }

  #target(): WriteTarget {
    const { token, fetch: get = globalThis.fetch } = this.#options;
    return { url: this.#url, token, fetch: get };
  }

  #add(name: string, resumes: boolean): Room {
    const room = { resumes, isAnswered: false, joined: deferred() };
    this.#rooms.set(name, room);
    return room;
  }

  async #open(): Promise<void> {
    const attempt = ++this.#attempt;
    clearTimeout(this.#retry);
    this.#become("connecting");
    if (this.#transport.joinsAtConnect && this.#rooms.size === 0) return;
    let token: string | undefined;
    try {
      token = await getToken(this.#options.token, { refresh: this.#wantsFreshToken });
    } catch (error) {
      if (attempt === this.#attempt) this.#closed({ then: "again", error: asError(error) });
      return;
    }
    if (attempt !== this.#attempt) return;
    this.#began = performance.now();
    this.#cursor.restart();
    // Reports of a connection that was replaced are nobody's.
    const mine = <A extends unknown[]>(act: (...given: A) => void) => (...given: A) => {
      if (attempt === this.#attempt) act(...given);
    };
    const target = { url: this.#url, token, rooms: this.rooms, since: this.position };
    try {
      this.#link = this.#transport.open(target, {
        open: mine(() => void this.#opened(attempt, token)),
        frame: mine((frame, isComplete) => this.#receive(frame, isComplete)),
        joined: mine((names, since, position) => this.#joined(names, since, position)),
        gap: mine((gap) => this.#lost(gap)),
        settled: mine((position) => this.#settle(position)),
        latency: mine((took) => this.#options.monitor?.record("latency", took)),
        closed: mine((end) => this.#closed(end)),
      });
    } catch (error) {
      this.#closed({ then: "again", error: asError(error) });
    }
  }

  /** Joins what was joined before, and what is new. */
  async #opened(attempt: number, token: string | undefined): Promise<void> {
    this.#isOpen = true;
    const since = this.position;
    const resumed = this.rooms.filter((name) => this.#rooms.get(name)?.resumes && since !== undefined);
    const fresh = this.rooms.filter((name) => !resumed.includes(name));
    try {
      if (this.#transport.joinsAtConnect) await this.#ask(this.rooms, since);
      else {
        // All rooms of the past in one question, so that their messages arrive in one order.
        if (resumed.length > 0) await this.#ask(resumed, since);
        if (attempt === this.#attempt && fresh.length > 0) {
          await this.#ask(fresh, undefined).catch((error: Error) => this.#refused(fresh, error));
        }
      }
    } catch (error) {
      if (attempt === this.#attempt) this.#refused(this.rooms, asError(error));
      return;
    }
    if (attempt !== this.#attempt || !this.#isOpen) return;
    this.#backoff.reset();
    this.#wantsFreshToken = false;
    this.#options.monitor?.record("connect", performance.now() - this.#began);
    this.#become("connected");
    this.#renewLater(token);
  }

  /** Joins rooms. `mixes`: older messages may come after newer ones, as where Socket.IO joins rooms one by one. */
  async #ask(
    names: string[],
    since: string | undefined,
    mixes = this.#transport.name === "socket.io" && since !== undefined && names.length > 1,
  ): Promise<void> {
    const link = this.#link;
    if (!link) return;
    let upTo: string | undefined;
    if (mixes) this.#cursor.unsettle();
    try {
      const joined = await this.#joinFrom(link, names, since);
      if (link !== this.#link) return;
      upTo = joined.upTo ?? joined.position;
      this.#joined(names, since, joined.position);
    } finally {
      if (mixes && link === this.#link) this.#cursor.answered(upTo);
    }
    this.#reportPosition();
  }

  #joined(names: string[], since: string | undefined, position: string | undefined): void {
    for (const name of names) {
      const room = this.#rooms.get(name);
      if (!room) continue;
      // A room whose position the server did not know begins here too.
      const begins = since === undefined && (!room.resumes || this.position === undefined);
      if (begins && position !== undefined) this.#cursor.begin(name, position);
      room.resumes = room.isAnswered = true;
      room.joined.resolve();
    }
  }

  /** A position that the server does not know is a gap, and the client goes on from now. */
  async #joinFrom(link: Link, names: string[], since: string | undefined): Promise<Joined> {
    try {
      return await link.join(names, since);
    } catch (error) {
      if (since === undefined || !(error instanceof ChainflumeError) || !POSITION_REFUSED.has(error.code)) throw error;
      if (this.#transport.joinsAtConnect || this.#transport.resumesAtConnect) throw error;
      // At once: messages below the position may come before the promise is continued.
      this.#cursor.reset();
      const joined = await link.join(names, undefined);
      this.#emit("gap", { from: since, to: joined.position ?? null, reason: "ahead" } satisfies Gap);
      return joined;
    }
  }

  /** The server has refused rooms. Those that were never joined are left out; without one that was, the client is not the same. */
  #refused(names: string[], error: Error): void {
    const code = error instanceof ChainflumeError ? error.code : "";
    if (!REFUSED_ROOMS.has(code)) {
      if (this.#isOpen) this.#closed({ then: "again", error });
      return;
    }
    const isLasting = names.some((name) => this.#rooms.get(name)?.resumes);
    for (const name of names) {
      this.#rooms.get(name)?.joined.reject(error);
      if (!isLasting) this.#rooms.delete(name);
    }
    this.#report(error);
    if (isLasting || (this.#rooms.size === 0 && this.#state !== "connected")) this.#stop(error);
  }

  #receive(frame: Frame, isComplete: boolean): void {
    const only = this.#rooms.size === 1;
    const room = frame.room ?? (only ? this.rooms[0] : undefined);
    const known = frame.room === undefined ? undefined : this.#rooms.get(frame.room);
    if (frame.room !== undefined && !known) return;
    // A room that is joined again, perhaps with an older past: what is under way of the first time comes before the answer.
    if (known && !known.isAnswered && this.#transport.name === "websocket") return;
    const isNew = room === undefined ? this.#remember(frame) : this.#cursor.take(room, frame.position, frame.event);
    if (isNew) this.eventStream.publish(room === undefined ? frame : { ...frame, room });
    const before = this.position;
    this.#cursor.advance(frame.position, isComplete || only);
    if (this.position !== before) this.#reportPosition();
  }

  #remember(frame: Frame): boolean {
    const key = `${frame.position} ${frame.event} ${JSON.stringify(frame.data)}`;
    if (this.#remembered.has(key)) return false;
    this.#remembered.add(key);
    if (this.#remembered.size > REMEMBERED) {
      for (const oldest of this.#remembered) {
        this.#remembered.delete(oldest);
        break;
      }
    }
    return true;
  }

  #lost(gap: Gap): void {
    this.#emit("gap", gap);
    if (gap.to !== null) this.#cursor.lose(gap.to);
    this.#reportPosition();
  }

  #settle(position: string): void {
    this.#cursor.settle(position);
    this.#reportPosition();
  }

  #closed({ then, error, retryAfter }: End): void {
    this.#leaveLink();
    if (error) this.#report(error);
    const code = error instanceof ChainflumeError ? error.code : "";
    if (POSITION_REFUSED.has(code) && this.position !== undefined) {
      // A protocol that names it as it connects begins from now with the next connection.
      this.#emit("gap", { from: this.position, to: null, reason: "ahead" } satisfies Gap);
      this.#cursor.reset();
      return this.#wait(retryAfter);
    }
    if (REFUSED_ROOMS.has(code)) return this.#withoutNew(error as ChainflumeError);
    const isFirst = !this.#wantsFreshToken;
    if (then === "token" && canRefresh(this.#options.token)) {
      this.#wantsFreshToken = true;
      // A token that expired is replaced at once; one that was refused twice is not asked for in a loop.
      if (isFirst && code === "token_expired") return this.#schedule(0);
    } else if (then === "stop" || (then === "token" && isAboutToken(error))) {
      return this.#stop(error ?? new ChainflumeError("closed", "the server refused"));
    }
    this.#wait(retryAfter);
  }

  /** A protocol that joins as it connects was refused: without the rooms that are new it may work as before. */
  #withoutNew(error: ChainflumeError): void {
    const fresh = this.rooms.filter((name) => !this.#rooms.get(name)?.resumes);
    for (const name of fresh) {
      this.#rooms.get(name)?.joined.reject(error);
      this.#rooms.delete(name);
    }
    if (fresh.length === 0 || this.#rooms.size === 0) return this.#stop(error);
    this.#schedule(0);
  }

  #wait(retryAfter: number | undefined): void {
    this.#schedule(this.#backoff.next(retryAfter));
  }

  #schedule(pause: number): void {
    this.#become("waiting");
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => void this.#open(), pause);
  }

  /** Connects anew with other rooms, from where it is; rooms that are named one after the other are one connection. */
  #reopen(): void {
    if (this.#state === "idle" || this.#state === "closed") return;
    this.#leaveLink();
    this.#schedule(0);
  }

  #renewLater(token: string | undefined): void {
    const pause = canRefresh(this.#options.token) ? refreshIn(token) : undefined;
    if (pause === undefined || pause > LONGEST_TIMER) return;
    const link = this.#link;
    this.#tokenTimer = setTimeout(() => {
      this.#renew(link).catch((error: unknown) => {
        // The token that is in use may serve until it expires.
        this.#report(error);
      });
    }, Math.max(pause, 1_000));
  }

  async #renew(link: Link | undefined): Promise<void> {
    const token = await getToken(this.#options.token, { refresh: true });
    if (link === undefined || link !== this.#link || token === undefined) return;
    if (await link.refresh(token)) return this.#renewLater(token);
    // This protocol takes a token only as it connects. Nothing is lost: the next connection resumes.
    if (link === this.#link) this.#reopen();
  }

  #leaveLink(): void {
    this.#attempt++;
    this.#isOpen = false;
    clearTimeout(this.#tokenTimer);
    const link = this.#link;
    this.#link = undefined;
    link?.close();
  }

  #stop(error: Error): void {
    globalThis.removeEventListener?.("online", this.#online);
    clearTimeout(this.#retry);
    this.#leaveLink();
    if (this.#state !== "idle") this.#become("closed");
    for (const room of this.#rooms.values()) {
      room.joined.reject(error);
      // For the day when the client connects again.
      room.joined = deferred();
    }
  }

  #become(state: ConnectionState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.#emit("state", state);
  }

  /** What a page stores is a position, also while none is known. */
  #reportPosition(): void {
    if (this.position !== undefined) this.#emit("position", this.position);
  }

  #report(error: unknown): void {
    this.#emit("error", asError(error));
  }

  #emit(event: keyof ClientEvents, value: unknown): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(value);
  }
}

/** The token was refused, and another try with it would be as well. */
function isAboutToken(error: Error | undefined): boolean {
  if (!(error instanceof ChainflumeError)) return false;
  return error.status === 401 || error.code.startsWith("token_") || ["credential_missing", "key_unknown"].includes(error.code);
}

/** A promise whose rejection is no error of the process: not everybody waits for a join. */
function deferred(): Deferred {
  let [resolve, reject] = [() => {}, (_error: Error) => {}];
  const promise = new Promise<void>((...given) => ([resolve, reject] = given));
  promise.catch(() => {});
  return { promise, resolve, reject };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
