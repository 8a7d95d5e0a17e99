import type { Name } from "./backend.ts";

/** A waiter's place in the line for one name. */
export interface Place {
  /** Whether others of this coordinator are before it, or hold the name: then the store need not be asked. */
  blocked(): boolean;
  /** Called once when that may have changed; the next call takes the place of the last. */
  onChange(wake: () => void): void;
  /** True once after many grants in a row within this process: pause, for the waiters of others. */
  unfair(): boolean;
  /** Called when the wait is over, whatever came of it: the next one's turn. */
  leave(): void;
}

/** Waiters of one coordinator for one name, first in, first out; only the head talks to the store. */
export interface Line {
  enter(name: Name): Place;
  held(name: Name): void;
  ended(name: Name): void;
}

interface Waiting {
  wake: (() => void) | undefined;
}

interface Queue {
  readonly waiting: Waiting[];
  heldHere: boolean;
  streak: number;
}

const fairStreak = 32;

const idOf = (name: Name): string => `${name.namespace}\u0000${name.key}`;

export function createLine(): Line {
  const queues = new Map<string, Queue>();

  function queueOf(id: string): Queue {
    let queue = queues.get(id);
    if (queue === undefined) {
      queue = { waiting: [], heldHere: false, streak: 0 };
      queues.set(id, queue);
    }
    return queue;
  }

  function tellHead(id: string, queue: Queue): void {
    const [head] = queue.waiting;
    if (head === undefined && !queue.heldHere) queues.delete(id);
    head?.wake?.();
  }

  return {
    enter(name) {
      const id = idOf(name);
      const queue = queueOf(id);
      const me: Waiting = { wake: undefined };
      queue.waiting.push(me);
      return {
        blocked: () => queue.heldHere || queue.waiting[0] !== me,
        onChange: (wake) => void (me.wake = wake),
        unfair() {
          if (queue.streak < fairStreak) return false;
          queue.streak = 0;
          return true;
        },
        leave() {
          const at = queue.waiting.indexOf(me);
          if (at === -1) return;
          queue.waiting.splice(at, 1);
          if (at === 0) tellHead(id, queue);
        },
      };
    },
    held(name) {
      const queue = queueOf(idOf(name));
      queue.heldHere = true;
      queue.streak += 1;
    },
    ended(name) {
      const id = idOf(name);
      const queue = queues.get(id);
      if (queue === undefined) return;
      queue.heldHere = false;
      tellHead(id, queue);
    },
  };
}
