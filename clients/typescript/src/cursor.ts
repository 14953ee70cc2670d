import { isAfter, parsePosition } from "./position.js";

/** After so long with every frame newer than the one before, nothing older is under way, whatever the server answered. */
const QUIET = 30_000;

/**
 * How far a client has the messages of its rooms.
 *
 * A message is sent once a room, so its position is complete when a later one arrives: of a connection that breaks between two
 * rooms of one message, the second room would miss it. And a room that is joined with a past of its own receives older messages
 * among the new ones of the other rooms: until it has caught up, the position stays where that past begins.
 */
export class Cursor {
  /** Everything up to here has arrived in every room: where to resume. */
  position: string | undefined;
  /** The newest message that has arrived, in one room at least. */
  #newest: string | undefined;
  /** The message before it, of which all rooms have their frames. */
  #complete: string | undefined;
  /** Since when frames have arrived in order; `undefined` while nothing older is under way. */
  #mixedSince: number | undefined;
  /** Joins with a past that have no answer yet, and the position of the newest answer: a later frame follows the past of all. */
  #asked = 0;
  #mixedUpTo: string | undefined;
  #rooms = new Map<string, { position: string; events: Set<string> }>();
  readonly #now: () => number;

  constructor(position?: string, now: () => number = () => performance.now()) {
    this.position = this.#newest = this.#complete = position;
    this.#now = now;
  }

  /** Notes that a frame has arrived; `false` for one that this room had before. */
  take(room: string, position: string, event: string): boolean {
    const before = this.#rooms.get(room);
    const [is, was] = [parsePosition(position), parsePosition(before?.position)];
    if (before && is && was && is.epoch === was.epoch) {
      if (is.seq < was.seq || (is.seq === was.seq && before.events.has(event))) return false;
      if (is.seq === was.seq) {
        before.events.add(event);
        return true;
      }
    }
    this.#rooms.set(room, { position, events: new Set([event]) });
    return true;
  }

  /** A message has arrived, whether it is new or not. `isComplete`: in all rooms that it is in. */
  advance(position: string, isComplete: boolean): void {
    const isNewer = this.#newest === undefined || isAfter(position, this.#newest);
    if (isNewer) {
      this.#complete = isComplete ? position : this.#newest;
      this.#newest = position;
    } else if (isComplete && position === this.#newest) {
      this.#complete = position;
    }
    if (this.#mixedSince !== undefined) {
      const hasCaughtUp = this.#asked === 0 && isLater(position, this.#mixedUpTo);
      if (hasCaughtUp) this.#mixedSince = undefined;
      else if (!isNewer && position !== this.#newest) this.#mixedSince = this.#now();
      else if (this.#now() - this.#mixedSince > QUIET) this.#mixedSince = undefined;
    }
    if (this.#mixedSince === undefined && this.#complete !== undefined) this.position = this.#complete;
  }

  /** Nothing up to here will come any more. */
  lose(to: string): void {
    if (this.position === undefined || isAfter(to, this.position)) this.position = to;
    if (this.#newest === undefined || isAfter(to, this.#newest)) this.#newest = this.#complete = to;
  }

  /** The server does not know the position: what was received before it says nothing of the messages that come now. */
  reset(): void {
    this.position = undefined;
    this.restart();
    this.#rooms.clear();
  }

  /** Everything up to here has arrived in every room. */
  settle(position: string): void {
    this.#mixedSince = undefined;
    if (this.#newest === undefined || isAfter(position, this.#newest) || position === this.#newest) {
      this.position = this.#newest = this.#complete = position;
    } else if (this.position === undefined || isAfter(position, this.position)) {
      this.position = position;
    }
  }

  /** The past of a room is wanted from here on. */
  rewind(from: string): void {
    if (this.position === undefined || isAfter(this.position, from)) {
      this.position = this.#newest = this.#complete = from;
    }
  }

  /** A new connection begins at the position, and everything after it comes again, in order. */
  restart(): void {
    this.#newest = this.#complete = this.position;
    this.#mixedSince = this.#mixedUpTo = undefined;
    this.#asked = 0;
  }

  /** A join with a past is asked for: messages after the position may be under way among newer ones. */
  unsettle(): void {
    if (this.#asked === 0) this.#mixedUpTo = undefined;
    this.#asked += 1;
    if (this.position !== undefined) this.#mixedSince = this.#now();
  }

  /** That join was answered at this position of the server, which is not before that of an earlier answer; or it was refused. */
  answered(position?: string): void {
    this.#asked -= 1;
    this.#mixedUpTo = position ?? this.#mixedUpTo;
  }

  /** A room is wanted from here on, not before. */
  begin(room: string, position: string): void {
    this.#rooms.set(room, { position, events: new AllEvents() });
    if (this.position === undefined) this.settle(position);
  }

  leave(room: string): void {
    this.#rooms.delete(room);
  }
}

/** Whether `a` is a later place of the same epoch. Of different epochs none is known to be. */
function isLater(a: string | undefined, b: string | undefined): boolean {
  const [left, right] = [parsePosition(a), parsePosition(b)];
  return left !== undefined && right !== undefined && left.epoch === right.epoch && left.seq > right.seq;
}

/** The event of a position came before the room was joined, whatever its name. */
class AllEvents extends Set<string> {
  override has(): boolean {
    return true;
  }
}
