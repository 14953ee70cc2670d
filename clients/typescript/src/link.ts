import { ChainflumeError } from "./errors.js";
import type { Frame, Gap } from "./messages.js";

/** One connection, whatever it speaks. */
export interface Link {
  /**
   * Joins rooms, from now on or from a position; rejects with a `ChainflumeError`. `answered` is called before any message that follows
   * the answer, where the protocol has an order.
   */
  join(rooms: string[], since: string | undefined, answered: (position: string | undefined) => void): Promise<Joined>;
  leave(rooms: string[]): void;
  /** Replaces the token of the open connection; `false` where the protocol cannot. */
  refresh(token: string): Promise<boolean>;
  close(): void;
}

export interface Joined {
  position: string | undefined;
  /** Where the last of the rooms was joined, if not at `position`: what comes after it follows the past of all. */
  upTo?: string | undefined;
  recovered: boolean;
}

/** What a connection reports. Nothing is reported after `closed`. */
export interface Events {
  /** Rooms can be joined. */
  open(): void;
  /** `isComplete`: no other room of this connection gets this message after this frame. */
  frame(frame: Frame, isComplete: boolean): void;
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
  /** Where the past begins is named as the connection is made, so that an older past needs another connection. */
  readonly resumesAtConnect?: boolean;
  open(target: Target, events: Events): Link;
}

/** A connection that ends once, and reports nothing after that. */
export abstract class ClosingLink implements Link {
  protected readonly events: Events;
  protected isOver = false;

  constructor(events: Events) {
    this.events = events;
  }

  abstract join(rooms: string[], since: string | undefined, answered: (position: string | undefined) => void): Promise<Joined>;
  abstract leave(rooms: string[]): void;
  abstract refresh(token: string): Promise<boolean>;
  /** Lets go of the socket or the stream. Called once. */
  protected abstract dispose(error: Error): void;

  close(): void {
    this.end(undefined);
  }

  protected end(end: End | undefined): void {
    if (this.isOver) return;
    this.isOver = true;
    this.dispose(end?.error ?? new ChainflumeError("closed", "the connection is closed"));
    if (end) this.events.closed(end);
  }

  /**
   * Asks a question whose answer takes no longer than `ANSWER_TIMEOUT`, else the connection is lost. `send` gets the functions that
   * take the answer or an error.
   */
  protected ask<A>(send: (answer: (value: A) => void, fail: (error: Error) => void) => void): Promise<A> {
    return new Promise((resolve, reject) => {
      if (this.isOver) return reject(new ChainflumeError("closed", "the connection is closed"));
      const lost = new ChainflumeError("timeout", "no answer");
      const timer = setTimeout(() => (reject(lost), this.end({ then: "again", error: lost })), ANSWER_TIMEOUT);
      send(
        (value) => (clearTimeout(timer), resolve(value)),
        (error) => (clearTimeout(timer), reject(error)),
      );
    });
  }
}

/** An answer of the server, and a connection to it, takes no longer. */
export const ANSWER_TIMEOUT = 15_000;

/** A token that expired, or was revoked, while its connection was open. */
export function endOf(event: "expired" | "revoked"): End {
  return event === "expired"
    ? { then: "token", error: new ChainflumeError("token_expired", "the token expired") }
    : { then: "stop", error: new ChainflumeError("credential_revoked", "the credential was revoked") };
}
