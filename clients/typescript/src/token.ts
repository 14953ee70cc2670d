/** Why a token is wanted: `refresh` is true when the last one was refused or is about to expire. */
export interface TokenRequest {
  refresh: boolean;
}

/** A token, or how to get one. */
export type TokenSource = string | ((request: TokenRequest) => string | null | undefined | Promise<string | null | undefined>);

/** Whether another token can be had. */
export function canRefresh(source: TokenSource | undefined): boolean {
  return typeof source === "function";
}

/** A token now; `undefined` where none is needed. */
export async function getToken(source: TokenSource | undefined, request: TokenRequest): Promise<string | undefined> {
  const token = typeof source === "function" ? await source(request) : source;
  return token ?? undefined;
}

/**
 * Milliseconds until a token should be replaced: 30 s before it expires, or at four fifths of what is left of a short one.
 * `undefined` for a token that is no JWT with an expiry. The signature is the server's business.
 */
export function refreshIn(token: string | undefined, now = Date.now()): number | undefined {
  const expires = expiryOf(token);
  if (expires === undefined) return undefined;
  const left = expires - now;
  return Math.max(0, Math.max(left - 30_000, left * 0.8));
}

function expiryOf(token: string | undefined): number | undefined {
  const payload = token?.split(".")[1];
  if (!payload) return undefined;
  try {
    const claims: unknown = JSON.parse(atob(payload.replace(/-/g, "+").replace(/_/g, "/")));
    const expires = (claims as { exp?: unknown } | null)?.exp;
    return typeof expires === "number" ? expires * 1_000 : undefined;
  } catch {
    return undefined;
  }
}
