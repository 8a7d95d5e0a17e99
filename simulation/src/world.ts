/** Virtual time: a queue of events, and all that promises do settled between two of them. */
export interface World {
  /** Milliseconds of true time since the run began, which no clock in the simulation shows. */
  now(): number;
  at(timeMs: number, run: () => void): void;
  after(delayMs: number, run: () => void): void;
  /** One line of the trace; made only when somebody reads it. */
  note(line: () => string): void;
  /** Runs events in the order of their times until none is left, `stop` says so, or the time is up. */
  run(untilMs: number, stop: () => boolean): void;
}

interface Event {
  readonly timeMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** More events than any sound run has: something repeats itself without a pause. */
const mostEvents = 100_000;

const earlier = (a: Event, b: Event): boolean =>
  a.timeMs < b.timeMs || (a.timeMs === b.timeMs && a.order < b.order);

function push(heap: Event[], event: Event): void {
  let at = heap.length;
  heap.push(event);
  while (at > 0) {
    const above = (at - 1) >> 1;
    const parent = heap[above];
    if (parent === undefined || !earlier(event, parent)) break;
    heap[at] = parent;
    at = above;
  }
  heap[at] = event;
}

function pop(heap: Event[]): Event | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (first === undefined || last === undefined || heap.length === 0) return first;
  let at = 0;
  for (;;) {
    const left = heap[2 * at + 1];
    const right = heap[2 * at + 2];
    if (left === undefined) break;
    const useRight = right !== undefined && earlier(right, left);
    const child = useRight ? right : left;
    if (!earlier(child, last)) break;
    heap[at] = child;
    at = 2 * at + (useRight ? 2 : 1);
  }
  heap[at] = last;
  return first;
}

/** Node's own: runs all ticks and promise jobs until none is left. Needs to be called outside of any job. */
const runJobs: unknown = Reflect.get(process, "_tickCallback");

export function settle(): void {
  if (typeof runJobs === "function") Reflect.apply(runJobs, process, []);
}

/** Runs `work` where `settle` does what it says, which is not so inside an async function. */
export function outsideJobs<T>(work: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    setImmediate(() => {
      try {
        let settled = false;
        void Promise.resolve().then(() => {
          settled = true;
        });
        settle();
        if (!settled)
          throw new Error(
            "This Node.js can't settle promises on demand (process._tickCallback); use Node 20 to 24.",
          );
        resolve(work());
      } catch (error) {
        reject(error);
      }
    });
  });
}

export function createWorld(trace: string[] | undefined, onOverrun: (what: string) => void): World {
  const heap: Event[] = [];
  let nowMs = 0;
  let order = 0;
  let count = 0;
  const at = (timeMs: number, run: () => void): void => {
    order += 1;
    push(heap, { timeMs: Math.max(timeMs, nowMs), order, run });
  };
  return {
    now: () => nowMs,
    at,
    after: (delayMs, run) => at(nowMs + delayMs, run),
    note: (line) => void trace?.push(`${nowMs.toFixed(2).padStart(11)}  ${line()}`),
    run(untilMs, stop) {
      settle();
      while (!stop()) {
        const next = heap[0];
        if (next === undefined || next.timeMs > untilMs) break;
        pop(heap);
        nowMs = next.timeMs;
        next.run();
        settle();
        count += 1;
        if (count > mostEvents)
          onOverrun(`more than ${mostEvents} events: something repeats without a pause`);
      }
      if (heap.length === 0 || !stop())
        nowMs = Math.max(nowMs, Math.min(untilMs, heap[0]?.timeMs ?? untilMs));
    },
  };
}
