/** Whether a message is a forecast, a fact, or withdrawn after a reorg. */
export type State = "pending" | "confirmed" | "retracted";

/** What happened on a chain. `contract.<event>` is an event of an ABI without a family. */
export type MessageType =
  | "stake.staked"
  | "erc20.transfer"
  | "erc20.mint"
  | "erc20.burn"
  | "erc20.approval"
  | "erc721.transfer"
  | "erc721.mint"
  | "erc721.burn"
  | "erc721.approval"
  | "erc721.approval_for_all"
  | "erc721.consecutive_transfer"
  | "user.activated"
  | "user.updated"
  | `contract.${string}`;

/** An argument of an event: integers are decimal strings, addresses and bytes are `0x` strings, structs are objects. */
export type Value = string | boolean | null | Value[] | { [name: string]: Value };

/** The record of a user after a change; amounts are decimal strings in base units. */
export interface UserPayload {
  stakeAmount: string;
  stakeAmountFormatted?: string;
  stakedAt: string | null;
  status: string;
}

/** The payload of each type of message. Fields of tokens are as their ABI names them. */
export type PayloadOf<T extends string> = T extends "user.activated" | "user.updated"
  ? UserPayload
  : T extends `erc721.${string}`
    ? Record<string, string | boolean>
    : T extends `erc20.${string}` | `stake.${string}`
      ? Record<string, string>
      : T extends MessageType
        ? Record<string, Value>
        : Record<string, unknown>;

/** Where a message about a chain comes from. */
export interface Metadata {
  userId: string | null;
  /** The other user of a transfer between two. */
  counterpartyUserId?: string;
  correlationId: string;
  causationId: string | null;
  source: string;
  chainId: number;
  blockNumber: number;
  blockHash: string;
  transactionHash: string;
  logIndex: number;
  confirmations: number;
}

/** Where a message about anything else comes from: an event of the application, or a change of an activity. */
export interface ApplicationMetadata {
  userId: string | null;
  correlationId: string | null;
  causationId: string | null;
  source: string;
  chainId: null;
  blockNumber: null;
  blockHash: null;
  transactionHash: null;
  logIndex: null;
  confirmations: null;
}

/**
 * A message of the outbox, as `schemas/message.json` describes it. New fields may appear. `Message<"order.shipped">` is an event of the
 * application, and `Message<string>` one of any type.
 */
export interface Message<T extends string = MessageType> {
  id: string;
  seq: number;
  version: 1;
  type: T;
  state: State;
  /** Here where what is retracted was pending and never confirmed. */
  retracts?: "pending";
  /** Time of the block: RFC 3339 in UTC. */
  timestamp: string;
  aggregateType: T extends MessageType ? "user" | "token" | "nft" | "contract" : string;
  aggregateId: string;
  payload: PayloadOf<T>;
  metadata: T extends MessageType ? Metadata : ApplicationMetadata;
  replay?: true;
}

/** A message as one room gets it. `data` is the payload of the push event, or the whole message where `event` is `message`. */
export interface Frame<D = unknown> {
  /** Absent over Socket.IO from a server that names no rooms. */
  room?: string;
  /** Name of the push event. */
  event: string;
  /** `<epoch>.<seq>` */
  position: string;
  /** The same for all that is published about one event, also when it is retracted. */
  id: string;
  state: State;
  /** Here where it is history that is published again: what is known by another frame may be newer. */
  replay?: true;
  data: D;
}

/** Messages that cannot be sent any more: after `from`, up to and with `to`. Read the state anew from your own source. */
export interface Gap {
  from: string;
  /** `null` where the server does not know `from`: the client continues from now. */
  to: string | null;
  /** `retention`: deleted. `epoch`: the database was restored. `ahead`: the position is of no message. */
  reason: "retention" | "epoch" | "ahead" | (string & {});
}

/** The whole message of a frame, where the frame has it. */
export function messageOf<T extends string = MessageType>(frame: Frame): Message<T> | undefined {
  return frame.event === "message" ? (frame.data as Message<T>) : undefined;
}

/** Whether this frame withdraws an earlier one with the same id. */
export function isRetraction(frame: Frame): boolean {
  return frame.state === "retracted";
}
