// @ts-check
// A consumer of Chainflume's messages. It counts the confirmed ones, exactly, through reorgs and crashes of the consumer.
//
//     npm install redis
//     node consumer.mjs redis://127.0.0.1:6379/ activity worker-1     (Node.js 18 or newer, as Debian 12 has it)
//
// Start any number of consumers in one group, each with its own name. docs/CONSUMING.md explains the rules.

import { createClient } from "redis";

const [url = "redis://127.0.0.1:6379/", group = "activity", name = "worker-1"] = process.argv.slice(2);
const streams = ["events:user", "events:token", "events:nft", "events:contract"];
// A message that another consumer received this long ago and did not acknowledge is taken over. Set it longer than your work takes.
const idleMs = Number(process.env.IDLE_MS ?? 60_000);

/**
 * The fields of a message that are used here; schemas/message.json has all.
 * @typedef {object} Message
 * @property {string} id
 * @property {number} seq
 * @property {string} type
 * @property {"pending" | "confirmed" | "retracted"} state
 * @property {"user" | "token" | "nft" | "contract"} aggregateType
 * @property {string} aggregateId
 */

// Put your own work here. The same transaction decides whether the message counts: only if its seq is above the last seq of
// the same subject. So a repeated message changes nothing, nor does one that another consumer has overtaken. In SQL this is
//   insert into seen (subject, seq, state) values ($1, $2, $3)
//   on conflict (subject) do update set seq = excluded.seq, state = excluded.state where seen.seq < excluded.seq
const apply = `
local seq, state = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '0 unknown', '(%d+) (%a+)')
if tonumber(ARGV[2]) <= tonumber(seq) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
local before, after = state == 'confirmed' and 1 or 0, ARGV[3] == 'confirmed' and 1 or 0
redis.call('HINCRBY', KEYS[2], ARGV[4], after - before)
return 1
`;

const client = createClient({ url });
client.on("error", (error) => console.error(`redis: ${error.message}`));

/** @param {string} stream @param {string} entryId @param {Record<string, string>} fields */
async function handle(stream, entryId, fields) {
  /** @type {Message} */
  const message = JSON.parse(fields.message);
  // All messages about an event have its id: confirmed, retracted after a reorg, perhaps confirmed again.
  // Messages about a user have the wallet as aggregateId, and the newest one is valid.
  const subject = message.type.startsWith("user.") ? message.aggregateId : message.id;
  const isNew = await client.eval(apply, {
    keys: [`{${group}}:seen`, `{${group}}:confirmed`],
    arguments: [subject, String(message.seq), message.state, message.aggregateType],
  });
  console.log(message.seq, message.type, message.state, isNew ? "" : "(seen before)");
  // Last: Redis delivers a message again if it is not acknowledged.
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
        // Null for an entry that Redis has trimmed meanwhile.
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
    // Redis is away, or has lost its data with the group: begin again with the oldest entry.
    console.error(`trying again: ${error}`);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
