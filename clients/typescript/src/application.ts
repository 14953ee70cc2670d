import { ChainflumeError, errorOf } from "./errors.js";
import { newId } from "./ids.js";
import { canRefresh, getToken, type TokenSource } from "./token.js";

/** How far an activity is. `completed` and `failed` are final. */
export type ActivityStatus = "pending" | "in_progress" | "completed" | "failed";

/** A transaction that an activity follows. */
export interface ActivityTransaction {
  /** EIP-155. */
  chainId: number;
  /** `0x` and 64 hexadecimal digits. */
  hash: string;
}

/** The fields of an activity that change. `data` is merged: `null` removes a key. */
export interface ActivityChange {
  status?: ActivityStatus;
  title?: string;
  description?: string;
  data?: Record<string, unknown>;
  transaction?: ActivityTransaction;
}

/** An activity to begin. */
export interface NewActivity extends ActivityChange {
  userId: string;
  /** `send`, `deposit` … as the server is configured. */
  type: string;
  title: string;
}

/** An activity, as the server has it. */
export interface Activity {
  eventId: string;
  userId: string;
  type: string;
  status: ActivityStatus;
  title: string;
  description: string | null;
  data: Record<string, unknown>;
  transaction: ActivityTransaction | null;
  changes: number;
  createdAt: string;
  updatedAt: string;
}

/** An event of the application. */
export interface ApplicationEvent {
  /** A UUID; the same id again is the same event. The server gives one where there is none. */
  id?: string;
  /** `order.shipped` */
  type: string;
  aggregateType: string;
  aggregateId: string;
  payload?: Record<string, unknown>;
  metadata?: { userId?: string; correlationId?: string; causationId?: string; source?: string };
  /** RFC 3339 in UTC. */
  timestamp?: string;
}

/** What became of an event. */
export interface PublishedEvent {
  id: string;
  seq: number;
  /** Whether an event of this id was there already; that one stands. */
  duplicate: boolean;
}

/** How a write is sent. */
export interface WriteOptions {
  /** The same key and content are done once, however often they are sent. A new one by default. */
  idempotencyKey?: string;
  signal?: AbortSignal;
}

/** Where writes are sent and with what. */
export interface WriteTarget {
  url: string;
  token: TokenSource | undefined;
  fetch: typeof fetch;
}

/** Attempts of one write. With its key each is safe, whatever became of the one before. */
const ATTEMPTS = 4;
/** The longest wait between two attempts, in milliseconds. */
const LONGEST_WAIT = 5_000;
/** Answers after which the same request may succeed. */
const PASSING = new Set([429, 502, 503, 504]);

/** Sends a write until it is answered; an answer that is lasting is thrown as {@link ChainflumeError}. */
export async function write<T>(
  target: WriteTarget,
  [method, path]: [method: "POST" | "PATCH", path: string],
  body: unknown,
  { idempotencyKey = newId(), signal }: WriteOptions = {},
): Promise<T> {
  const init = { method, body: JSON.stringify(body), credentials: "omit" as const, ...(signal ? { signal } : {}) };
  let refresh = false;
  let attempt = 1;
  for (;;) {
    const token = await getToken(target.token, { refresh });
    const headers: Record<string, string> = { "content-type": "application/json", "idempotency-key": idempotencyKey };
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    let response: Response;
    try {
      response = await target.fetch(new URL(path, target.url).href, { ...init, headers });
    } catch (error) {
      if (signal?.aborted || attempt >= ATTEMPTS) throw error;
      await pause(attempt++, undefined, signal);
      continue;
    }
    if (response.ok) return (await response.json()) as T;
    if (response.status === 401 && !refresh && canRefresh(target.token)) {
      refresh = true;
      continue;
    }
    const error = await errorOf(response);
    if (!PASSING.has(response.status) || attempt >= ATTEMPTS) throw error;
    await pause(attempt++, response.headers.get("retry-after"), signal);
  }
}

/** Waits as long as the server says, or longer from attempt to attempt, with jitter. */
async function pause(attempt: number, retryAfter: string | null | undefined, signal?: AbortSignal): Promise<void> {
  const said = retryAfter ? Number(retryAfter) * 1_000 : Number.NaN;
  const wait = Number.isFinite(said) ? said : 200 * 2 ** (attempt - 1) * (0.5 + Math.random());
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(done, Math.min(wait, LONGEST_WAIT));
    function done(): void {
      signal?.removeEventListener("abort", stop);
      resolve();
    }
    function stop(): void {
      clearTimeout(timer);
      reject(signal?.reason ?? new ChainflumeError("aborted", "the write was aborted"));
    }
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** The path of an activity. */
export function activityPath(eventId: string, end?: "complete" | "fail"): string {
  if (eventId === "") throw new ChainflumeError("update_by_id_only", "an activity is changed by its eventId alone");
  return `v1/activities/${encodeURIComponent(eventId)}${end ? `/${end}` : ""}`;
}
