"""The stock client of Socket.IO from PyPI, which follows a room as socketio.mjs does.

The asynchronous one: its sibling for threads handles each event in a thread of its own, in any order.
"""

import asyncio
import json
import sys

import socketio

url, transport, room = sys.argv[1:4]
token = sys.argv[4] if len(sys.argv) > 4 else None
since = None


def show(**values):
    print(json.dumps(values), flush=True)


client = socketio.AsyncClient(reconnection_delay=0.1, reconnection_delay_max=0.5)


@client.event
async def connect():
    show(connected=client.transport())

    def joined(answer):
        global since
        since = since or answer["position"]
        show(joined=answer)

    await client.emit("join", room, callback=joined)
    await client.emit("join-user", 8, callback=lambda answer: show(foreign=answer))


@client.event
def connect_error(error):
    show(refused=error.get("data", error) if isinstance(error, dict) else error)


@client.event
def disconnect(reason):
    show(disconnected=reason)


@client.on("*")
def anything(event, data, meta=None):
    global since
    since = (meta or {}).get("position", since)
    show(event=event, data=data, meta=meta)


async def follow():
    transports = ["polling", "websocket"] if transport == "upgrade" else [transport]
    await client.connect(url, auth=lambda: {"token": token, "since": since}, transports=transports)
    await client.wait()


asyncio.run(follow())
