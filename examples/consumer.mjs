// @ts-check
// A consumer of Chainflume's messages: it keeps count of what stands on the chain, whatever happens to chain or consumer.
//
//     npm install redis
//     node consumer.mjs redis://127.0.0.1:6379/ activity worker-1     (Node.js 18 or newer, as Debian 12 has it)
//
// Start as many as you like in one group, each with a name of its own. docs/CONSUMING.md tells the rest.

import { createClient } from "redis";

const [url = "redis://127.0.0.1:6379/", group = "activity", name = "worker-1"] = process.argv.slice(2);
const streams = ["events:user", "events:token", "events:nft", "events:contract"];
// What another consumer took and did not finish for so long is taken over: longer than any message takes you.
const idleMs = Number(process.env.IDLE_MS ?? 60_000);

/**
 * The part of a message that is used here; schemas/message.json is the whole.
 * @typedef {object} Message
 * @property {string} id
 * @property {number} seq
 * @property {string} type
 * @property {"pending" | "confirmed" | "retracted"} state
 * @property {"user" | "token" | "nft" | "contract"} aggregateType
 * @property {string} aggregateId
 */

// Here stands what you do with a message. Whether it counts is decided in the transaction in which it has its effect:
// only if its seq is above the last one seen of the same thing. So a message that comes again does nothing, and one
// that another consumer overtook does nothing either. In SQL this is
//   insert into seen (thing, seq, state) values ($1, $2, $3)
//   on conflict (thing) do update set seq = excluded.seq, state = excluded.state where seen.seq < excluded.seq
const apply = `
local seq, state = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '0 unknown', '(%d+) (%a+)')
if tonumber(ARGV[2]) <= tonumber(seq) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
local stood, stands = state == 'confirmed' and 1 or 0, ARGV[3] == 'confirmed' and 1 or 0
redis.call('HINCRBY', KEYS[2], ARGV[4], stands - stood)
return 1
`;

const client = createClient({ url });
client.on("error", (error) => console.error(`redis: ${error.message}`));

/** @param {string} stream @param {string} entryId @param {Record<string, string>} fields */
async function handle(stream, entryId, fields) {
  /** @type {Message} */
  const message = JSON.parse(fields.message);
  // An event is told by its id: confirmed, retracted when a reorg took it back, perhaps confirmed again.
  // A user is told anew with every change: the newest message about a wallet holds.
  const thing = message.type.startsWith("user.") ? message.aggregateId : message.id;
  const isNew = await client.eval(apply, {
    keys: [`{${group}}:seen`, `{${group}}:standing`],
    arguments: [thing, String(message.seq), message.state, message.aggregateType],
  });
  console.log(message.seq, message.type, message.state, isNew ? "" : "(seen before)");
  // Only now: what is not acknowledged comes again.
  await client.xAck(stream, group, entryId);
}

/** Reads until something fails. */
async function consume() {
  for (const stream of streams) {
    await client.xGroupCreate(stream, group, "0", { MKSTREAM: true }).catch((error) => {
      if (!error.message.startsWith("BUSYGROUP")) throw error;
    });
  }
  for (;;) {
    for (const stream of streams) {
      const claimed = await client.xAutoClaim(stream, group, name, idleMs, "0-0", { COUNT: 100 });
      for (const entry of claimed.messages) {
        // Nothing in place of an entry that Redis has trimmed meanwhile.
        if (entry) await handle(stream, entry.id, entry.message);
      }
    }
    const fresh = await client.xReadGroup(
      group,
      name,
      streams.map((key) => ({ key, id: ">" })),
      { COUNT: 100, BLOCK: 2000 },
    );
    /** @type {{ name: string, messages: { id: string, message: Record<string, string> }[] }[]} */
    const streamsRead = /** @type {any} */ (fresh ?? []);
    for (const stream of streamsRead) {
      for (const entry of stream.messages) await handle(stream.name, entry.id, entry.message);
    }
  }
}

await client.connect();
for (;;) {
  try {
    await consume();
  } catch (error) {
    // Redis is away, or has lost the group with all it had: from the beginning of what is there.
    console.error(`trying again: ${error}`);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
