import { createContext, createElement, type ReactNode, useCallback, useContext, useEffect, useMemo, useRef, useState } from "react";

import type { ChainflumeClient } from "./client.js";
import type { ConnectionState } from "./connection.js";
import { Fold } from "./fold.js";
import type { Frame, Gap } from "./messages.js";

const Context = createContext<ChainflumeClient | undefined>(undefined);

/** Frames that a hook keeps: a page shows no more. */
const KEPT = 1_000;

/** Gives a client to the hooks below it. Connects it while it is shown. */
export function ChainflumeProvider({ client, children }: { client: ChainflumeClient; children?: ReactNode }) {
  useEffect(() => {
    client.connect();
    return () => client.close();
  }, [client]);
  return createElement(Context.Provider, { value: client }, children);
}

/** The client of the provider above. */
export function useChainflume(): ChainflumeClient {
  const client = useContext(Context);
  if (!client) throw new Error("useChainflume: put a <ChainflumeProvider client={…}> above this component");
  return client;
}

/** The connection, as a component sees it. */
export interface Connection {
  state: ConnectionState;
  isConnected: boolean;
  /** The newest frame of the rooms named. */
  last: Frame | undefined;
  /** Messages were lost: read what you show anew. */
  gap: Gap | undefined;
  /** Why a room was refused or the connection ended. */
  error: Error | undefined;
}

interface Seen {
  last?: Frame;
  gap?: Gap;
  error?: Error | undefined;
  refused?: Error;
}

/** Joins the rooms `event-<eventId>` and `user-<userId>` while the component is shown, and reports the connection. */
export function useWebSocket(eventId?: string | null, userId?: string | null): Connection {
  const client = useChainflume();
  const rooms = useMemo(() => roomsOf(eventId, userId), [eventId, userId]);
  const [state, setState] = useState<ConnectionState>(client.state);
  const [seen, setSeen] = useState<Seen>({});
  useEffect(() => {
    setState(client.state);
    setSeen({});
    const note = (change: Seen) => setSeen((before) => ({ ...before, ...change }));
    const ends = [
      client.on("state", (next) => {
        setState(next);
        // What broke an earlier connection is over; a room that was refused stays so.
        if (next === "connected") note({ error: undefined });
      }),
      client.on("gap", (gap) => note({ gap })),
      client.on("error", (error) => note({ error })),
      ...rooms.map((room) => client.eventStream.subscribe("*", (last) => note({ last }), { room })),
      ...rooms.map((room) => hold(client, room, (refused) => note({ refused }))),
    ];
    return () => ends.forEach((end) => end());
  }, [client, rooms]);
  return { state, isConnected: state === "connected", last: seen.last, gap: seen.gap, error: seen.refused ?? seen.error };
}

/** What has arrived about an event of the application. */
export interface EventData<D> {
  /** What is true now, in the order of arrival: a retraction takes its message out. At most the newest 1,000. */
  frames: Frame<D>[];
  /** The newest of them. */
  latest: Frame<D> | undefined;
  /** The newest retraction, to show that something was taken back. */
  retracted: Frame<D> | undefined;
  isConnected: boolean;
  gap: Gap | undefined;
  error: Error | undefined;
}

/** Follows the room `event-<eventId>` and folds its messages, reorgs included. */
export function useEventData<D = unknown>(eventId: string | null | undefined): EventData<D> {
  const client = useChainflume();
  const { isConnected, gap, error } = useWebSocket(eventId);
  const [data, setData] = useState<{ frames: Frame<D>[]; retracted: Frame<D> | undefined }>({ frames: [], retracted: undefined });
  useEffect(() => {
    setData({ frames: [], retracted: undefined });
    if (eventId === null || eventId === undefined) return undefined;
    const fold = new Fold<D>();
    const apply = (frame: Frame<D>) => {
      fold.apply(frame);
      fold.trim(KEPT);
      setData(({ retracted }) => ({ frames: fold.frames, retracted: frame.state === "retracted" ? frame : retracted }));
    };
    return client.eventStream.subscribe<D>("*", apply, { room: `event-${eventId}` });
  }, [client, eventId]);
  return { ...data, latest: data.frames.at(-1), isConnected, gap, error };
}

