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
import { Connection, type ConnectionState, type Next } from "./connection.js";
import { Cursor } from "./cursor.js";
import { asError, Emitter } from "./emitter.js";
import { ChainflumeError } from "./errors.js";
import { EventStream } from "./event-stream.js";
import type { Joined, Link } from "./link.js";
import type { Frame, Gap, Message, MessageType } from "./messages.js";
import type { ChainflumeOptions } from "./options.js";
import { type MessagesQuery, readPages } from "./pages.js";
import { RecentFrames } from "./recent.js";
import { isRoomRefused, type Room, Rooms } from "./rooms.js";

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

/** Codes with which the server refuses a position. */
const POSITION_REFUSED = new Set(["position_ahead", "epoch_mismatch", "bad_position"]);

/** The last words of an activity. */
export type ActivityEnd = Pick<ActivityChange, "title" | "description" | "data">;

/** Follows rooms of a Chainflume server: at least once becomes once, in order, through reconnects and reorgs. */
export class ChainflumeClient {
  /** Messages by type. */
  readonly eventStream: EventStream;
  readonly #options: ChainflumeOptions;
  readonly #url: string;
  readonly #connection: Connection;
  readonly #cursor: Cursor;
  readonly #rooms = new Rooms();
  readonly #recent = new RecentFrames();
  readonly #emitter = new Emitter<ClientEvents>();

