import { follow, make } from "./stream.js";

const $ = (id) => document.getElementById(id);
const count = (number) => (number === null || number === undefined ? "–" : Number(number).toLocaleString("en"));
const rate = (number) => (number === null || number === undefined ? "–" : Number(number).toLocaleString("en", { maximumFractionDigits: 1 }));

function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 172_800) return `${Math.floor(whole / 3_600)} h ${Math.floor((whole % 3_600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d`;
}

const badge = (text, isGood) => make("span", { class: `badge ${isGood === undefined ? "" : isGood ? "good" : "bad"}` }, text);
const cards = (pairs) => pairs.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value)));
const reasons = (list) => (list?.length ? make("ul", { class: "reasons" }, ...list.map((reason) => make("li", {}, reason))) : undefined);

/** A table that becomes a list on a narrow screen, where its roles would be lost without being named. */
function table(label, columns, rows) {
  if (rows.length === 0) return make("p", { class: "hint" }, `no ${label}`);
  const head = make("tr", { role: "row" }, ...columns.map((name) => make("th", { role: "columnheader", scope: "col" }, name)));
  const cell = (value, index) => make("td", { role: "cell", "data-label": columns[index] }, value);
  const body = rows.map((row) => make("tr", { role: "row" }, ...row.map(cell)));
  return make("table", { class: "table", role: "table", "aria-label": label },
    make("thead", { role: "rowgroup" }, head), make("tbody", { role: "rowgroup" }, ...body));
}

function summary({ daemon, stored, version, error }) {
  const outbox = stored?.outbox;
  const status = daemon ? badge(daemon.ready ? "ready" : "not ready", daemon.ready) : badge("serves only");
  const letters = stored?.sources.reduce((sum, { openDeadLetters }) => sum + openDeadLetters, 0);
  $("summary").replaceChildren(...cards([
    ["Daemon", status],
    ["Version", version],
    ["Role", daemon?.role || "server"],
    ["Database", error ? badge("not readable", false) : daemon ? badge(daemon.database.writable ? "writable" : "read-only", daemon.database.writable) : badge("readable", true)],
    ["Newest message", count(outbox?.last)],
    ["Messages kept", outbox ? count(outbox.last + 1 - outbox.first) : "–"],
    ["Oldest kept", span(outbox?.oldestSeconds)],
    ["Events stored", stored ? count(stored.sources.reduce((sum, { events }) => sum + events, 0)) : "–"],
    ["Open dead letters", count(daemon?.database.openDeadLetters ?? letters)],
  ]));
  const loops = Object.entries(daemon?.loops ?? {}).flatMap(([name, { notReady }]) => notReady.map((reason) => `${name}: ${reason}`));
  const all = [error, daemon?.database.error, ...loops].filter(Boolean);
  $("reasons").hidden = all.length === 0;
  $("reasons").replaceChildren(...all.map((reason) => make("li", {}, reason)));
}

/** A chain as the daemon in this process reads it. */
function chain([name, about], stored) {
  const isWell = about.notReady.length === 0;
  const events = new Map((stored?.sources ?? []).filter((one) => one.chain === name).map((one) => [one.source, one.events]));
  const rows = Object.entries(about.sources).map(([source, of]) => [
    source, of.state, count(of.tip), count(of.lag), rate(of.blocksPerSecond), rate(of.eventsPerSecond), span(of.etaSeconds), count(events.get(source)),
  ]);
  return make("article", { class: "card" },
    make("div", { class: "title" }, make("h3", {}, name), badge(about.state, isWell)),
    reasons(about.notReady),
    make("dl", { class: "cards" }, ...cards([
      ["Head", count(about.head)], ["Confirmed", count(about.confirmed)], ["Final", count(about.finalBlock)],
      ["Head moved", `${span(about.secondsSinceHead)} ago`], ["Provider", about.provider ?? "–"],
      ["Heads by", about.websocket ? "WebSocket" : "polling"], ["Leader", about.ledBy ?? "this instance, without a lease"],
      ["Last error", about.lastError ?? "none"],
    ])),
    table(`sources of ${name}`, ["Source", "State", "Tip", "Lag", "Blocks/s", "Events/s", "ETA", "Events"], rows));
}

/** A chain as the database knows it, where this process reads no chain. */
function storedChain(name, stored) {
  const sources = stored.sources.filter((one) => one.chain === name);
  const now = Date.now() / 1_000;
  const leader = stored.leases.find(({ lease }) => lease === `chain ${sources[0].chainId}`)?.holder;
  const rows = sources.map(({ source, family, tip, events, updatedAt }) => [
    source, family, count(tip), count(events), updatedAt === null ? "–" : `${span(Math.max(0, now - updatedAt))} ago`,
  ]);
  return make("article", { class: "card" },
    make("div", { class: "title" }, make("h3", {}, name), badge("stored")),
    make("dl", { class: "cards" }, ...cards([["Chain id", String(sources[0].chainId)], ["Leader", leader ?? "no instance leads"]])),
    table(`sources of ${name}`, ["Source", "Family", "Tip", "Events", "Moved"], rows));
}

function show(status) {
  const { daemon, stored } = status;
  $("overview").hidden = false;
  summary(status);
  const read = Object.entries(daemon?.chains ?? {});
  const names = new Set((stored?.sources ?? []).map((one) => one.chain));
  const chains = read.length > 0 ? read.map((one) => chain(one, stored)) : [...names].map((name) => storedChain(name, stored));
  $("chains").replaceChildren(...(chains.length > 0 ? chains : [make("p", { class: "hint" }, "no chains")]));
  const sinks = Object.entries(daemon?.sinks ?? {}).map(([name, sink]) => [
    name, badge(sink.notReady.length ? "not ready" : "ready", sink.notReady.length === 0), count(sink.delivered), count(sink.lag), count(sink.held),
    sink.disabled ?? sink.foreign ?? (sink.notReady.join("; ") || "none"),
  ]);
  $("sinks").replaceChildren(table("sinks", ["Sink", "State", "Delivered", "Lag", "Held", "Trouble"], sinks));
  const leases = (stored?.leases ?? []).map(({ lease, holder, epoch, secondsLeft }) => [lease, holder ?? "no instance", count(epoch), span(secondsLeft)]);
  $("leases").replaceChildren(table("leases", ["Lease", "Leader", "Epoch", "Ends in"], leases));
  const reorgs = (stored?.reorgs ?? []).map(({ chainId, ancestor, depth, events, detectedAt, reason }) => [
    new Date(detectedAt * 1_000).toISOString().slice(0, 19).replace("T", " "), String(chainId), reason, count(ancestor), count(depth), count(events),
  ]);
  $("reorgs").replaceChildren(table("reorgs", ["When (UTC)", "Chain", "Reason", "Back to block", "Blocks undone", "Events taken back"], reorgs));
}

follow(() => "/v1/status/stream", { event: (name, status) => name === "status" && show(status) });
