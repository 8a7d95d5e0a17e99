import type { Name } from "./backend.ts";

/** A waiter's place in the line for one name. */
export interface Place {
  /** Resolves true when it is this one's turn; false when `giveUp` came first. */
  readonly turn: Promise<boolean>;
  /** Whether a handle of this coordinator holds the name: then the store need not be asked. */
  heldHere(): boolean;
  /** Resolves when the handle of this coordinator that holds the name ended, or `giveUp` came. */
  ended(): Promise<void>;
  /** True once after many grants in a row within this process: pause, for the waiters of others. */
  unfair(): boolean;
  /** Called when the wait is over, whatever came of it: the next one's turn. */
  leave(): void;
  /** Called on abort or timeout: `turn` and `ended` resolve at once. */
  giveUp(): void;
}

/** Waiters of one coordinator for one name, first in, first out; only the head talks to the store. */
export interface Line {
  enter(name: Name): Place;
  held(name: Name): void;
  ended(name: Name): void;
}

interface Waiting {
  start: (turn: boolean) => void;
  wake: (() => void) | undefined;
  gone: boolean;
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

  function drop(id: string, queue: Queue): void {
    if (queue.waiting.length === 0 && !queue.heldHere) queues.delete(id);
  }

  return {
    enter(name) {
      const id = idOf(name);
      const queue = queueOf(id);
      const me: Waiting = { start: () => {}, wake: undefined, gone: false };
      const turn = new Promise<boolean>((resolve) => {
        me.start = resolve;
      });
      queue.waiting.push(me);
      if (queue.waiting[0] === me) me.start(true);
      return {
        turn,
        heldHere: () => queue.heldHere,
        ended: () =>
          new Promise<void>((resolve) => {
            if (!queue.heldHere || me.gone) resolve();
            else me.wake = resolve;
          }),
        unfair() {
          if (queue.streak < fairStreak) return false;
          queue.streak = 0;
          return true;
        },
        leave() {
          const at = queue.waiting.indexOf(me);
          if (at === -1) return;
          queue.waiting.splice(at, 1);
          if (at === 0) queue.waiting[0]?.start(true);
          drop(id, queue);
        },
        giveUp() {
          me.gone = true;
          me.start(false);
          me.wake?.();
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
      const head = queue.waiting[0];
      if (head === undefined) drop(id, queue);
      else head.wake?.();
    },
  };
}
