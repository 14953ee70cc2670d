import type { Frame } from "./messages.js";

/** Frames without a room are remembered by so many, to drop those that come again. */
const REMEMBERED = 10_000;

/** The newest frames that had no room. */
export class RecentFrames {
  readonly #keys = new Set<string>();

  /** Remembers a frame; `false` for one that was there. */
  add(frame: Frame): boolean {
    const key = `${frame.position} ${frame.event} ${JSON.stringify(frame.data)}`;
    if (this.#keys.has(key)) return false;
    this.#keys.add(key);
    const [oldest] = this.#keys;
    if (this.#keys.size > REMEMBERED && oldest !== undefined) this.#keys.delete(oldest);
    return true;
  }
}
