import { ask, follow, make } from "./stream.js";

const $ = (id) => document.getElementById(id);
/** Messages on the page, and messages that wait while it is paused. */
const SHOWN = 300;
const HELD = 1_000;
/** Messages that were there before the page. */
const BEFORE = 50;
const NAMES = ["rooms", "type", "state", "text"];

let filters = {};
let stop = () => {};
let isPaused = false;
let held = [];
let dropped = 0;
let total = 0;
let retracted = 0;

function readAddress() {
  const given = new URLSearchParams(location.search);
  filters = Object.fromEntries(NAMES.map((name) => [name, given.get(name)?.trim() ?? ""]));
  for (const name of NAMES) $(name).value = filters[name];
  // A state that there is not is none: the page shows what it filters by.
  filters.state = $("state").value;
}

function writeAddress() {
  const address = new URLSearchParams(NAMES.map((name) => [name, $(name).value.trim()]).filter(([, value]) => value !== ""));
  history.pushState(null, "", address.size > 0 ? `?${address}` : location.pathname);
}

function isWanted(frame, message) {
  const { type, state, text } = filters;
  if (state && frame.state !== state) return false;
  const name = message?.type ?? frame.event;
  if (type && !(type.endsWith("*") ? name.startsWith(type.slice(0, -1)) : name === type || frame.event === type)) return false;
  return !text || JSON.stringify(frame).toLowerCase().includes(text.toLowerCase());
}

const short = (value) => (typeof value === "string" && /^0x[0-9a-f]{40,}$/.test(value) ? `${value.slice(0, 8)}…${value.slice(-6)}` : value);

/** The arguments in one line. */
function describe(payload) {
  if (payload === null || typeof payload !== "object") return String(payload);
  const parts = Object.entries(payload).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : short(value)}`);
  return parts.join(", ");
}

/** A fact of the application is in no block. */
const origin = ({ blockNumber, source }) => (blockNumber === null ? `of ${source}` : `block ${blockNumber} of ${source}`);

function row(frame) {
  const message = frame.event === "message" ? frame.data : undefined;
  if (!isWanted(frame, message)) return undefined;
  const { seq, timestamp, metadata, payload } = message ?? {};
  const state = { confirmed: "good", retracted: "bad" }[frame.state] ?? "";
  const item = make("li", { class: `new ${frame.state}`, "data-id": frame.id },
    make("div", { class: "head" },
      make("span", { class: `badge ${state}` }, frame.state),
      make("span", { class: "type" }, message?.type ?? frame.event),
      make("span", { class: "seq" }, `#${seq ?? frame.position.split(".")[1]}`),
      metadata && make("span", { class: "seq" }, origin(metadata)),
      timestamp && make("time", { dateTime: timestamp }, timestamp.replace("T", " ").replace("Z", ""))),
    make("div", { class: "what" }, describe(payload ?? frame.data)));
  const details = make("details", {}, make("summary", {}, "message"));
  // Most are never opened.
  details.addEventListener("toggle", () => details.childElementCount === 1 && details.append(make("pre", {}, JSON.stringify(frame, null, 2))));
  item.append(details);
  return item;
}

/** What a reorg takes back stays on the page, marked as such. */
function withdraw(id) {
  for (const item of $("messages").querySelectorAll(`li[data-id="${CSS.escape(id)}"]:not(.retracted):not(.withdrawn)`)) {
    item.classList.add("withdrawn");
    item.querySelector(".head").prepend(make("span", { class: "badge bad" }, "taken back"));
  }
}

function add(item) {
  $("messages").prepend(item);
  while ($("messages").childElementCount > SHOWN) $("messages").lastElementChild.remove();
}

function gap({ from, to, reason }) {
  add(make("li", { class: "gap" }, make("strong", {}, "Gap: "), `messages after ${from} up to ${to} cannot be shown any more (${reason})`));
}

function apply([name, data]) {
  if (name === "gap") return gap(data);
  if (data.state === "retracted") {
    retracted += 1;
    withdraw(data.id);
  }
  total += 1;
  const item = row(data);
  if (item) add(item);
}

function counted() {
  const waiting = isPaused ? `, ${held.length} wait${dropped ? ` and ${dropped} older ones were dropped` : ""}` : "";
  $("count").textContent = `${total} received, ${retracted} of them take others back${waiting}`;
}

function receive(name, data) {
  // The end of the credential is no message; the next request is refused, and the page asks for another.
  if (name === "expired" || name === "revoked") return;
  if (isPaused) {
    held.push([name, data]);
    if (held.length > HELD) drop(held.shift());
  } else apply([name, data]);
  counted();
}

/** What is not shown any more still takes back what is. */
function drop([, data]) {
  dropped += 1;
  if (data.state === "retracted") withdraw(data.id);
}

/** Where the newest 50 messages begin; from now on where that is not known. */
async function beginning() {
  const answer = await ask("/v1/messages?limit=1").catch(() => undefined);
  if (!answer?.ok) return undefined;
  const { position } = await answer.json();
  const [epoch, seq] = position.split(".");
  return seq === undefined ? undefined : `${epoch}.${Math.max(0, Number(seq) - BEFORE)}`;
}

function start() {
  stop();
  $("messages").replaceChildren();
  [total, retracted, held, dropped] = [0, 0, [], 0];
  counted();
  // People write a blank behind a comma.
  const rooms = encodeURIComponent(filters.rooms.split(/[\s,]+/).filter(Boolean).join(",") || "all");
  let from;
  const path = async (last) => {
    // Not known before there is a credential.
    from ??= await beginning();
    const since = last ?? from;
    return `/v1/stream?rooms=${rooms}${since ? `&since=${since}` : ""}`;
  };
  stop = follow(path, { event: receive });
}

function pause(wanted) {
  isPaused = wanted;
  $("pause").setAttribute("aria-pressed", String(wanted));
  $("pause").textContent = wanted ? "Resume" : "Pause";
  if (!wanted) {
    if (dropped > 0) add(make("li", { class: "gap" }, make("strong", {}, "Gap: "), `${dropped} messages came while the page was paused, and were dropped`));
    held.forEach(apply);
    [held, dropped] = [[], 0];
  }
  counted();
}

$("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  writeAddress();
  readAddress();
  start();
});
$("state").addEventListener("change", () => $("filters").requestSubmit());
$("pause").addEventListener("click", () => pause(!isPaused));
$("clear").addEventListener("click", () => $("messages").replaceChildren());
addEventListener("popstate", () => (readAddress(), start()));
readAddress();
start();