  constructor(options: ChainflumeOptions) {
    this.#options = options;
    this.#url = options.url.endsWith("/") ? options.url : `${options.url}/`;
    this.#cursor = new Cursor(options.since);
    this.#connection = this.#connect();
    this.eventStream = new EventStream((error) => this.#report(asError(error)));
    for (const room of options.rooms ?? []) {
      this.#rooms.add(room, options.since !== undefined);
      if (options.since !== undefined) this.#cursor.begin(room, options.since);
    }
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  /** Everything up to here has arrived; `undefined` before anything is known. Give it as `since` after a reload. */
  get position(): string | undefined {
    return this.#cursor.position;
  }

  /** The rooms of this client. */
  get rooms(): string[] {
    return this.#rooms.names;
  }

  /** Calls `listener` when something happens; returns the function that ends it. */
  on<E extends keyof ClientEvents>(event: E, listener: (value: ClientEvents[E]) => void): () => void {
    return this.#emitter.on(event, listener);
  }

  /** Begins to connect, and stays connected until `close()`. A client that was closed begins again where it ended. */
  connect(): this {
    this.#connection.start();
    return this;
  }

  /** Disconnects. Rooms and position stay. */
  close(): void {
    this.#connection.stop(new ChainflumeError("closed", "the client was closed"));
  }

  /**
   * Joins a room, from now on, or with what is stored since a position. Resolves when the server has answered, which may be after
   * some reconnects, and rejects when the server refuses: `forbidden`, `bad_room`.
   */
  join(name: string, since?: string): Promise<void> {
    const known = this.#rooms.get(name);
    if (known && since === undefined) return known.joined.promise;
    const room = this.#rooms.add(name, since !== undefined);
    if (since !== undefined) {
      this.#cursor.rewind(since);
      // Another room may want an older past, which brings more of this room than was asked for.
      this.#cursor.begin(name, since);
    }
    const { transport, link } = this.#connection;
    if (transport.joinsAtConnect || (since !== undefined && transport.resumesAtConnect)) this.#connection.reopen();
    else if (link) {
      // A room without a past has nothing older than the others.
      void this.#ask(link, [name], since, since !== undefined).catch((error: Error) => this.#refused([name], error));
    }
    return room.joined.promise;
  }

  /** Leaves a room. */
  leave(name: string): void {
    if (!this.#rooms.delete(name)) return;
    this.#cursor.leave(name);
    if (this.#connection.transport.joinsAtConnect) this.#connection.reopen();
    else this.#connection.link?.leave([name]);
  }

  /** Reads stored messages page by page, oldest first, up to the newest. Those after `since` that are deleted are the event `gap`. */
  messages<T extends string = MessageType>(query: MessagesQuery = {}): AsyncGenerator<Message<T>, void, void> {
    const { token, fetch: get = globalThis.fetch } = this.#options;
    return readPages({ url: this.#url, token, fetch: get }, query, (gap) => this.#emitter.emit("gap", gap));
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

  #connect(): Connection {
    const client = this;
    return new Connection(this.#url, this.#options, {
      get rooms() {
        return client.#rooms.names;
      },
      opening: () => {
        this.#cursor.restart();
        return this.position;
      },
      join: (link) => this.#joinAll(link),
      refused: (error) => this.#refused(this.rooms, error),
      frame: (frame, isComplete) => this.#receive(frame, isComplete),
      gap: (gap) => this.#lost(gap),
      settled: (position) => {
        this.#cursor.settle(position);
        this.#reportPosition();
      },
      ended: (error) => this.#ended(error),
      closed: (error) => this.#rooms.interrupt(error),
      state: (state) => this.#emitter.emit("state", state),
      error: (error) => this.#report(error),
    });
  }

  /** Joins what was joined before, and what is new. */
  async #joinAll(link: Link): Promise<void> {
    const since = this.position;
    if (this.#connection.transport.joinsAtConnect) return this.#ask(link, this.rooms, since);
    const resumed = since === undefined ? [] : this.#rooms.named(true);
    const fresh = this.rooms.filter((name) => !resumed.includes(name));
    // All rooms of the past in one question, so that their messages arrive in one order.
    if (resumed.length > 0) await this.#ask(link, resumed, since);
    if (link === this.#connection.link && fresh.length > 0) {
      await this.#ask(link, fresh, undefined).catch((error: Error) => this.#refused(fresh, error));
    }
  }

  /** Joins rooms. `mixes`: older messages may come after newer ones, as where Socket.IO joins rooms one by one. */
  async #ask(
    link: Link,
    names: string[],
    since: string | undefined,
    mixes = this.#connection.transport.name === "socket.io" && since !== undefined && names.length > 1,
  ): Promise<void> {
    let upTo: string | undefined;
    const asked = new Map(names.map((name) => [name, this.#rooms.get(name)]));
    if (mixes) this.#cursor.unsettle();
    try {
      const joined = await this.#joinFrom(link, asked, since);
      if (link !== this.#connection.link) return;
      upTo = joined.upTo ?? joined.position;
      this.#joined(asked, since, joined.position);
    } finally {
      if (mixes && link === this.#connection.link) this.#cursor.answered(upTo);
    }
    this.#reportPosition();
  }

  /** A room that was joined anew after the question is another one: the answer says nothing of its messages. */
  #joined(asked: Asked, since: string | undefined, position: string | undefined): void {
    for (const [name, room] of asked) {
      room?.joined.resolve();
      if (!room || this.#rooms.get(name) !== room) continue;
      // A room whose position the server did not know begins here too.
      const begins = since === undefined && (!room.resumes || this.position === undefined);
      if (begins && position !== undefined) this.#cursor.begin(name, position);
      room.resumes = room.isAnswered = true;
    }
  }

  /** A position that the server does not know is a gap, and the client goes on from now. */
  async #joinFrom(link: Link, asked: Asked, since: string | undefined): Promise<Joined> {
    const names = [...asked.keys()];
    const { joinsAtConnect, resumesAtConnect } = this.#connection.transport;
    try {
      return await link.join(names, since, (position) => this.#joined(asked, since, position));
    } catch (error) {
      if (since === undefined || !isPositionRefused(error) || joinsAtConnect || resumesAtConnect) throw error;
      // At once: messages below the position may come before the promise is continued.
      this.#cursor.reset();
      const joined = await link.join(names, undefined, (position) => this.#joined(asked, undefined, position));
      this.#emitter.emit("gap", { from: since, to: joined.position ?? null, reason: "ahead" });
      return joined;
    }
  }

  /** The server has refused rooms. Those that were never joined are left out; without one that was, the client is not the same. */
  #refused(names: string[], error: Error): void {
    if (!isRoomRefused(error)) {
      if (this.#connection.link) this.#connection.end({ then: "again", error });
      return;
    }
    const wasJoined = names.some((name) => this.#rooms.get(name)?.resumes);
    if (!wasJoined) this.#rooms.refuse(names, error);
    this.#report(error);
    if (wasJoined || (this.#rooms.size === 0 && this.state !== "connected")) this.#connection.stop(error);
  }

  /** A link ended. A protocol that joins or resumes as it connects has errors of rooms and positions here. */
  #ended(error: Error | undefined): Next | undefined {
    if (isPositionRefused(error) && this.position !== undefined) {
      // The next connection begins from now.
      this.#emitter.emit("gap", { from: this.position, to: null, reason: "ahead" });
      this.#cursor.reset();
      return "later";
    }
    if (!isRoomRefused(error)) return undefined;
    // Without the rooms that are new it may work as before.
    const fresh = this.#rooms.named(false);
    this.#rooms.refuse(fresh, error);
    return fresh.length === 0 || this.#rooms.size === 0 ? "never" : "now";
  }

  #receive(frame: Frame, isComplete: boolean): void {
    const only = this.#rooms.size === 1;
    const room = frame.room ?? (only ? this.rooms[0] : undefined);
    const known = frame.room === undefined ? undefined : this.#rooms.get(frame.room);
    if (frame.room !== undefined && !known) return;
    // A room that is joined again, perhaps with an older past: what is under way of the first time comes before the answer.
    if (known && !known.isAnswered && this.#connection.transport.name === "websocket") return;
    const isNew = room === undefined ? this.#recent.add(frame) : this.#cursor.take(room, frame.position, frame.event);
    if (isNew) this.eventStream.publish(room === undefined ? frame : { ...frame, room });
    const before = this.position;
    this.#cursor.advance(frame.position, isComplete || only);
    if (this.position !== before) this.#reportPosition();
  }

  #lost(gap: Gap): void {
    this.#emitter.emit("gap", gap);
    if (gap.to !== null) this.#cursor.lose(gap.to);
    this.#reportPosition();
  }

  /** What a page stores is a position, also while none is known. */
  #reportPosition(): void {
    if (this.position !== undefined) this.#emitter.emit("position", this.position);
  }

  #report(error: Error): void {
    this.#emitter.emit("error", error);
  }
}

/** The rooms of a question, as they were when it was asked. */
type Asked = Map<string, Room | undefined>;

/** Whether the server refuses a position. */
function isPositionRefused(error: unknown): boolean {
  return error instanceof ChainflumeError && POSITION_REFUSED.has(error.code);
}
