// A client of the public server in the words of the platform: WebSocket or EventSource as browsers have them, or `compressed` the
// WebSocket of the npm package ws. Prints what it gets, one JSON object a line, and comes again with its last position when it is
// disconnected.
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const [, , kind, url, room, token] = process.argv;
const print = (value) => console.log(JSON.stringify(value));
// Node ends although an EventSource waits to come again.
setInterval(() => {}, 1_000);

function listen(since) {
  const protocols = token ? ["chainflume.v1", `bearer.${token}`] : ["chainflume.v1"];
  const socket = new WebSocket(`${url}/v1/ws`, protocols);
  let last = since;
  let over = false;
  // A connection that never opened is an error without a close in node 20, and both in browsers.
  const again = (code, reason) => {
    if (over) return;
    over = true;
    print({ closed: code, reason });
    setTimeout(() => listen(last), 100);
  };
  let open = false;
  socket.onopen = () => {
    open = true;
    socket.send(JSON.stringify({ id: 1, op: "subscribe", rooms: [room], since }));
  };
  socket.onmessage = ({ data }) => {
    const frame = JSON.parse(data);
    last = frame.gap?.to ?? (frame.ok && !last ? frame.position : frame.room ? frame.position : last);
    print(frame);
  };
  socket.onerror = () => open || again(1006, "");
  socket.onclose = ({ code, reason }) => again(code, reason);
}

/** Offers compression, and compresses everything it sends itself. */
function compressed() {
  const WebSocket = createRequire(fileURLToPath(new URL("../../.tools/package.json", import.meta.url)))("ws");
  const socket = new WebSocket(`${url}/v1/ws`, ["chainflume.v1"], { perMessageDeflate: { threshold: 0 } });
  socket.on("open", () => {
    print({ extensions: socket.extensions, protocol: socket.protocol });
    // More than the compressed bytes of it, and a ping that is answered among the messages.
    socket.send(JSON.stringify({ id: 1, op: "subscribe", rooms: [room] }) + " ".repeat(30_000));
    socket.ping("there?");
  });
  socket.on("pong", (bytes) => print({ pong: String(bytes) }));
  let before = 0;
  socket.on("message", (data) => {
    const { bytesRead } = socket._socket;
    print({ ...JSON.parse(data), bytes: data.length, read: bytesRead - before });
    before = bytesRead;
  });
  socket.on("close", (code, reason) => print({ closed: code, reason: String(reason) }));
}

function stream() {
  const source = new EventSource(`${url}/v1/stream?rooms=${room}`);
  for (const name of ["message", "gap", "moved"]) {
    source.addEventListener(name, ({ data, lastEventId }) => print({ name, lastEventId, ...JSON.parse(data) }));
  }
  source.onopen = () => print({ open: true });
}

if (kind === "websocket") listen();
else if (kind === "compressed") compressed();
else stream();
