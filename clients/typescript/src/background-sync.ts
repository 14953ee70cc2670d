import { Backoff, type BackoffOptions } from "./backoff.js";
import { newId } from "./ids.js";
import { reportUncaught } from "./report.js";

/** Something to send. `id` stays the same through all tries: use it as the key of an idempotent request. */
export interface SyncItem<D = unknown> {
  id: string;
  data: D;
  /** Tries that failed. */
  tries: number;
}

/** The part of `localStorage` that is used. */
export interface SyncStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** How a queue sends. What a callback throws is reported as of any event handler, and the queue goes on. */
export interface BackgroundSyncOptions<D> {
  /**
   * Sends one item. An item that fails stays at the head of the queue and is sent again after a pause. An error with
   * `isPermanent: true`, as a `ChainflumeError` of a wrong request has, can never succeed: the item is handed to `onDropped`, and the queue goes on.
   */
  send(item: SyncItem<D>): Promise<unknown>;
  /** Where the queue survives a reload; the platform's `localStorage` by default, else memory. */
  storage?: SyncStorage;
  /** The queue's name in the storage. */
  key?: string;
  backoff?: BackoffOptions;
  onDropped?(item: SyncItem<D>, error: unknown): void;
  onError?(item: SyncItem<D>, error: unknown): void;
  /** The queue after each change. */
  onChange?(items: SyncItem<D>[]): void;
}

/** Sends items one after the other, first in first out, whenever there is a network. */
export class BackgroundSync<D = unknown> {
  readonly #options: BackgroundSyncOptions<D>;
  readonly #storage: SyncStorage;
  readonly #key: string;
  readonly #backoff: Backoff;
  #running: Promise<void> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #isStopped = false;
  readonly #online = () => this.#wake();
  readonly #offline = () => clearTimeout(this.#retry);

  constructor(options: BackgroundSyncOptions<D>) {
    this.#options = options;
    this.#storage = options.storage ?? platformStorage();
    this.#key = options.key ?? "chainflume.sync";
    this.#backoff = new Backoff(options.backoff);
    globalThis.addEventListener?.("online", this.#online);
    globalThis.addEventListener?.("offline", this.#offline);
    // What an earlier page left.
    queueMicrotask(this.#online);
  }

  /** The queue, the oldest first. */
  get items(): SyncItem<D>[] {
    try {
      const items: unknown = JSON.parse(this.#storage.getItem(this.#key) ?? "[]");
      return Array.isArray(items) ? (items as SyncItem<D>[]) : [];
    } catch {
      return [];
    }
  }

  /** Adds something to send; it is stored before this returns. `data` is JSON. */
  enqueue(data: D): SyncItem<D> {
    const item: SyncItem<D> = { id: newId(), data, tries: 0 };
    this.#store([...this.items, item]);
    this.#wake();
    return item;
  }

  /** Sends what is there, and resolves when nothing more can be sent now. */
  async flush(): Promise<void> {
    clearTimeout(this.#retry);
    this.#running ??= this.#drainAlone().finally(() => (this.#running = undefined));
    await this.#running;
  }

  /** Sends no more. The queue stays stored. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#retry);
    globalThis.removeEventListener?.("online", this.#online);
    globalThis.removeEventListener?.("offline", this.#offline);
  }

  #wake(): void {
    if (this.#isStopped) return;
    this.flush().catch((error: unknown) => {
      // The storage failed. An item that was sent and could not be removed is sent again, with its id.
      this.#retryLater();
      reportUncaught(error);
    });
  }

  /** Two pages of one application share the storage, and only one of them sends. */
  async #drainAlone(): Promise<void> {
    const locks = globalThis.navigator?.locks;
    if (!locks || this.#options.storage) return this.#drain();
    await locks.request(this.#key, () => this.#drain());
  }

  async #drain(): Promise<void> {
    for (;;) {
      const item = this.items[0];
      if (item === undefined || this.#isStopped || !isOnline()) return;
      // It stays at the head of the stored queue until it was sent, so a page that is closed meanwhile loses nothing.
      try {
        await this.#options.send(item);
      } catch (error) {
        if (!(error as { isPermanent?: unknown } | null)?.isPermanent) return this.#failed(item, error);
        this.#remove(item);
        this.#notify(() => this.#options.onDropped?.(item, error));
        continue;
      }
      this.#remove(item);
      this.#backoff.reset();
    }
  }

  #failed(item: SyncItem<D>, error: unknown): void {
    this.#retryLater();
    this.#store(this.items.map((one) => (one.id === item.id ? { ...one, tries: one.tries + 1 } : one)));
    this.#notify(() => this.#options.onError?.(item, error));
  }

  #retryLater(): void {
    clearTimeout(this.#retry);
    if (!this.#isStopped) this.#retry = setTimeout(this.#online, this.#backoff.next());
  }

  #notify(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      reportUncaught(error);
    }
  }

  #remove(item: SyncItem<D>): void {
    this.#store(this.items.filter(({ id }) => id !== item.id));
  }

  #store(items: SyncItem<D>[]): void {
    this.#storage.setItem(this.#key, JSON.stringify(items));
    this.#notify(() => this.#options.onChange?.(items));
  }
}

/** Node has a navigator that says nothing of the network. */
function isOnline(): boolean {
  return globalThis.navigator?.onLine !== false;
}

function platformStorage(): SyncStorage {
  try {
    // A browser that blocks storage throws at the name.
    if (globalThis.document && globalThis.localStorage) return globalThis.localStorage;
  } catch {
    // In memory then.
  }
  const values = new Map<string, string>();
  return { getItem: (key) => values.get(key) ?? null, setItem: (key, value) => void values.set(key, value) };
}
