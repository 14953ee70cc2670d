// `make bench-push`: subscribers of one room at a steady rate, and idle connections, beside npm socket.io in the same run.
//
//     node bench.mjs <chainflume binary> <chainflume-push-clients binary>      CLIENTS=1000 RATE=10 SECONDS=20 IDLE=10000 HOLD=0
//
// HOLD: seconds of one more row, in which IDLE quiet connections stay open beside the subscribers, half of them by each protocol.
import { spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import WebSocket from "ws";

const [, , binary, clientsBinary] = process.argv;
const number = (name, otherwise) => Number(process.env[name] ?? otherwise);
const [CLIENTS, RATE, SECONDS] = [number("CLIENTS", 1_000), number("RATE", 10), number("SECONDS", 20)];
const [IDLE, HOLD] = [number("IDLE", 10_000), number("HOLD", 0)];
const here = new URL("./", import.meta.url);
const children = new Set();
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")));
const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function start(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"], ...options });
  children.add(child);
  child.on("exit", () => children.delete(child));
  child.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  child.line = async () => {
    const { value, done } = await child.lines.next();
    if (done) throw new Error(`${command} ${args.join(" ")} has ended`);
    return value;
  };
  return child;
}

/** CPU seconds of a process so far; the kernel counts in hundredths. */
function cpuOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

const residentOf = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]);

async function clients(kind, url, count, room) {
  const child = start(clientsBinary, [kind, new URL(url).host, String(count), room]);
  await child.line();
  return child;
}

/** Sends for some seconds, and reports latencies and the CPU that it took. */
async function measure(name, pid, child, send, seconds = SECONDS) {
  await sleep(1_000);
  const before = cpuOf(pid);
  await send();
  await sleep(2_000);
  const cpu = cpuOf(pid) - before;
  child.stdin.write("stop\n");
  const { deliveries, p50, p99, max } = JSON.parse(await child.line());
  const expected = CLIENTS * RATE * seconds;
  return { name, deliveries, missing: expected - deliveries, p50, p99, max, cpu, perCpuSecond: deliveries / cpu };
}

const message = (seq) => ({
  id: "01890000-0000-8000-8000-000000000000", seq, version: 1, type: "bench.tick", state: "confirmed", timestamp: "2026-01-01T00:00:00Z",
  aggregateType: "contract", aggregateId: `0x${"0".repeat(40)}`,
  payload: { from: `0x${"1".repeat(40)}`, to: `0x${"2".repeat(40)}`, value: "1000000", sentAt: "0" },
  metadata: { userId: null, correlationId: `0x${"3".repeat(64)}`, causationId: null, source: "bench", chainId: 1, blockNumber: 1, blockHash: `0x${"4".repeat(64)}`, transactionHash: `0x${"3".repeat(64)}`, logIndex: 0, confirmations: 2 },
});

/** Commits messages as the daemon's writers do: number, row, announcement, one transaction each. */
const commits = (seconds) => `do $bench$
declare n bigint; due timestamptz := clock_timestamp();
begin
  for i in 1..${RATE * seconds} loop
    update outbox_head set seq = seq + 1 returning seq into n;
    insert into outbox (seq, chain_id, aggregate_type, type, state, message)
    values (n, 1, 'contract', 'bench.tick', 'confirmed',
      replace(replace('${JSON.stringify(message(0))}', '"seq":0', '"seq":' || n), '"sentAt":"0"', '"sentAt":"' || extract(epoch from clock_timestamp()) * 1000 || '"'));
    perform pg_notify('chainflume_outbox', '');
    commit;
    due := due + interval '1 second' / ${RATE};
    perform pg_sleep(extract(epoch from due - clock_timestamp()));
  end loop;
end $bench$;`;

/** KiB that each of many quiet connections takes. */
async function idleMemory(pid, kind, url) {
  // The first connections reuse free memory; later ones show the cost of each.
  const [first, rest] = [Math.floor(IDLE / 5), IDLE - Math.floor(IDLE / 5)];
  const idle = [await clients(kind, url, first, "type-nothing")];
  await sleep(2_000);
  const before = residentOf(pid);
  idle.push(await clients(kind, url, rest, "type-nothing"));
  await sleep(2_000);
  const perClient = (residentOf(pid) - before) / rest;
  idle.forEach((child) => child.kill("SIGKILL"));
  await sleep(2_000);
  return perClient;
}

