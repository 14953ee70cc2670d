// Clients of one server in a process of their own; `socket.io` is the stock client, of either server. Prints one JSON object: the latencies of every message to every client, and how many clients were cut off.
//
//     node clients.mjs <chainflume|socket.io> <url> <clients> <room>
// Reads `stop` from stdin, then reports.
import { createInterface } from "node:readline";
import { io } from "socket.io-client";
import WebSocket from "ws";

const [, , kind, url, count, room] = process.argv;
const latencies = [];
let cut = 0;
/** A message has the time of its commit, in milliseconds since 1970. */
const note = (sentAt) => latencies.push(performance.timeOrigin + performance.now() - sentAt);

function chainflume(index) {
  return new Promise((resolve, reject) => {
    // 127.0.0.0/8 has ports enough for any number of clients.
    const localAddress = `127.0.0.${2 + (index % 8)}`;
    const socket = new WebSocket(`${url.replace("http", "ws")}/v1/ws`, ["chainflume.v1"], { localAddress, perMessageDeflate: false });
    socket.on("error", reject);
    socket.on("close", () => cut++);
    socket.on("open", () => socket.send(JSON.stringify({ id: 1, op: "subscribe", rooms: [room] })));
    socket.on("message", (text) => {
      const frame = JSON.parse(text);
      if (frame.ok) resolve();
      else if (frame.data?.payload?.sentAt) note(Number(frame.data.payload.sentAt));
    });
  });
}

function socketIo(index) {
  return new Promise((resolve, reject) => {
    const localAddress = `127.0.0.${2 + (index % 8)}`;
    const socket = io(url, { transports: ["websocket"], forceNew: true, localAddress });
    socket.on("connect_error", reject);
    socket.on("disconnect", () => cut++);
    socket.on("connect", () => socket.emit("join", room, resolve));
    socket.on("message", ({ payload }) => note(Number(payload.sentAt)));
  });
}

const open = kind === "chainflume" ? chainflume : socketIo;
for (let at = 0; at < Number(count); at += 100) {
  await Promise.all(Array.from({ length: Math.min(100, count - at) }, (_, index) => open(at + index)));
}
console.log("connected");
for await (const line of createInterface({ input: process.stdin })) if (line === "stop") break;
latencies.sort((a, b) => a - b);
const at = (share) => latencies[Math.max(0, Math.ceil(share * latencies.length) - 1)] ?? null;
console.log(JSON.stringify({ cut, deliveries: latencies.length, p50: at(0.5), p99: at(0.99), max: at(1) }));
process.exit(0);
