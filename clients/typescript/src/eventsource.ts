import { ChainflumeError, errorOf } from "./errors.js";
import type { End, Events, Joined, Link, Target, Transport } from "./link.js";
import type { Frame, Gap } from "./messages.js";
import { meaning } from "./sse.js";

type EventSourceClass = new (url: string) => EventSource;

/**
 * Server-sent events by the platform's own `EventSource`, which can send no header: each connection has a ticket of
 * `POST /v1/tickets`. A ticket opens one stream, and `EventSource` would ask again with the spent one, so each attempt is a new
 * `EventSource` of this client.
 */
export class EventSourceTransport implements Transport {
  readonly name = "eventsource";
  readonly joinsAtConnect = true;
  readonly #class: EventSourceClass;
  readonly #fetch: typeof fetch;
  /** Names of push events: an `EventSource` delivers only those that it was asked for. */
  readonly #names: readonly string[];

  constructor(source: EventSourceClass, fetcher: typeof fetch, names: readonly string[]) {
    [this.#class, this.#fetch] = [source, (...given) => fetcher(...given)];
    this.#names = [...new Set(["message", "balance-updated", "activity", "notification", ...names])];
  }

  open(target: Target, events: Events): Link {
    return new SourceLink(target, events, (ticket) => this.#listen(target, ticket), this.#fetch, this.#names);
  }

  #listen({ url, rooms, since }: Target, ticket: string | undefined): EventSource {
    const address = new URL("v1/stream", url);
    if (ticket !== undefined) address.searchParams.set("ticket", ticket);
    else {
      address.searchParams.set("rooms", rooms.join(","));
      if (since !== undefined) address.searchParams.set("since", since);
    }
    return new this.#class(address.href);
  }
}

class SourceLink implements Link {
  readonly #events: Events;
  #source: EventSource | undefined;
  #isOver = false;
  readonly #joined: Promise<Joined>;

  constructor(
    target: Target,
    events: Events,
    listen: (ticket: string | undefined) => EventSource,
    fetcher: typeof fetch,
    names: readonly string[],
  ) {
    this.#events = events;
    this.#joined = this.#open(target, listen, fetcher, names);
    this.#joined.catch((error: Error) => this.#end(meaning(error)));
  }

  join(): Promise<Joined> {
    return this.#joined;
  }

  leave(): void {}

  async refresh(): Promise<boolean> {
    return false;
  }

  close(): void {
    this.#end(undefined);
  }

  async #open(
    target: Target,
    listen: (ticket: string | undefined) => EventSource,
    fetcher: typeof fetch,
    names: readonly string[],
  ): Promise<Joined> {
    const ticket = target.token === undefined ? undefined : await ticketFor(target, fetcher);
    if (this.#isOver) throw new ChainflumeError("closed", "the connection is closed");
    const source = (this.#source = listen(ticket));
    return new Promise((resolve, reject) => {
      source.onopen = () => {
        resolve({ position: target.since, recovered: true });
        if (!this.#isOver) this.#events.open();
      };
      source.onerror = () => {
        const error = new ChainflumeError("closed", "the stream ended");
        reject(error);
        this.#end({ then: "again", error });
      };
      for (const name of names) {
        source.addEventListener(name, (event) => this.#receive(event as MessageEvent<string>));
      }
      source.addEventListener("gap", (event) => {
        if (!this.#isOver) this.#events.gap(JSON.parse((event as MessageEvent<string>).data) as Gap);
      });
      source.addEventListener("expired", () =>
        this.#end({ then: "token", error: new ChainflumeError("token_expired", "the token expired") }),
      );
    });
  }

  #receive({ data, lastEventId }: MessageEvent<string>): void {
    if (this.#isOver) return;
    const frame = JSON.parse(data) as Frame;
    const isComplete = lastEventId === frame.position;
    this.#events.frame(frame, isComplete);
    if (isComplete) this.#events.settled(lastEventId);
  }

  #end(end: End | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#source?.close();
    if (end) this.#events.closed(end);
  }
}

async function ticketFor({ url, token, rooms, since }: Target, fetcher: typeof fetch): Promise<string> {
  const response = await fetcher(new URL("v1/tickets", url).href, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ rooms, ...(since === undefined ? {} : { since }) }),
    credentials: "omit",
  });
  if (!response.ok) throw await errorOf(response);
  const { ticket } = (await response.json()) as { ticket?: unknown };
  if (typeof ticket !== "string") throw new ChainflumeError("malformed", "the answer has no ticket");
  return ticket;
}
