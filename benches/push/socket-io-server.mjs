// npm socket.io with one room, which sends each line of stdin to the room: the reference for the public server.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Server } from "socket.io";

const http = createServer();
const server = new Server(http, { transports: ["websocket"], perMessageDeflate: false });
server.on("connection", (socket) => socket.on("join", (room, joined) => (socket.join(room), joined())));
http.listen(0, "127.0.0.1", () => console.log(http.address().port));
for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  message.payload.sentAt = String(performance.timeOrigin + performance.now());
  server.to("all").emit("message", message, { id: message.id, seq: message.seq });
}
