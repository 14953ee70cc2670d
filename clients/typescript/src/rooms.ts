import { ChainflumeError } from "./errors.js";

/** Codes with which the server refuses a room, or a list of rooms because of one of them. */
const ROOM_REFUSED = new Set(["forbidden", "bad_room", "too_many_rooms"]);

/** One room of a client. */
export interface Room {
  /** Whether messages since the position of the client are wanted, not only new ones. */
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

/** The rooms of a client, joined or to be joined. */
export class Rooms {
  readonly #rooms = new Map<string, Room>();

  get names(): string[] {
    return [...this.#rooms.keys()];
  }

  get size(): number {
    return this.#rooms.size;
  }

  get(name: string): Room | undefined {
    return this.#rooms.get(name);
  }

  /** The names of rooms that resume, or of those that begin with new messages. */
  named(resumes: boolean): string[] {
    return this.names.filter((name) => this.#rooms.get(name)?.resumes === resumes);
  }

  /** Adds a room, in place of an earlier one of the name. */
  add(name: string, resumes: boolean): Room {
    const room = { resumes, isAnswered: false, joined: deferred() };
    this.#rooms.set(name, room);
    return room;
  }

  /** Whether there was such a room. */
  delete(name: string): boolean {
    return this.#rooms.delete(name);
  }

  /** Rejects the joins of these rooms and removes the rooms. */
  refuse(names: string[], error: Error): void {
    this.#reject(names, error);
    for (const name of names) this.#rooms.delete(name);
  }

  /** Rejects the joins of all rooms. The rooms stay, for the day when the client connects again. */
  interrupt(error: Error): void {
    this.#reject(this.names, error);
    for (const room of this.#rooms.values()) room.joined = deferred();
  }

  #reject(names: string[], error: Error): void {
    for (const name of names) this.#rooms.get(name)?.joined.reject(error);
  }
}

/** Whether the server refuses a room. */
export function isRoomRefused(error: Error | undefined): error is ChainflumeError {
  return error instanceof ChainflumeError && ROOM_REFUSED.has(error.code);
}

/** A promise whose rejection is no error of the process: not each caller waits for a join. */
function deferred(): Deferred {
  let [resolve, reject] = [() => {}, (_error: Error) => {}];
  const promise = new Promise<void>((...given) => ([resolve, reject] = given));
  promise.catch(() => {});
  return { promise, resolve, reject };
}
