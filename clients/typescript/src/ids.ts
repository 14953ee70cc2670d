/** A name that no other has. `randomUUID` exists in secure contexts alone: not on a page of plain HTTP from another machine. */
export function newId(): string {
  if (globalThis.isSecureContext !== false) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
