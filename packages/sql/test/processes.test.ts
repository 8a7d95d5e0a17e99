import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { advisoryLock, transaction } from "../src/index.ts";
import { accounts, balanceOf, startServers, until, useServer } from "./harness.ts";
import type { Strategy } from "./strategies.ts";
import type { Order, Report } from "./worker-child.ts";

const missing = await startServers("postgres", "mysql");

/** Processes of their own on one server: what one of them loses shows in the row that all of them write. */

interface Worker {
  tell(order: Order): void;
  /** The next report of this kind that was not taken yet. */
  hear<K extends Report["report"]>(kind: K): Promise<Extract<Report, { report: K }>>;
  kill(): Promise<void>;
}

const workers = new Set<ChildProcess>();
/** Long runs are asked for: COORD_SQL_ROUNDS=1000. */
const rounds = Number(process.env["COORD_SQL_ROUNDS"] ?? 15);

async function startWorker(flavor: string, url: string, log?: (what: string) => void): Promise<Worker> {
  const child = fork(join(import.meta.dirname, "worker-child.ts"), [flavor, url], {
    execArgv: ["--conditions=source", "--import", "tsx"],
    serialization: "advanced",
  });
  workers.add(child);
  const exited = once(child, "exit").then(() => workers.delete(child));
  const heard: Report[] = [];
  child.on("message", (report: Report) => {
    heard.push(report);
    log?.(report.report);
  });
  const worker: Worker = {
    tell: (order) => void child.send(order),
    async hear(kind) {
      let found = -1;
      await until(
        `the process reports "${kind}"`,
        () => {
          if (!workers.has(child)) throw new Error("the process has ended");
          found = heard.findIndex(({ report }) => report === kind);
          return found >= 0;
        },
        60_000,
      );
      return heard.splice(found, 1)[0] as never;
    },
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
  await worker.hear("ready");
  return worker;
}

afterAll(() => {
  for (const child of workers) child.kill("SIGKILL");
});

type Span = readonly [from: bigint, to: bigint];

/** How many pairs of spans of different processes have a moment in common. */
function overlaps(spans: readonly (readonly Span[])[]): number {
  const all = spans.flatMap((own, worker) => own.map(([from, to]) => ({ worker, from, to })));
  return all.filter((a, i) =>
    all.slice(i + 1).some((b) => a.worker !== b.worker && a.from < b.to && b.from < a.to),
  ).length;
}

/** How often the turn passed from one process to another. */
function switches(spans: readonly (readonly Span[])[]): number {
  const turns = spans
    .flatMap((own, worker) => own.map(([from]) => ({ worker, from })))
    .toSorted((a, b) => (a.from < b.from ? -1 : 1));
  return turns.filter(({ worker }, i) => i > 0 && turns[i - 1]?.worker !== worker).length;
}

for (const flavor of ["postgres", "mysql"] as const) {
  describe.skipIf(missing[flavor])(`processes on ${flavor} ${missing[flavor] ?? ""}`, () => {
    const at = useServer(flavor);
    const log: string[] = [];
    let a: Worker;
    let b: Worker;

    beforeAll(async () => {
      [a, b] = await Promise.all([
        startWorker(flavor, at.server.url, (what) => log.push(`a ${what}`)),
        startWorker(flavor, at.server.url, (what) => log.push(`b ${what}`)),
      ]);
    });

    /** Both have read before either writes, as far as the strategy lets them. */
    async function interleave(table: string, strategy: Strategy): Promise<void> {
      log.length = 0;
      a.tell({ order: "add", table, strategy });
      await a.hear("read");
      b.tell({ order: "add", table, strategy });
      // Long enough to read where nothing keeps it from that; the log shows whether it did.
      await until("b has read", () => log.includes("b read"), 500).catch(() => {});
    }
    const finish = async (worker: Worker): Promise<void> => {
      worker.tell({ order: "go on" });
      await worker.hear("done");
    };

    it("lose an update where nothing protects it: the negative twin", async () => {
      const table = await accounts(at.db);
      await interleave(table, "unlocked");
      expect((await b.hear("read")).balance).toBe(100);
      await finish(a);
      await finish(b);
      expect(log).toEqual(["a read", "b read", "a done", "b done"]);
      expect(await balanceOf(at.db, table)).toBe(101); // two were added
    });

    for (const strategy of ["row lock", "advisory lock"] as const) {
      it(`with a ${strategy}, the second does not read before the first has committed`, async () => {
        const table = await accounts(at.db);
        await interleave(table, strategy);
        expect(log).toEqual(["a read"]);
        await finish(a);
        expect((await b.hear("read")).balance).toBe(101);
        await finish(b);
        expect(log.toSorted()).toEqual(["a done", "a read", "b done", "b read"]);
        expect(await balanceOf(at.db, table)).toBe(102);
      });
    }

    it("with occ, the second reads, finds out at its write, and reads again", async () => {
      const table = await accounts(at.db);
      await interleave(table, "occ");
      expect((await b.hear("read")).balance).toBe(100);
      await finish(a);
      b.tell({ order: "go on" });
      expect((await b.hear("read")).balance).toBe(101);
      await finish(b);
      expect(log).toEqual(["a read", "b read", "a done", "b read", "b done"]);
      expect(await balanceOf(at.db, table)).toBe(102);
    });

    it("with one statement, both are added whatever the order", async () => {
      const table = await accounts(at.db);
      await interleave(table, "atomic");
      await b.hear("read");
      expect(log).toEqual(["a read", "b read"]);
      await finish(b);
      await finish(a);
      expect(await balanceOf(at.db, table)).toBe(102);
    });

    for (const strategy of ["unlocked", "atomic", "row lock", "advisory lock", "occ"] as const) {
      const keeps = strategy === "unlocked" ? "loses some" : "keeps all";
      it(`${strategy} ${keeps} of the competing additions`, async () => {
        const table = await accounts(at.db);
        const isExclusive = strategy === "row lock" || strategy === "advisory lock";
        const spans: [Span[], Span[]] = [[], []];
        let asked = 0;
        // A busy machine may run one after the other; only where they met does the count say anything.
        const haveMet = (): boolean => switches(spans) > 1 && (isExclusive || overlaps(spans) > 0);
        for (let run = 0; run < 20 && !haveMet(); run++) {
          for (const worker of [a, b]) worker.tell({ order: "add many", table, strategy, rounds });
          asked += 2 * rounds;
          spans[0].push(...(await a.hear("spans")).spans);
          spans[1].push(...(await b.hear("spans")).spans);
        }
        expect(switches(spans), "they took turns").toBeGreaterThan(1);
        expect(overlaps(spans) === 0, "nobody is between read and write while another is").toBe(isExclusive);
        const added = ((await balanceOf(at.db, table)) ?? 0) - 100;
        expect(added === asked, `${added} of ${asked} were added`).toBe(strategy !== "unlocked");
      });
    }

    it("killed between statements leave all of a transaction or nothing, and no lock", async () => {
      const table = await accounts(at.db);
      for (const killAt of [1, 2, 3]) {
        const worker = await startWorker(flavor, at.server.url);
        worker.tell({ order: "lock", name: "of the dead" });
        await worker.hear("held");
        worker.tell({ order: "transfer", table });
        for (let step = 0; step <= killAt; step++) {
          expect((await worker.hear("step")).step).toBe(step);
          if (step < killAt) worker.tell({ order: "go on" });
        }
        await worker.kill();
        // Waits for what the dead process had locked, if the server has not noticed yet.
        const balances = await advisoryLock(at.db.pool, "of the dead", () =>
          transaction(at.db.pool, (session) =>
            session.fetchAll<{ balance: number }>(
              `SELECT balance FROM ${table} WHERE id <= 2 ORDER BY id FOR UPDATE`,
            ),
          ),
        );
        expect(balances.map(({ balance }) => balance)).toEqual(killAt === 3 ? [90, 110] : [100, 100]);
      }
    });
  });
}
