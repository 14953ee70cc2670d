import type { BackoffOptions } from "./backoff.js";
import type { Transport } from "./link.js";
import type { PerformanceMonitor } from "./performance.js";
import type { Io } from "./socketio.js";
import type { TokenSource } from "./token.js";

/** How a client connects. */
export interface ChainflumeOptions {
  /** Address of the public server, `https://push.example`. */
  url: string;
  /** A JSON Web Token, or a function that fetches one. A function is asked again when the token expires. */
  token?: TokenSource | undefined;
  /** `auto`: WebSocket where the platform has it, else server-sent events. */
  transport?: "auto" | "websocket" | "sse" | "eventsource" | "socket.io" | Transport;
  /** Rooms to join at the start. */
  rooms?: string[];
  /** The position of an earlier session: what was missed since then arrives first. */
  since?: string | undefined;
  /** Pauses between attempts. */
  backoff?: BackoffOptions;
  /** `io` of `socket.io-client`, for the transport `socket.io`. */
  io?: Io | undefined;
  /** Names of push events of `[[push]]` rules, for the transport `eventsource`. */
  events?: string[];
  /** Receives `connect` and `latency`, in milliseconds. */
  monitor?: PerformanceMonitor;
  /** In place of the platform's own. */
  fetch?: typeof fetch;
  WebSocket?: new (url: string, protocols?: string | string[]) => WebSocket;
  EventSource?: new (url: string) => EventSource;
}
