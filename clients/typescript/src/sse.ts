import { ChainflumeError, errorOf } from "./errors.js";
import type { End, Events, Joined, Link, Target, Transport } from "./link.js";
import type { Frame, Gap } from "./messages.js";
import { parseEvents } from "./sse-parser.js";

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
    return new StreamLink(target, events, { fetch: this.#fetch, silent: this.#silent });
  }
}

class StreamLink implements Link {
  readonly #target: Target;
  readonly #events: Events;
  readonly #fetch: typeof fetch;
  readonly #silent: number;
  readonly #abort = new AbortController();
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #isOver = false;
  #retryAfter: number | undefined;
  #joined: Promise<Joined>;

  constructor(target: Target, events: Events, { fetch, silent }: { fetch: typeof globalThis.fetch; silent: number }) {
    [this.#target, this.#events, this.#fetch, this.#silent] = [target, events, fetch, silent];
    let isOpen = (_joined: Joined) => {};
    let fail = (_error: Error) => {};
    this.#joined = new Promise((resolve, reject) => ([isOpen, fail] = [resolve, reject]));
    this.#joined.catch(() => {});
    this.#read(isOpen).then(
      () => this.#end({ then: "again" }),
      (error: Error) => {
        fail(error);
        this.#end(meaning(error));
      },
    );
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

  async #read(isOpen: (joined: Joined) => void): Promise<void> {
    this.#alive();
    const response = await this.#ask();
    if (!response.ok || !response.body) {
      const after = Number(response.headers.get("retry-after"));
      if (after > 0) this.#retryAfter = after * 1_000;
      throw await errorOf(response);
    }
    isOpen({ position: this.#target.since, recovered: true });
    this.#events.open();
    const decoder = new TextDecoder();
    const parser = parseEvents((event) => this.#receive(event), (pause) => (this.#retryAfter = pause));
    const reader = response.body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || this.#isOver) return;
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

  #receive({ event, id, data }: { event: string; id: string | undefined; data: string }): void {
    if (this.#isOver) return;
    if (event === "expired") return this.#end({ then: "token", error: new ChainflumeError("token_expired", "the token expired") });
    if (event === "gap") this.#events.gap(JSON.parse(data) as Gap);
    else if (data !== "") this.#events.frame(JSON.parse(data) as Frame, id !== undefined);
    if (id !== undefined) this.#events.settled(id);
  }

  #alive(): void {
    clearTimeout(this.#watchdog);
    const lost = new ChainflumeError("timeout", "the stream is silent");
    this.#watchdog = setTimeout(() => this.#end({ then: "again", error: lost }), this.#silent);
  }

  #end(end: End | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#watchdog);
    this.#abort.abort();
    if (end) this.#events.closed({ ...end, ...(this.#retryAfter === undefined ? {} : { retryAfter: this.#retryAfter }) });
  }
}

/** What to do after a request that failed. */
export function meaning(error: Error): End {
  const status = error instanceof ChainflumeError ? error.status : undefined;
  if (status === 401) return { then: "token", error };
  const isLasting = status !== undefined && status >= 400 && status < 500 && status !== 408 && status !== 429;
  return { then: isLasting ? "stop" : "again", error };
}
