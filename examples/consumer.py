#!/usr/bin/env python3
"""A consumer of Chainflume's messages. It counts the confirmed ones, exactly, through reorgs and crashes of the consumer.

    pip install redis
    python3 consumer.py redis://127.0.0.1:6379/ activity worker-1

Start any number of consumers in one group, each with its own name. docs/CONSUMING.md explains the rules.
"""

import json
import os
import sys
import time

import redis

URL, GROUP, NAME = sys.argv[1:4] if len(sys.argv) == 4 else ("redis://127.0.0.1:6379/", "activity", "worker-1")
STREAMS = ["events:user", "events:token", "events:nft", "events:contract"]
# A message that another consumer received this long ago and did not acknowledge is taken over. Set it longer than your work takes.
IDLE_MS = int(os.environ.get("IDLE_MS", "60000"))

# Put your own work here. The same transaction decides whether the message counts: only if its seq is above the last seq of
# the same subject. So a repeated message changes nothing, nor does one that another consumer has overtaken. In SQL this is
#   insert into seen (subject, seq, state) values ($1, $2, $3)
#   on conflict (subject) do update set seq = excluded.seq, state = excluded.state where seen.seq < excluded.seq
APPLY = """
local seq, state = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '0 unknown', '(%d+) (%a+)')
if tonumber(ARGV[2]) <= tonumber(seq) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
local before, after = state == 'confirmed' and 1 or 0, ARGV[3] == 'confirmed' and 1 or 0
redis.call('HINCRBY', KEYS[2], ARGV[4], after - before)
return 1
"""


def handle(client, stream, entry_id, fields):
    # No fields: Redis has trimmed the entry meanwhile.
    if fields:
        message = json.loads(fields["message"])
        # All messages about an event have its id: confirmed, retracted after a reorg, perhaps confirmed again.
        # Messages about a user have the wallet as aggregateId, and the newest one is valid.
        about_user = message["type"].startswith("user.")
        subject = message["aggregateId"] if about_user else message["id"]
        keys = [f"{{{GROUP}}}:seen", f"{{{GROUP}}}:confirmed"]
        is_new = client.eval(
            APPLY, 2, *keys, subject, message["seq"], message["state"], message["aggregateType"]
        )
        print(message["seq"], message["type"], message["state"], "" if is_new else "(seen before)", flush=True)
    # Last: Redis delivers a message again if it is not acknowledged.
    client.xack(stream, GROUP, entry_id)


def consume(client):
    for stream in STREAMS:
        try:
            client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
    while True:
        for stream in STREAMS:
            claimed = client.xautoclaim(stream, GROUP, NAME, min_idle_time=IDLE_MS, count=100)
            for entry_id, fields in claimed[1]:
                handle(client, stream, entry_id, fields)
        fresh = client.xreadgroup(GROUP, NAME, {stream: ">" for stream in STREAMS}, count=100, block=2000)
        for stream, entries in fresh:
            for entry_id, fields in entries:
                handle(client, stream, entry_id, fields)


def main():
    client = redis.Redis.from_url(URL, decode_responses=True)
    while True:
        try:
            consume(client)
        except redis.RedisError as error:
            # Redis is away, or has lost its data with the group: begin again with the oldest entry.
            print(f"trying again: {error}", file=sys.stderr)
            time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
