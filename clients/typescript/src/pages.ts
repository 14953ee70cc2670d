import { errorOf } from "./errors.js";
import type { Message } from "./messages.js";
import { canRefresh, getToken, type TokenSource } from "./token.js";

/** What pages of the log are wanted. */
export interface MessagesQuery {
  since?: string;
  room?: string;
  type?: string;
  /** Messages a page, 1 to 500. */
  limit?: number;
}

/** Where pages are read and with what. */
export interface PageSource {
  url: string;
  token: TokenSource | undefined;
  fetch: typeof fetch;
}

/** Messages page by page, oldest first, up to the newest. A token that is refused is fetched anew once a page. */
export async function* readPages(source: PageSource, query: MessagesQuery): AsyncGenerator<Message, void, void> {
  let next = query.since;
  for (;;) {
    const page = await readPage(source, { ...query, ...(next === undefined ? {} : { since: next }) });
    yield* page.messages;
    if (page.messages.length === 0 && page.next === page.position) return;
    next = page.next;
  }
}

interface Page {
  messages: Message[];
  next: string;
  position: string;
}

async function readPage({ url, token: from, fetch }: PageSource, query: MessagesQuery): Promise<Page> {
  const { since, room, type, limit = 500 } = query;
  const address = new URL("v1/messages", url);
  for (const [name, value] of Object.entries({ since, room, type, limit: String(limit) })) {
    if (value !== undefined) address.searchParams.set(name, value);
  }
  for (const refresh of [false, true]) {
    const token = await getToken(from, { refresh });
    const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const response = await fetch(address.href, { headers, credentials: "omit" });
    if (response.ok) return (await response.json()) as Page;
    if (response.status !== 401 || refresh || !canRefresh(from)) throw await errorOf(response);
  }
  throw new Error("unreachable: the second answer is returned or thrown");
}
