import { errorOf } from "./errors.js";
import type { Gap, Message } from "./messages.js";
import { canRefresh, getToken, type TokenSource } from "./token.js";

/** What pages of the log are wanted. */
export interface MessagesQuery {
  since?: string;
  room?: string;
  type?: string;
  /** What messages are about: a kind of thing, `order`, or one, `order-7`. */
  aggregate?: string;
  /** The id of a user. */
  user?: string;
  /** Messages a page, 1 to 500. */
  limit?: number;
}

/** Where pages are read and with what. */
export interface PageSource {
  url: string;
  token: TokenSource | undefined;
  fetch: typeof fetch;
}

/** Messages page by page, oldest first, up to the newest; `lost` receives what is not stored any more. A token that is refused is fetched anew once a page. */
export async function* readPages<T extends string>(
  source: PageSource,
  query: MessagesQuery,
  lost: (gap: Gap) => void,
): AsyncGenerator<Message<T>, void, void> {
  let next = query.since;
  for (;;) {
    const page = await readPage<T>(source, { ...query, ...(next === undefined ? {} : { since: next }) });
    if (page.gap) lost(page.gap);
    yield* page.messages;
    if (page.messages.length === 0 && page.next === page.position) return;
    next = page.next;
  }
}

interface Page<T extends string> {
  messages: Message<T>[];
  next: string;
  position: string;
  gap?: Gap;
}

async function readPage<T extends string>({ url, token: from, fetch }: PageSource, query: MessagesQuery): Promise<Page<T>> {
  const { since, room, type, aggregate, user, limit = 500 } = query;
  const address = new URL("v1/messages", url);
  for (const [name, value] of Object.entries({ since, room, type, aggregate, user, limit: String(limit) })) {
    if (value !== undefined) address.searchParams.set(name, value);
  }
  for (const refresh of [false, true]) {
    const token = await getToken(from, { refresh });
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const response = await fetch(address.href, { headers, credentials: "omit" });
    if (response.ok) return (await response.json()) as Page<T>;
    if (response.status !== 401 || refresh || !canRefresh(from)) throw await errorOf(response);
  }
  throw new Error("unreachable: the second answer is returned or thrown");
}
