import { ChainflumeError, errorOf } from "./errors.js";
import type { End, Events, Joined, Link, Target, Transport } from "./link.js";
import { parseEvents } from "./sse-parser.js";
import { meaning, StreamLink } from "./stream-link.js";

/** The server sends a comment every 15 s; a stream that is silent for three times as long is lost. */
const SILENT = 45_000;

/** Server-sent events, `GET /v1/stream`, read with `fetch`, which can send the token in a header. */
export class SseTransport implements Transport {
  readonly name = "sse";
  readonly joinsAtConnect = true;
  readonly #fetch: typeof fetch;
  readonly #silent: number;

  constructor(fetcher: typeof fetch, silent = SILENT) {
    // A browser's fetch refuses to be a method of something else.
    this.#fetch = (...given) => fetcher(...given);
    this.#silent = silent;
  }

  open(target: Target, events: Events): Link {
    return new FetchLink(target, events, { fetch: this.#fetch, silent: this.#silent });
  }
}

class FetchLink extends StreamLink {
  protected readonly joined: Promise<Joined>;
  readonly #target: Target;
  readonly #fetch: typeof fetch;
  readonly #silent: number;
  readonly #abort = new AbortController();
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #retryAfter: number | undefined;

  constructor(target: Target, events: Events, { fetch, silent }: { fetch: typeof globalThis.fetch; silent: number }) {
    super(events);
    [this.#target, this.#fetch, this.#silent] = [target, fetch, silent];
    let isOpen = (_joined: Joined) => {};
    let fail = (_error: Error) => {};
    this.joined = new Promise((resolve, reject) => ([isOpen, fail] = [resolve, reject]));
    this.joined.catch(() => {});
    this.#read(isOpen).then(
      () => this.end({ then: "again" }),
      (error: Error) => {
        fail(error);
        this.end(meaning(error));
      },
    );
  }

  async #read(isOpen: (joined: Joined) => void): Promise<void> {
    this.#alive();
    const response = await this.#ask();
    if (!response.ok || !response.body) {
      const after = Number(response.headers.get("retry-after"));
      if (after > 0) this.#retryAfter = after * 1_000;
      throw await errorOf(response);
    }
    // Without a past the stream begins here. A page of another origin sees the header only where the server exposes it.
    isOpen({ position: this.#target.since ?? response.headers.get("chainflume-position") ?? undefined, recovered: true });
    this.events.open();
    const decoder = new TextDecoder();
    const parser = parseEvents(({ event, data, id }) => this.receive(event, data, id), (pause) => (this.#retryAfter = pause));
    const reader = response.body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || this.isOver) return;
      this.#alive();
      parser(decoder.decode(value, { stream: true }));
    }
  }

  #ask(): Promise<Response> {
    const { url, token, rooms, since } = this.#target;
    const address = new URL("v1/stream", url);
    address.searchParams.set("rooms", rooms.join(","));
    if (since !== undefined) address.searchParams.set("since", since);
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
    return this.#fetch(address.href, { headers, signal: this.#abort.signal, cache: "no-store", credentials: "omit" });
  }

  #alive(): void {
    clearTimeout(this.#watchdog);
    const lost = new ChainflumeError("timeout", "the stream is silent");
    this.#watchdog = setTimeout(() => this.end({ then: "again", error: lost }), this.#silent);
  }

  protected override end(end: End | undefined): void {
    super.end(end && { ...end, ...(this.#retryAfter === undefined ? {} : { retryAfter: this.#retryAfter }) });
  }

  protected dispose(): void {
    clearTimeout(this.#watchdog);
    this.#abort.abort();
  }
}
