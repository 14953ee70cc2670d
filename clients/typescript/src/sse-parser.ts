/** One event of a stream; `id` only where this event has one of its own. An event without data only moves the position. */
export interface ServerSentEvent {
  event: string;
  id: string | undefined;
  data: string;
}

/** Reads server-sent events from text that comes in pieces, by the rules of the HTML standard. */
export function parseEvents(
  emit: (event: ServerSentEvent) => void,
  retry: (milliseconds: number) => void = () => {},
): (text: string) => void {
  let rest = "";
  let [event, id, data]: [string, string | undefined, string[]] = ["", undefined, []];
  const line = (text: string): void => {
    if (text === "") {
      // The standard drops an event without data, but its id is a position.
      if (data.length > 0 || id !== undefined) emit({ event: event || "message", id, data: data.join("\n") });
      [event, id, data] = ["", undefined, []];
      return;
    }
    const colon = text.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + 1).replace(/^ /, "");
    if (name === "event") event = value;
    else if (name === "data") data.push(value);
    else if (name === "id" && !value.includes("\0")) id = value;
    else if (name === "retry" && /^\d+$/.test(value)) retry(Number(value));
  };
  return (text) => {
    rest += text;
    for (;;) {
      const end = rest.search(/[\r\n]/);
      // A carriage return at the end may be half of a line's end.
      if (end < 0 || (rest[end] === "\r" && end + 1 === rest.length)) return;
      const width = rest.startsWith("\r\n", end) ? 2 : 1;
      const text = rest.slice(0, end);
      rest = rest.slice(end + width);
      line(text);
    }
  };
}
