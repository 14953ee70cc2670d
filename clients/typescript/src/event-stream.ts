import type { Frame, Message, MessageType } from "./messages.js";
import { messageOf } from "./messages.js";
import { parsePosition } from "./position.js";

/** Which frames a subscription gets. */
export interface SubscribeOptions {
  /** Only those of this room. */
  room?: string;
}

type Callback = (frame: Frame<any>) => void;

interface Subscription {
  matches(frame: Frame): boolean;
  callback: Callback;
  /** What it got of the newest message: a message that is in several rooms is one event. */
  last: { position: string; got: Map<string, string | undefined> };
}

/** The events of a client, by name. */
export class EventStream {
  readonly #subscriptions = new Set<Subscription>();
  readonly #failed: (error: unknown) => void;

  /** `failed` receives what a callback throws; the other callbacks go on. */
  constructor(failed: (error: unknown) => void = () => {}) {
    this.#failed = failed;
  }

  /**
   * Calls `callback` with each event of this type; returns the function that ends it.
   *
   * `type` is the name of a push event (`balance-updated`), the type of a message (`erc20.transfer`), a prefix of types
   * (`erc20.*`), or `*`. A retraction arrives under the same type and id with `state: "retracted"`.
   */
  subscribe<T extends MessageType>(type: T, callback: (frame: Frame<Message<T>>) => void, options?: SubscribeOptions): () => void;
  subscribe<D = unknown>(type: string, callback: (frame: Frame<D>) => void, options?: SubscribeOptions): () => void;
  subscribe(type: string, callback: Callback, { room }: SubscribeOptions = {}): () => void {
    const isType = matcher(type);
    const matches = (frame: Frame) => (room === undefined || room === frame.room) && isType(frame);
    const subscription: Subscription = { matches, callback, last: { position: "", got: new Map() } };
    this.#subscriptions.add(subscription);
    return () => void this.#subscriptions.delete(subscription);
  }

  /** Hands a frame to its subscriptions. */
  publish(frame: Frame): void {
    for (const subscription of [...this.#subscriptions]) {
      if (!this.#subscriptions.has(subscription) || !subscription.matches(frame) || !isNew(subscription, frame)) continue;
      try {
        subscription.callback(frame);
      } catch (error) {
        this.#failed(error);
      }
    }
  }
}

function matcher(type: string): (frame: Frame) => boolean {
  if (type === "*") return () => true;
  const named = (frame: Frame) => [frame.event, messageOf(frame)?.type];
  if (!type.endsWith(".*")) return (frame) => named(frame).includes(type);
  const prefix = type.slice(0, -1);
  return (frame) => named(frame).some((name) => name?.startsWith(prefix));
}

function isNew({ last }: Subscription, frame: Frame): boolean {
  if (!parsePosition(frame.position)) return true;
  if (last.position !== frame.position) [last.position, last.got] = [frame.position, new Map()];
  // Rules may give one message another payload in another room, which is another event. In the same room it comes again only
  // where the room was joined again with an older past.
  const key = `${frame.event} ${JSON.stringify(frame.data)}`;
  if (last.got.has(key)) return last.got.get(key) === frame.room && frame.room !== undefined;
  last.got.set(key, frame.room);
  return true;
}
