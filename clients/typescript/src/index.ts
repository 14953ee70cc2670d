export type {
  Activity,
  ActivityChange,
  ActivityStatus,
  ActivityTransaction,
  ApplicationEvent,
  NewActivity,
  PublishedEvent,
  WriteOptions,
} from "./application.js";
export { type BackoffOptions, Backoff } from "./backoff.js";
export { type BackgroundSyncOptions, BackgroundSync, type SyncItem, type SyncStorage } from "./background-sync.js";
export { type ActivityEnd, ChainflumeClient, type ClientEvents } from "./client.js";
export type { ConnectionState } from "./connection.js";
export { ChainflumeError } from "./errors.js";
export { EventStream, type SubscribeOptions } from "./event-stream.js";
export { Fold } from "./fold.js";
export type { End, Events, Joined, Link, Target, Transport } from "./link.js";
export * from "./messages.js";
export type { ChainflumeOptions } from "./options.js";
export type { MessagesQuery } from "./pages.js";
export { PerformanceMonitor, type Statistics } from "./performance.js";
export { isAfter, parsePosition, type Position } from "./position.js";
export type { TokenRequest, TokenSource } from "./token.js";
