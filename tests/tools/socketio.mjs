// The stock client of Socket.IO from npm. Prints what it gets, one JSON object a line.
//   socketio.mjs follow <url> <transport> <room> [token]   joins in the callback of `connect`, and comes again with its last position
//   socketio.mjs crowd <url> <transport> <room> <count>    as many clients at once; for each line of input, a sequence number, it
//                                                          prints what they had when all of them have it
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const { io } = createRequire(fileURLToPath(new URL("../../.tools/package.json", import.meta.url)))("socket.io-client");
const [, , mode, url, transport, room, last_argument] = process.argv;
const print = (value) => console.log(JSON.stringify(value));
const transports = transport === "upgrade" ? ["polling", "websocket"] : [transport];
const options = { transports, reconnectionDelay: 100, reconnectionDelayMax: 500, forceNew: true };

function follow(token) {
  let since;
  const socket = io(url, { ...options, auth: (give) => give({ token, since }) });
  socket.io.on("open", () => socket.io.engine.on("upgrade", ({ name }) => print({ upgraded: name })));
  socket.on("connect", () => {
    print({ connected: socket.io.engine.transport.name });
    socket.emit("join", room, (answer) => {
      since ??= answer.position;
      print({ joined: answer });
    });
    socket.emit("join-user", 8, (answer) => print({ foreign: answer }));
  });
  socket.onAny((event, data, meta) => {
    since = meta?.position ?? since;
    print({ event, data, meta });
  });
  socket.on("connect_error", (error) => print({ refused: error.data ?? error.message }));
  socket.on("disconnect", (reason) => print({ disconnected: reason }));
}

function crowd(count) {
  const clients = Array.from({ length: count }, () => ({ seqs: [] }));
  let joined = 0;
  let wanted;
  const look = () => {
    if (wanted && clients.every(({ seqs }) => seqs.at(-1) >= wanted)) {
      print({ seqs: [...new Set(clients.map(({ seqs }) => seqs.join()))] });
      wanted = undefined;
    }
  };
  for (const client of clients) {
    const socket = io(url, options);
    socket.on("connect", () => {
      // All at once, as an application does that sets up its page.
      for (const id of Array(5).keys()) socket.emit("join-event", id);
      socket.emit("join", room, (answer) => answer.ok && ++joined === count && print({ joined }));
    });
    socket.on("message", (_, { seq }) => {
      client.seqs.push(seq);
      look();
    });
  }
  createInterface({ input: process.stdin }).on("line", (line) => {
    wanted = Number(line);
    look();
  });
}

if (mode === "crowd") crowd(Number(last_argument));
else follow(last_argument);
