import { ChainflumeError } from "./errors.js";
import { EventSourceTransport } from "./eventsource.js";
import type { Transport } from "./link.js";
import type { ChainflumeOptions } from "./options.js";
import { SocketIoTransport } from "./socketio.js";
import { SseTransport } from "./sse.js";
import { WebSocketTransport } from "./websocket.js";

/** The protocol that the options name, with what the platform has. */
export function transportOf(options: ChainflumeOptions): Transport {
  const { transport = "auto", io, events = [] } = options;
  if (typeof transport !== "string") return transport;
  const socket = options.WebSocket ?? globalThis.WebSocket;
  const fetcher = options.fetch ?? globalThis.fetch;
  const missing = (what: string) => new ChainflumeError("unsupported", `${what}; pass one in the options of the client`);
  switch (transport) {
    case "websocket":
      if (!socket) throw missing("this platform has no WebSocket");
      return new WebSocketTransport(socket);
    case "socket.io":
      if (!io) throw missing("the transport socket.io needs `io` of socket.io-client");
      return new SocketIoTransport(io);
    case "eventsource": {
      const source = options.EventSource ?? globalThis.EventSource;
      if (!source) throw missing("this platform has no EventSource");
      return new EventSourceTransport(source, fetcher, events);
    }
    case "sse":
      return new SseTransport(fetcher);
    case "auto":
      return socket ? new WebSocketTransport(socket) : new SseTransport(fetcher);
  }
}