/** Subscribers for a long time while many quiet connections stay open; a quiet client that is cut off ends the run. */
async function besideIdle(pid, url, psql) {
  const half = Math.floor(IDLE / 2);
  const quiet = [await clients("chainflume", url, half, "type-nothing"), await clients("socket.io", url, IDLE - half, "type-nothing")];
  const child = await clients("chainflume", url, CLIENTS, "type-bench.tick");
  const name = `chainflume, WebSocket, beside ${IDLE} quiet connections for ${HOLD} s`;
  const measured = await measure(name, pid, child, () => run(psql, commits(HOLD)), HOLD);
  for (const others of quiet) {
    others.stdin.write("stop\n");
    const { cut } = JSON.parse(await others.line());
    if (cut > 0) throw new Error(`${cut} quiet clients were cut off`);
  }
  console.log(`${IDLE + CLIENTS} connections took ${(residentOf(pid) / 1024).toFixed(0)} MiB resident at the end of ${HOLD} s`);
  return measured;
}

const SPARSE = `0x${"5".repeat(40)}`;
const OTHERS = 1_000_000;

/** The key of an id in `outbox_rooms`: FNV-1a of 64 bits, signed. */
function roomKey(id) {
  const hash = [...Buffer.from(id)].reduce((hash, byte) => BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n), 0xcbf29ce484222325n);
  return BigInt.asIntN(64, hash);
}

/** Statements that commit many messages of one type at once, about one address. */
function many(count, type, address) {
  const text = JSON.stringify({ ...message(0), type, aggregateId: address });
  return `with head as (update outbox_head set seq = seq + ${count} returning seq),
      numbers as (select head.seq - ${count} + i as seq from head, generate_series(1, ${count}) i)
    insert into outbox (seq, chain_id, aggregate_type, type, state, message, room_keys)
    select seq, 1, 'contract', '${type}', 'confirmed', replace('${text}', '"seq":0', '"seq":' || seq), array[${roomKey(address)}]
    from numbers;
    notify chainflume_outbox;\n`;
}

/** Waits until the daemon has indexed what is committed. */
const UNTIL_INDEXED = `do $$ begin
    while (select upto from outbox_room_index) < (select seq from outbox_head) loop perform pg_sleep(0.2); end loop;
  end $$;\n`;

async function run(psql, sql) {
  const sender = start("sh", ["-c", `exec ${psql} -v ON_ERROR_STOP=1 -q -f -`]);
  sender.stdin.end(sql);
  const code = await new Promise((resolve) => sender.on("exit", resolve));
  if (code !== 0) throw new Error(`psql ended with ${code}`);
}

