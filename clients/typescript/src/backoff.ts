/** Pauses between attempts, in milliseconds. */
export interface BackoffOptions {
  /** The first pause is between this and twice this: 1 s, since a server that restarts needs about as long. */
  min?: number;
  /** No pause is longer: 30 s. */
  max?: number;
  /** A number in [0, 1). */
  random?: () => number;
}

/** Pauses that double and are spread at random, so that thousands of clients do not come back at the same moment. */
export class Backoff {
  #attempt = 0;
  readonly #min: number;
  readonly #max: number;
  readonly #random: () => number;

  constructor({ min = 1_000, max = 30_000, random = Math.random }: BackoffOptions = {}) {
    this.#min = min;
    this.#max = Math.max(min, max);
    this.#random = random;
  }

  /** The next pause; at least `atLeast`, which a server asked for. */
  next(atLeast = 0): number {
    const base = Math.min(this.#max / 2, this.#min * 2 ** Math.min(this.#attempt++, 30));
    const pause = Math.min(this.#max, Math.max(this.#min, base * (1 + this.#random())));
    return Math.min(Math.max(pause, atLeast), Math.max(this.#max, 60_000));
  }

  /** The connection works. */
  reset(): void {
    this.#attempt = 0;
  }
}
