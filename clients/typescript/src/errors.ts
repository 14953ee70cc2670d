/** Statuses of a request that is wrong in itself. */
const LASTING = new Set([400, 404, 409, 413, 415, 422]);

/** An answer of the server that is not what was asked for, with the server's stable code. */
export class ChainflumeError extends Error {
  override name = "ChainflumeError";
  readonly code: string;
  readonly status: number | undefined;

  constructor(code: string, detail: string, status?: number) {
    super(`${code}: ${detail}`);
    this.code = code;
    this.status = status;
  }

  /** Whether the same request can never succeed: `BackgroundSync` drops it. Another credential may do what this one may not. */
  get isPermanent(): boolean {
    return LASTING.has(this.status ?? 0);
  }
}

/** An error of `application/problem+json`, or of any other answer that is not a success. */
export async function errorOf(response: Response): Promise<ChainflumeError> {
  let problem: { code?: unknown; detail?: unknown } = {};
  try {
    problem = (await response.json()) as typeof problem;
  } catch {
    // A proxy's page, perhaps.
  }
  const code = typeof problem?.code === "string" ? problem.code : `http_${response.status}`;
  const detail = typeof problem?.detail === "string" ? problem.detail : response.statusText;
  return new ChainflumeError(code, detail, response.status);
}
