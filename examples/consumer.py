#!/usr/bin/env python3
"""A consumer of Chainflume's messages: it keeps count of what stands on the chain, whatever happens to chain or consumer.

    pip install redis
    python3 consumer.py redis://127.0.0.1:6379/ activity worker-1

Start as many as you like in one group, each with a name of its own. docs/CONSUMING.md tells the rest.
"""

import json
import os
import sys
import time

import redis

URL, GROUP, NAME = sys.argv[1:4] if len(sys.argv) == 4 else ("redis://127.0.0.1:6379/", "activity", "worker-1")
STREAMS = ["events:user", "events:token", "events:nft", "events:contract"]
# What another consumer took and did not finish for so long is taken over: longer than any message takes you.
IDLE_MS = int(os.environ.get("IDLE_MS", "60000"))

# Here stands what you do with a message. Whether it counts is decided in the transaction in which it has its effect:
# only if its seq is above the last one seen of the same thing. So a message that comes again does nothing, and one
# that another consumer overtook does nothing either. In SQL this is
#   insert into seen (thing, seq, state) values ($1, $2, $3)
#   on conflict (thing) do update set seq = excluded.seq, state = excluded.state where seen.seq < excluded.seq
APPLY = """
local seq, state = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '0 unknown', '(%d+) (%a+)')
if tonumber(ARGV[2]) <= tonumber(seq) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])
local stood, stands = state == 'confirmed' and 1 or 0, ARGV[3] == 'confirmed' and 1 or 0
redis.call('HINCRBY', KEYS[2], ARGV[4], stands - stood)
return 1
"""


def handle(client, stream, entry_id, fields):
    # Whoever claims an entry that Redis has trimmed meanwhile is given no fields.
    if fields:
        message = json.loads(fields["message"])
        # An event is told by its id: confirmed, retracted when a reorg took it back, perhaps confirmed again.
        # A user is told anew with every change: the newest message about a wallet holds.
        about_user = message["type"].startswith("user.")
        thing = message["aggregateId"] if about_user else message["id"]
        keys = [f"{{{GROUP}}}:seen", f"{{{GROUP}}}:standing"]
        is_new = client.eval(
            APPLY, 2, *keys, thing, message["seq"], message["state"], message["aggregateType"]
        )
        print(message["seq"], message["type"], message["state"], "" if is_new else "(seen before)", flush=True)
    # Only now: what is not acknowledged comes again.
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
            # Redis is away, or has lost the group with all it had: from the beginning of what is there.
            print(f"trying again: {error}", file=sys.stderr)
            time.sleep(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
