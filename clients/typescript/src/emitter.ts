import { reportUncaught } from "./report.js";

type Listener<T> = (value: T) => void;

/** Listeners by the name of what they listen to. `E` maps each name to its value and has `error`. */
export class Emitter<E extends { error: Error }> {
  readonly #listeners = new Map<keyof E, Set<Listener<any>>>();

  /** Calls `listener` with each value; returns the function that ends it. */
  on<K extends keyof E>(name: K, listener: Listener<E[K]>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * Calls all listeners of a name. What one throws is emitted as `error`. What a listener of `error` throws is reported as
   * of any event handler. Either way the other listeners and the caller go on.
   */
  emit<K extends keyof E>(name: K, value: E[K]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(value);
      } catch (error) {
        if (name !== "error") this.emit("error", asError(error) as E["error"]);
        else reportUncaught(error);
      }
    }
  }
}

/** What was thrown, as an `Error`. */
export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
