// The client of clients/typescript against a real server. Prints what it gets, one JSON object a line.
import { ChainflumeClient } from "../../clients/typescript/dist/index.js";

const [, , transport, url, rooms, token] = process.argv;
const print = (value) => console.log(JSON.stringify(value));
// Only where it is asked for: everything else needs no package.
const { io } = transport === "socket.io" ? await import("../../clients/typescript/node_modules/socket.io-client/build/esm/index.js") : {};

const client = new ChainflumeClient({ url, transport, token, io, rooms: rooms.split(","), backoff: { min: 50, max: 500 } });
client.on("state", (state) => print({ status: state, position: client.position }));
client.on("gap", (gap) => print({ gap }));
client.on("error", (error) => print({ error: error.code ?? error.message }));
client.eventStream.subscribe("*", print);
for (const room of rooms.split(",")) client.eventStream.subscribe("*", ({ position }) => print({ in: room, at: position }), { room });
client.connect();
