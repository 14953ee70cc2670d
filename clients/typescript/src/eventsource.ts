import { ChainflumeError, errorOf } from "./errors.js";
import type { Events, Joined, Link, Target, Transport } from "./link.js";
import type { Frame } from "./messages.js";
import { meaning, StreamLink } from "./stream-link.js";

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
    this.#names = [...new Set(["message", "balance-updated", "activity", "notification", "gap", "expired", "revoked", ...names])];
  }

  open(target: Target, events: Events): Link {
    const listen = (ticket: string | undefined) => this.#listen(target, ticket);
    return new SourceLink(target, events, { listen, fetch: this.#fetch, names: this.#names });
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

/** How a link gets its source. */
interface Opening {
  listen(ticket: string | undefined): EventSource;
  fetch: typeof fetch;
  names: readonly string[];
}

class SourceLink extends StreamLink {
  protected readonly joined: Promise<Joined>;
  #source: EventSource | undefined;

  constructor(target: Target, events: Events, opening: Opening) {
    super(events);
    this.joined = this.#open(target, opening);
    this.joined.catch((error: Error) => this.end(meaning(error)));
  }

  protected dispose(): void {
    this.#source?.close();
  }

  async #open(target: Target, { listen, fetch, names }: Opening): Promise<Joined> {
    const ticket = target.token === undefined ? undefined : await ticketFor(target, fetch);
    if (this.isOver) throw new ChainflumeError("closed", "the connection is closed");
    const source = (this.#source = listen(ticket));
    return new Promise((resolve, reject) => {
      source.onopen = () => {
        resolve({ position: target.since, recovered: true });
        if (!this.isOver) this.events.open();
      };
      source.onerror = () => {
        const error = new ChainflumeError("closed", "the stream ended");
        reject(error);
        this.end({ then: "again", error });
      };
      for (const name of names) {
        source.addEventListener(name, (event) => {
          const { data, lastEventId } = event as MessageEvent<string>;
          // `lastEventId` is that of an earlier event where this one has none.
          const isComplete = name !== "gap" && lastEventId !== "" && (JSON.parse(data) as Partial<Frame>).position === lastEventId;
          this.receive(name, data, isComplete ? lastEventId : undefined);
        });
      }
    });
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
