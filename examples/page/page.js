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
  // After a reload the page resumes at its last position: what it missed arrives first.
  since: sessionStorage.getItem("position") ?? undefined,
});
client.on("position", (position) => sessionStorage.setItem("position", position));
client.on("state", (state) => ($("status").textContent = state));
client.on("gap", ({ reason }) => ($("status").textContent = `messages were lost (${reason}): read your state anew`));

// The confirmed events by id. An event that is confirmed, retracted and confirmed again counts once.
const confirmed = new Fold();
let gone = 0;

client.eventStream.subscribe("erc20.transfer", (frame) => {
  confirmed.apply(frame);
  if (frame.state === "retracted") {
    gone += 1;
    // The list may not contain it: it arrived before the page was opened, or long ago.
    document.getElementById(frame.id)?.classList.add("gone");
  } else show(frame);
  $("confirmed").value = confirmed.frames.length;
  $("gone").value = gone;
});

function show({ id, data: { payload, metadata } }) {
  document.getElementById(id)?.remove();
  const item = document.createElement("li");
  item.id = id;
  // `textContent`, never HTML: the author of a token chooses its name.
  item.textContent = `block ${metadata.blockNumber}: ${payload.value} from ${payload.from} to ${payload.to}`;
  $("transfers").prepend(item);
  while ($("transfers").childElementCount > 200) $("transfers").lastElementChild.remove();
}

client.connect();
