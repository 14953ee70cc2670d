/** A place in the log of messages: `seq` within the history `epoch`. */
export interface Position {
  epoch: string;
  seq: number;
}

/** Reads `<epoch>.<seq>`; `undefined` for anything else. */
export function parsePosition(text: string | null | undefined): Position | undefined {
  const match = /^([0-9a-z]+)\.([0-9]{1,16})$/i.exec(text ?? "");
  const [, epoch, seq] = match ?? [];
  return epoch !== undefined && seq !== undefined ? { epoch, seq: Number(seq) } : undefined;
}

/** Whether `a` is a later place than `b`. A place of another epoch is later: it was received later. */
export function isAfter(a: string, b: string | undefined): boolean {
  const [left, right] = [parsePosition(a), parsePosition(b)];
  if (!left || !right) return left !== undefined;
  return left.epoch !== right.epoch || left.seq > right.seq;
}
