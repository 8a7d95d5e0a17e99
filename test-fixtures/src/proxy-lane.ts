import type { Socket } from "node:net";

/** One direction of a connection. */
export interface Lane {
  /** Sends what is due; to be called when a stall ends. */
  flush(): void;
}

export interface LaneRules {
  delayMs(): number;
  isStalled(): boolean;
  /** Sees every chunk as it comes in; false drops it. */
  accept(chunk: Buffer): boolean;
}

/** Copies one socket to another: in order, each chunk not before its time, nothing while stalled, the end last. */
export function startLane(from: Socket, to: Socket, rules: LaneRules): Lane {
  const waiting: { chunk: Buffer | undefined; dueMs: number }[] = [];
  let timer: NodeJS.Timeout | undefined;

  const flush = (): void => {
    clearTimeout(timer);
    for (;;) {
      const first = waiting[0];
      if (first === undefined || rules.isStalled() || to.destroyed) return;
      const restMs = first.dueMs - performance.now();
      if (restMs > 0) {
        timer = setTimeout(flush, restMs);
        return;
      }
      waiting.shift();
      if (first.chunk === undefined) to.end();
      else if (!to.write(first.chunk) && !from.isPaused()) {
        from.pause();
        to.once("drain", () => from.resume());
      }
    }
  };
  const enqueue = (chunk: Buffer | undefined): void => {
    waiting.push({ chunk, dueMs: performance.now() + rules.delayMs() });
    flush();
  };

  from.on("data", (chunk: Buffer) => {
    if (rules.accept(chunk)) enqueue(chunk);
  });
  from.on("end", () => enqueue(undefined));
  from.on("close", () => {
    if (waiting.length === 0) clearTimeout(timer);
  });
  to.on("close", () => clearTimeout(timer));
  return { flush };
}
