// Server-sent events with the credential in a header, which EventSource cannot send. Comes again with the last position.

const KEY = "chainflume.credential";
const SILENT = 45_000;
const $ = (id) => document.getElementById(id);

/** An element with text and children. Text is never read as HTML: names of tokens are strangers' words. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name in element && name !== "role") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

export function say(text, kind = "") {
  const badge = $("connection");
  if (badge.textContent !== text) badge.textContent = text;
  badge.className = `badge ${kind}`;
}

/** Asks with the credential of this tab. */
export function ask(path, options = {}) {
  const credential = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(credential ? { authorization: `Bearer ${credential}` } : {}) };
  return fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
}

/** Shows the form for a credential. */
function askForCredential(problem) {
  const why = problem.status === 403 ? "This credential does not open the page." : "This server asks for a credential.";
  $("access-why").textContent = sessionStorage.getItem(KEY) ? `${why} ${problem.detail ?? ""}` : why;
  $("access").hidden = false;
  $("credential").focus();
}

async function problemOf(response) {
  const problem = await response.json().catch(() => ({}));
  return { ...problem, status: response.status };
}

/**
 * Follows a stream until `stop()`. `path(last)` is where, or a promise of it, with the position of the last event; `on` has `event(name, data)`,
 * and `open`.
 */
export function follow(path, on) {
  let [last, stopped, pause, abort] = [undefined, false, 1_000, undefined];
  let timer;
  const again = (what) => {
    if (stopped) return;
    say(what, "bad");
    timer = setTimeout(run, pause * (1 + Math.random()));
    pause = Math.min(pause * 2, 15_000);
  };
  async function run() {
    abort = new AbortController();
    let watchdog;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => abort.abort(), SILENT);
    };
    try {
      alive();
      const address = await path(last);
      if (stopped) return;
      const response = await ask(address, { signal: abort.signal });
      if (stopped) return;
      if (response.status === 401 || response.status === 403) {
        say("no access", "bad");
        return askForCredential(await problemOf(response));
      }
      if (!response.ok) {
        const problem = await problemOf(response);
        if (problem.status < 500 && problem.status !== 429) {
          // A position of another history, or a room that is none: another try would end the same.
          say(problem.detail ?? `error ${problem.status}`, "bad");
          if (last === undefined) return;
          last = undefined;
        }
        return again(problem.detail ?? `error ${problem.status}`);
      }
      $("access").hidden = true;
      say("live", "good");
      pause = 1_000;
      on.open?.();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done || stopped) break;
        alive();
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        for (const block of blocks) {
          const field = (name) => block.split("\n").filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
          last = field("id").at(-1) ?? last;
          const data = field("data");
          if (data.length > 0) on.event(field("event")[0] ?? "message", JSON.parse(data.join("\n")));
        }
      }
      again("reconnecting");
    } catch {
      again("reconnecting");
    } finally {
      clearTimeout(watchdog);
    }
  }
  const submitted = (event) => {
    event.preventDefault();
    const credential = $("credential").value.trim();
    // A header cannot have it, so that no request would leave the page.
    if (!/^[\x21-\x7e]+$/.test(credential)) {
      $("access-why").textContent = "A credential has letters, digits and signs of ASCII alone: copy it again.";
      return $("credential").focus();
    }
    sessionStorage.setItem(KEY, credential);
    $("credential").value = "";
    say("connecting");
    clearTimeout(timer);
    run();
  };
  $("access").addEventListener("submit", submitted);
  run();
  return () => {
    stopped = true;
    clearTimeout(timer);
    $("access").removeEventListener("submit", submitted);
    abort?.abort();
  };
}
