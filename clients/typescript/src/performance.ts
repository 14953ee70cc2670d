/** What the last values of one name come to, in their own unit. */
export interface Statistics {
  count: number;
  last: number;
  mean: number;
  min: number;
  max: number;
  p50: number;
  p95: number;
  p99: number;
}

/** Keeps the last values of each name: how long things take for this user, now. */
export class PerformanceMonitor {
  readonly #values = new Map<string, number[]>();
  readonly #keep: number;

  constructor(keep = 100) {
    this.#keep = keep;
  }

  /** Adds a value; the oldest beyond the last 100 is forgotten. Values that are no finite number are ignored. */
  record(name: string, value: number): void {
    if (!Number.isFinite(value)) return;
    const values = this.#values.get(name) ?? [];
    values.push(value);
    if (values.length > this.#keep) values.shift();
    this.#values.set(name, values);
  }

  /** Records how long `work` takes in milliseconds, also when it fails. */
  async time<T>(name: string, work: () => T | Promise<T>): Promise<T> {
    const began = performance.now();
    try {
      return await work();
    } finally {
      this.record(name, performance.now() - began);
    }
  }

  /** The values kept, oldest first. */
  values(name: string): number[] {
    return [...(this.#values.get(name) ?? [])];
  }

  /** Of the values kept; `undefined` where there are none. Percentiles are by nearest rank. */
  statistics(name: string): Statistics | undefined {
    const values = this.values(name);
    const last = values.at(-1);
    if (last === undefined) return undefined;
    const sorted = [...values].sort((a, b) => a - b);
    const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? last;
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    return { count: values.length, last, mean, min: at(0), max: at(1), p50: at(0.5), p95: at(0.95), p99: at(0.99) };
  }

  /** All names with their statistics. */
  report(): Record<string, Statistics> {
    const entries = [...this.#values.keys()].map((name) => [name, this.statistics(name)] as const);
    return Object.fromEntries(entries.filter((entry): entry is [string, Statistics] => entry[1] !== undefined));
  }

  clear(): void {
    this.#values.clear();
  }
}
