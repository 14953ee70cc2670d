// Follows the transfers of a Chainflume server, and takes back what a reorg takes back.
//
//     make demo                                          (prints an address for `push`)
//     make example SERVER=http://127.0.0.1:<port>        (in another terminal; serves this page)

import { ChainflumeClient, Fold } from "./client/index.js";

const $ = (id) => document.getElementById(id);
const given = new URLSearchParams(location.search);

const client = new ChainflumeClient({
  url: given.get("server") ?? location.origin,
  transport: given.get("transport") ?? "auto",
  rooms: ["type-erc20.transfer"],
  // After a reload the page goes on where it was: what happened meanwhile arrives first.
  since: sessionStorage.getItem("position") ?? undefined,
});
client.on("position", (position) => sessionStorage.setItem("position", position));
client.on("state", (state) => ($("status").textContent = state));
client.on("gap", ({ reason }) => ($("status").textContent = `messages were lost (${reason}): read your state anew`));

// What is true now, by the id of the event. A message that is confirmed, retracted and confirmed again counts once.
const standing = new Fold();
let gone = 0;

client.eventStream.subscribe("erc20.transfer", (frame) => {
  standing.apply(frame);
  if (frame.state === "retracted") {
    gone += 1;
    // The page may not show it: it came before the page, or long ago.
    document.getElementById(frame.id)?.classList.add("gone");
  } else show(frame);
  $("standing").value = standing.frames.length;
  $("gone").value = gone;
});

function show({ id, data: { payload, metadata } }) {
  document.getElementById(id)?.remove();
  const item = document.createElement("li");
  item.id = id;
  // `textContent`, never HTML: whoever makes a token chooses its words.
  item.textContent = `block ${metadata.blockNumber}: ${payload.value} from ${payload.from} to ${payload.to}`;
  $("transfers").prepend(item);
  while ($("transfers").childElementCount > 200) $("transfers").lastElementChild.remove();
}

client.connect();
