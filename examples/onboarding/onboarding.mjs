// A user's first minutes. The back end registers the user and begins an activity, the wallet sends a transaction, and the screen shows
// how the activity follows the transaction on the chain.
//
//     node onboarding.mjs <server> <node> [key]
//
// <server> is the public address of a daemon that follows the chain of <node>; the key has the scopes publish and read. The node is a
// development node such as anvil, which signs for its accounts; with another one the wallet signs.
import { ChainflumeClient, ChainflumeError } from "../../clients/typescript/dist/index.js";

const [, , server, node, token] = process.argv;
if (!server || !node) {
  console.error("usage: node onboarding.mjs <server> <node> [key]");
  process.exit(64);
}
const user = `ada-${Date.now()}`;

/** Sends a request to the node and returns its result. */
async function rpc(method, ...params) {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
  const response = await fetch(node, { method: "POST", headers: { "content-type": "application/json" }, body });
  const { result, error } = await response.json();
  if (error) throw new Error(`${method}: ${error.message}`);
  return result;
}

// 1. The back end registers the user with the wallet. From now on messages about the wallet are in the user's room too.
const [wallet, receiver] = await rpc("eth_accounts");
const headers = { "content-type": "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}) };
const registered = await fetch(new URL(`v1/users/${user}`, server), {
  method: "PUT",
  headers,
  body: JSON.stringify({ wallets: [wallet], locale: "en" }),
});
if (!registered.ok) throw new ChainflumeError("not_registered", await registered.text());
// A wallet that another user had makes the two one person, who keeps the older id.
const { id } = await registered.json();
console.log(`registered ${id} with ${wallet}`);

// 2. The screen follows the user's room. Each status is shown as it comes, also one that a reorg takes back.
const client = new ChainflumeClient({ url: server, token, rooms: [`user-${id}`] });
client.on("error", (error) => console.error(`push: ${error.code ?? error.message}`));
const ended = new Promise((resolve) => {
  client.eventStream.subscribe("activity", ({ data }) => {
    console.log(`${data.title}: ${data.status}${data.data?.transactionState ? ` (${data.data.transactionState})` : ""}`);
    if (data.status === "completed" || data.status === "failed") resolve(data);
  });
});
await new Promise((resolve) => {
  client.on("state", (state) => state === "connected" && resolve());
  client.connect();
});

// 3. The back end begins the activity, and the wallet sends.
const { eventId } = await client.createEvent({ userId: id, type: "send", title: "Send 1 wei", data: { to: receiver } });
const hash = await rpc("eth_sendTransaction", { from: wallet, to: receiver, value: "0x1" });

// 4. The activity follows the transaction: in_progress when a block has it, completed when that block is confirmed.
const chainId = Number(await rpc("eth_chainId"));
await client.updateEvent(eventId, { transaction: { chainId, hash } });
const last = await ended;

// 5. What the application made of it is a fact of its own, in the same stream.
const [published] = await client.publish({
  type: "user.onboarded",
  aggregateType: "account",
  aggregateId: id,
  payload: { eventId, status: last.status },
  metadata: { userId: id, correlationId: eventId },
});
console.log(`published user.onboarded as number ${published.seq}`);
client.close();
process.exit(last.status === "completed" ? 0 : 1);