function roomsOf(eventId?: string | null, userId?: string | null): string[] {
  const rooms = [eventId == null ? undefined : `event-${eventId}`, userId == null ? undefined : `user-${userId}`];
  return rooms.filter((room) => room !== undefined);
}

/** Who holds which room: a room is left when the last component that shows it goes. */
const held = new WeakMap<ChainflumeClient, Map<string, number>>();

function hold(client: ChainflumeClient, room: string, failed: (error: Error) => void): () => void {
  const counts = held.get(client) ?? new Map<string, number>();
  held.set(client, counts);
  const before = counts.get(room) ?? 0;
  // A room that the application joined itself stays joined.
  if (before === 0 && client.rooms.includes(room)) return () => {};
  counts.set(room, before + 1);
  let isHeld = true;
  client.join(room).catch((error: Error) => isHeld && failed(error));
  return () => {
    isHeld = false;
    const left = (counts.get(room) ?? 1) - 1;
    if (left > 0) {
      counts.set(room, left);
      return;
    }
    counts.delete(room);
    client.leave(room);
  };
}

/** How an action is shown before its outcome is known. */
export interface OptimisticOptions<S, A extends unknown[]> {
  /** The state as if the action had succeeded. */
  apply: (state: S, ...given: A) => S;
  /** Performs the action. What it changes should be in the state when it resolves, or arrive by a message. */
  send: (...given: A) => Promise<unknown>;
}

/** A state with the actions that are on their way. */
export interface Optimistic<S, A extends unknown[]> {
  state: S;
  /** Whether an action is on its way. */
  isPending: boolean;
  /** Why the newest action failed. */
  error: Error | undefined;
  /** Shows the action at once and performs it. Rejects when it fails: its change is taken back, those of others stay. */
  run: (...given: A) => Promise<void>;
}

/** Shows an action (a purchase, a transfer) before the server has answered, and rolls it back when it fails. `state` is what is known. */
export function useOptimisticAction<S, A extends unknown[]>(state: S, options: OptimisticOptions<S, A>): Optimistic<S, A> {
  const [pending, setPending] = useState<A[]>([]);
  const [error, setError] = useState<Error>();
  const current = useRef(options);
  current.current = options;
  const run = useCallback(async (...given: A) => {
    setError(undefined);
    setPending((before) => [...before, given]);
    try {
      await current.current.send(...given);
    } catch (cause) {
      const failed = cause instanceof Error ? cause : new Error(String(cause));
      setError(failed);
      throw failed;
    } finally {
      setPending((before) => before.filter((one) => one !== given));
    }
  }, []);
  const shown = pending.reduce((shown, given) => options.apply(shown, ...given), state);
  return { state: shown, isPending: pending.length > 0, error, run };
}

/** The part of a TanStack `QueryClient` that is needed. */
export interface Invalidates {
  invalidateQueries(filters?: { queryKey: readonly unknown[] }): unknown;
}

/**
 * Invalidates queries of TanStack Query when messages arrive: `keys` names the keys that a message touches. After a gap all queries are
 * invalidated, because what was lost may have touched any of them.
 */
export function useQueryInvalidation(
  queries: Invalidates,
  keys: (frame: Frame) => readonly (readonly unknown[])[],
  { type = "*", room }: { type?: string; room?: string } = {},
): void {
  const client = useChainflume();
  const current = useRef(keys);
  current.current = keys;
  useEffect(() => {
    const touch = (frame: Frame) => current.current(frame).forEach((queryKey) => void queries.invalidateQueries({ queryKey }));
    const ends = [
      client.eventStream.subscribe(type, touch, room === undefined ? {} : { room }),
      client.on("gap", () => void queries.invalidateQueries()),
    ];
    return () => ends.forEach((end) => end());
  }, [client, queries, type, room]);
}
