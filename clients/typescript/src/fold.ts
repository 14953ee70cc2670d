import type { Frame } from "./messages.js";

/** What is true of the frames received: the newest of each id, without those that a reorg withdrew. */
export class Fold<D = unknown> {
  readonly #frames = new Map<string, Frame<D>>();

  /** Applies a frame; returns what it replaces or withdraws. */
  apply(frame: Frame<D>): Frame<D> | undefined {
    const key = `${frame.event} ${frame.id}`;
    const before = this.#frames.get(key);
    // History that is published again says nothing new of what is known.
    if (frame.replay && before) return undefined;
    this.#frames.delete(key);
    if (frame.state !== "retracted") this.#frames.set(key, frame);
    return before;
  }

  /** Forgets the oldest beyond `keep`. */
  trim(keep: number): void {
    for (const key of this.#frames.keys()) {
      if (this.#frames.size <= keep) return;
      this.#frames.delete(key);
    }
  }

  /** In the order of their arrival. */
  get frames(): Frame<D>[] {
    return [...this.#frames.values()];
  }
}
