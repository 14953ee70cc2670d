import { ChainflumeError } from "./errors.js";
import { ClosingLink, endOf, type End, type Joined } from "./link.js";
import type { Frame, Gap } from "./messages.js";

/** A stream of server-sent events: its rooms are named as it is opened, and its token cannot be replaced. */
export abstract class StreamLink extends ClosingLink {
  protected abstract readonly joined: Promise<Joined>;

  join(): Promise<Joined> {
    return this.joined;
  }

  leave(): void {}

  async refresh(): Promise<boolean> {
    return false;
  }

  /** Reports an event. `id`: a position up to which everything has arrived with it. */
  protected receive(event: string, data: string, id: string | undefined): void {
    if (this.isOver) return;
    if (event === "expired" || event === "revoked") return this.end(endOf(event));
    if (event === "gap") this.events.gap(JSON.parse(data) as Gap);
    else if (data !== "") this.events.frame(JSON.parse(data) as Frame, id !== undefined);
    if (id !== undefined) this.events.settled(id);
  }
}

/** What to do after a request that failed. */
export function meaning(error: Error): End {
  const status = error instanceof ChainflumeError ? error.status : undefined;
  if (status === 401) return { then: "token", error };
  const isLasting = status !== undefined && status >= 400 && status < 500 && status !== 408 && status !== 429;
  return { then: isLasting ? "stop" : "again", error };
}
