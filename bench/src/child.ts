/** One process of a cell that needs several: told what to do by messages, it answers each with one. */
import type { Done, Task, Waiter } from "./children.ts";
import { contendersOf } from "./contenders.ts";
import { at, pause } from "./row.ts";
import { storeOf } from "./stores.ts";

// The benchmark has ended, or died.
process.once("disconnect", () => process.exit());

const [storeName = "", url = "", namespace = ""] = process.argv.slice(2);
const contenders = await contendersOf(storeOf(storeName), url, 2, namespace);
for (const each of contenders) await each.cycle(`warm:${process.pid}`);

async function perform({ kind, contender, key, lastMs }: Task): Promise<Done> {
  const { under } = contenders[contender] ?? {};
  const granted: number[] = [];
  const released: number[] = [];
  const end = performance.now() + lastMs;
  do {
    await under?.(key, async () => {
      granted.push(at());
      // In a relay long enough for the other one to wait, else as long as the work of each.
      await pause(kind === "relay" ? 40 : 10);
      released.push(at());
    });
    await pause(1);
  } while (kind === "relay" && performance.now() < end);
  return { granted, released };
}

const isTask = (value: unknown): value is Task =>
  typeof value === "object" && value !== null && "kind" in value && "contender" in value;

async function answer(task: unknown): Promise<void> {
  if (!isTask(task)) throw new Error("a task was expected");
  process.send?.(await perform(task));
}

process.on("message", (task) => void answer(task));
const waiters = contenders.flatMap(({ name, under }, contender): Waiter[] =>
  under === undefined ? [] : [{ contender, who: name }],
);
process.send?.(waiters);
