import type { Frame, Gap } from "./messages.js";

/** One connection, whatever it speaks. */
export interface Link {
  /** Joins rooms, from now on or from a position; rejects with a `ChainflumeError`. */
  join(rooms: string[], since: string | undefined): Promise<Joined>;
  leave(rooms: string[]): void;
  /** Replaces the token of the open connection; `false` where the protocol cannot. */
  refresh(token: string): Promise<boolean>;
  close(): void;
}

export interface Joined {
  position: string | undefined;
  recovered: boolean;
}

/** What a connection reports. Nothing is reported after `closed`. */
export interface Events {
  /** Rooms can be joined. */
  open(): void;
  /** `isComplete`: no other room of this connection gets this message after this frame. */
  frame(frame: Frame, isComplete: boolean): void;
  /** Rooms were joined; reported before any message that follows the answer, where the protocol has an order. */
  joined(rooms: string[], since: string | undefined, position: string | undefined): void;
  gap(gap: Gap): void;
  /** Everything up to this position has arrived. */
  settled(position: string): void;
  /** The time from a question to its answer, in milliseconds. */
  latency(milliseconds: number): void;
  closed(end: End): void;
}

/** Why a connection ended, and what to do now. */
export interface End {
  /** `again`: after a pause. `token`: with another token. `stop`: not again. */
  then: "again" | "token" | "stop";
  error?: Error;
  /** Milliseconds that the server asks to wait. */
  retryAfter?: number;
}

/** Where to connect and with what. */
export interface Target {
  url: string;
  token: string | undefined;
  /** The rooms of the client, for protocols that join as they connect. */
  rooms: string[];
  since: string | undefined;
}

/** Opens connections of one protocol. */
export interface Transport {
  readonly name: string;
  /** Rooms are named as the connection is made, so that another room needs another connection. */
  readonly joinsAtConnect: boolean;
  open(target: Target, events: Events): Link;
}
