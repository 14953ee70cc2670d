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
