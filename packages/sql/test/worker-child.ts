/** A process with a pool of its own that does what its parent tells it, step by step. Arguments: flavor, url. */
import { setTimeout as sleep } from "node:timers/promises";
import { advisoryLock, transaction } from "../src/index.ts";
import { type Flavor, openPool } from "./pools.ts";
import { addOne, type Strategy } from "./strategies.ts";

/** What the parent can ask for. */
export type Order =
  | { readonly order: "add"; readonly table: string; readonly strategy: Strategy }
  | {
      readonly order: "add many";
      readonly table: string;
      readonly strategy: Strategy;
      readonly rounds: number;
    }
  | { readonly order: "transfer"; readonly table: string }
  | { readonly order: "lock"; readonly name: string }
  | { readonly order: "go on" };

export type Report =
  | { readonly report: "ready" }
  | { readonly report: "read"; readonly balance: number }
  | { readonly report: "step"; readonly step: number }
  | { readonly report: "held" }
  | { readonly report: "done" }
  /** When each read came in and when its write was about to go out, on the machine's monotonic clock, in ns. */
  | { readonly report: "spans"; readonly spans: readonly (readonly [bigint, bigint])[] };

const [flavor = "postgres", url = ""] = process.argv.slice(2);
const { pool } = openPool(flavor as Flavor, url, 3);
const tell = (report: Report): void => void process.send?.(report);

let goOn = (): void => {};
const told = (): Promise<void> =>
  new Promise((resolve) => {
    goOn = resolve;
  });

async function obey(order: Order): Promise<void> {
  switch (order.order) {
    case "go on":
      return goOn();
    case "add":
      await addOne(pool, order.table, order.strategy, async (balance) => {
        const next = told();
        tell({ report: "read", balance });
        await next;
      });
      return tell({ report: "done" });
    case "add many": {
      const spans: [bigint, bigint][] = [];
      for (let i = 0; i < order.rounds; i++) {
        await addOne(pool, order.table, order.strategy, async () => {
          const readAt = process.hrtime.bigint();
          await sleep(2);
          spans.push([readAt, process.hrtime.bigint()]);
        });
      }
      return tell({ report: "spans", spans });
    }
    case "transfer":
      await transaction(pool, async (session) => {
        const step = async (number: number): Promise<void> => {
          const next = told();
          tell({ report: "step", step: number });
          await next;
        };
        await step(0);
        await session.execute(`UPDATE ${order.table} SET balance = balance - 10 WHERE id = 1`);
        await step(1);
        await session.execute(`UPDATE ${order.table} SET balance = balance + 10 WHERE id = 2`);
        await step(2);
      });
      return tell({ report: "step", step: 3 });
    case "lock":
      await advisoryLock(pool, order.name, async () => {
        tell({ report: "held" });
        await new Promise(() => {});
      });
      return;
    default:
  }
}

process.on("message", (order: Order) => {
  obey(order).catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    process.exit(1);
  });
});
process.on("disconnect", () => process.exit());
tell({ report: "ready" });