/** Milliseconds from a subscription to the last of so many messages of the room; the position of the last of them. */
function resume(url, room, since, count) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url.replace("http", "ws")}/v1/ws`, ["chainflume.v1"], { perMessageDeflate: false });
    let [began, found] = [0, 0];
    const end = (position) => {
      socket.terminate();
      resolve({ milliseconds: performance.now() - began, position });
    };
    socket.on("error", reject);
    socket.on("open", () => {
      began = performance.now();
      socket.send(JSON.stringify({ id: 1, op: "subscribe", rooms: [room], ...(since && { since }) }));
    });
    socket.on("message", (text) => {
      const frame = JSON.parse(text);
      if (frame.gap || frame.ok === false) reject(new Error(text));
      if (frame.ok && count === 0) end(frame.position);
      if (frame.room && ++found === count) end(frame.position);
    });
  });
}

/** The position of the server when it has read everything that is committed. */
async function settled(url) {
  for (let last = null; ; await sleep(1_000)) {
    const { position } = await resume(url, "type-nothing", null, 0);
    if (position === last) return position;
    last = position;
  }
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** What clients wait for that come back: 10,000 messages from the database and from memory, and ten among a million others. */
async function resumes(url, psql) {
  const dense = `0x${"6".repeat(40)}`;
  const before = await settled(url);
  await run(psql, many(10_000, "bench.old", dense));
  for (let part = 0; part < 10; part++) await run(psql, many(1, "bench.sparse", SPARSE) + many(OTHERS / 10, "bench.other", dense));
  const middle = await settled(url);
  await run(psql, UNTIL_INDEXED + many(10_000, "bench.new", dense));
  await resume(url, "type-bench.new", middle, 10_000);
  const parts = [
    ["10,000 missed messages from the database", "type-bench.old", before, 10_000],
    ["10,000 missed messages from memory", "type-bench.new", middle, 10_000],
    [`10 messages of an address among ${OTHERS.toLocaleString("en")} others`, `address-${SPARSE}`, before, 10],
  ];
  for (const [name, room, since, count] of parts) {
    const times = [];
    for (let round = 0; round < 7; round++) times.push((await resume(url, room, since, count)).milliseconds);
    console.log(`${name}: ${median(times).toFixed(1)} ms, the longest of seven ${Math.max(...times).toFixed(1)} ms`);
  }
}

async function ofChainflume() {
  const folder = mkdtempSync(join(tmpdir(), "chainflume-bench-push-"));
  // PostgreSQL runs as another user where this is root.
  chmodSync(folder, 0o755);
  // A demo without new blocks: only the messages of this run.
  // Free the memory of the history sync: otherwise idle connections would reuse it and seem to need none.
  const env = { ...process.env, MALLOC_ARENA_MAX: "2", MALLOC_TRIM_THRESHOLD_: "65536" };
  const daemon = start(binary, ["demo", "--without-redis", "--block-time", "10m", "--data-dir", folder], { env });
  let [url, psql] = [];
  for (;;) {
    const line = await daemon.line();
    url ??= /(http:\/\/[\d.:]+)\/v1\/stream/.exec(line)?.[1];
    psql ??= /^ {2}(.*psql.*) -c /.exec(line)?.[1];
    if (line.includes("live from here")) break;
  }
  // Read its output to the end: otherwise the daemon would block.
  (async () => { for await (const _line of daemon.lines); })().catch(() => {});
  const results = [];
  for (const [kind, name] of [["chainflume", "chainflume, WebSocket"], ["socket.io", "chainflume, Socket.IO"]]) {
    const perClient = await idleMemory(daemon.pid, kind, url);
    const child = await clients(kind, url, CLIENTS, "type-bench.tick");
    const measured = await measure(name, daemon.pid, child, () => run(psql, commits(SECONDS)));
    child.kill("SIGKILL");
    results.push({ ...measured, perClient });
  }
  await resumes(url, psql);
  if (HOLD > 0) results.push(await besideIdle(daemon.pid, url, psql));
  daemon.kill("SIGINT");
  await new Promise((resolve) => daemon.on("exit", resolve));
  return results;
}

async function ofSocketIo() {
  const server = start("node", [new URL("socket-io-server.mjs", here).pathname]);
  const url = `http://127.0.0.1:${await server.line()}`;
  const child = await clients("socket.io", url, CLIENTS, "all");
  return measure("npm socket.io, WebSocket", server.pid, child, async () => {
    for (let seq = 1; seq <= RATE * SECONDS; seq++) {
      server.stdin.write(`${JSON.stringify(message(seq))}\n`);
      await sleep(1_000 / RATE);
    }
  });
}

const results = [...(await ofChainflume()), await ofSocketIo()];
const round = (value) => (value === null ? "–" : value.toFixed(1));
console.log(`${CLIENTS} subscribers of one room, ${RATE} messages/s for ${SECONDS} s, clients on the same machine\n`);
console.log("| server | deliveries | missing | p50 ms | p99 ms | max ms | CPU s | deliveries per CPU s |\n|---|---|---|---|---|---|---|---|");
for (const { name, deliveries, missing, p50, p99, max, cpu, perCpuSecond } of results) {
  console.log(`| ${name} | ${deliveries} | ${missing} | ${round(p50)} | ${round(p99)} | ${round(max)} | ${round(cpu)} | ${Math.round(perCpuSecond)} |`);
}
const [native, socketIo] = results.map(({ perClient }) => perClient?.toFixed(1));
console.log(`\n${IDLE} idle connections: ${native} KiB resident each by WebSocket, ${socketIo} KiB by Socket.IO. The latency of chainflume begins before its commit, that of socket.io before its emit.`);
process.exit(0);
