/**
 * `pnpm bench [--store redis | --all] [--cell cycles,handOff] [--quick] [--json] [--write]`:
 * figures of one run against the bare statements and against other libraries on the same server. `--write`
 * puts them into docs/benchmarks.md; `--json` prints one line for each store.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createCoordinator } from "@coord/core";
import { cycles } from "./cells/cycles.ts";
import { names, renewal } from "./cells/holding.ts";
import { requests } from "./cells/requests.ts";
import { crowd, handOff, idle } from "./cells/waiting.ts";
import { circumstances, loads, markdownOf, writePage } from "./report.ts";
import type { Report } from "./report.ts";
import { full, quick } from "./row.ts";
import type { Effort, Row } from "./row.ts";
import type { BenchStore } from "./store.ts";
import { storeOf, stores } from "./stores.ts";

const { values } = parseArgs({
  options: {
    store: { type: "string", default: "postgres" },
    all: { type: "boolean", default: false },
    cell: { type: "string" },
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    write: { type: "boolean", default: false },
  },
});

type Cell = (store: BenchStore, url: string, effort: Effort) => Promise<Row[]>;
const cells: Readonly<Record<string, Cell>> = {
  cycles,
  handOff,
  crowd,
  idle,
  renewal,
  names,
  requests: (_store, _url, effort) => requests(effort),
};

async function measure(store: BenchStore): Promise<Report> {
  const effort = values.quick ? quick : full;
  const wanted = values.cell?.split(",") ?? store.cells;
  const loadBefore = loads();
  const began = performance.now();
  const server = await store.start();
  const rows: Row[] = [];
  try {
    const { backend, close } = await store.backend(server.url, 1);
    await createCoordinator({ backend, cleanUp: false }).setup();
    await backend.close();
    await close();
    for (const name of wanted.filter((each) => store.cells.includes(each))) {
      for (const row of (await cells[name]?.(store, server.url, effort)) ?? []) {
        rows.push(row);
        process.stderr.write(
          `${store.name} | ${row.cell} | ${row.who} | ${row.measured} | ${row.ratio?.toFixed(2) ?? ""}\n`,
        );
      }
    }
  } finally {
    await server.stop();
  }
  return {
    store: store.name,
    version: server.version,
    ...circumstances(),
    loadBefore,
    loadAfter: loads(),
    quick: values.quick,
    tookSeconds: Math.round((performance.now() - began) / 1000),
    rows,
  };
}

const unknown = values.cell?.split(",").find((name) => !Object.hasOwn(cells, name));
if (unknown !== undefined) {
  throw new Error(`--cell takes ${Object.keys(cells).join(", ")}, got ${unknown}`);
}

/** In a process of its own, so that no store's leftovers slow down the next one. */
function measureApart(store: BenchStore): void {
  const args = process.argv.slice(2).filter((arg) => arg !== "--all");
  const { stdout, status } = spawnSync(
    process.execPath,
    [...process.execArgv, fileURLToPath(import.meta.url), ...args, "--store", store.name],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  if (status !== 0) throw new Error(`the benchmark of ${store.name} ended with ${status}`);
  process.stdout.write(stdout);
}

if (values.all) {
  for (const store of stores) measureApart(store);
} else {
  const store = storeOf(values.store);
  const report = await measure(store);
  if (values.write) await writePage(store, report);
  process.stdout.write(values.json ? `${JSON.stringify(report)}\n` : markdownOf(store, report));
}
// Some of the other libraries leave timers and connections behind.
process.exit();
