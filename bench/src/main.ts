/**
 * `pnpm bench [--store postgres] [--cell cycles,handOff,crowd,renewal,names] [--json]`: ratios within one run,
 * against the bare statements and against other libraries on the same server.
 */
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { createCoordinator } from "@coord/core";
import { crowd, cycles, handOff, names, renewal } from "./cells.ts";
import type { Row } from "./cells.ts";
import { storeOf } from "./stores.ts";

const { values } = parseArgs({
  options: {
    store: { type: "string", default: "postgres" },
    cell: { type: "string", default: "cycles,handOff,crowd,renewal,names" },
    json: { type: "boolean", default: false },
  },
});

const store = storeOf(values.store);
const server = await store.start();
const { url } = server;
const { backend, close } = await store.backend(url, 1);
await createCoordinator({ backend, cleanUp: false }).setup();
await backend.close();
await close();

const cells: Readonly<Record<string, () => Promise<Row[]>>> = {
  cycles: async () => [...(await cycles(store, url, 1, 5000)), ...(await cycles(store, url, 32, 5000))],
  handOff: () => handOff(store, url, 300),
  crowd: () => crowd(store, url),
  renewal: () => renewal(store, url, 10_000),
  names: () => names(store, url, [100, 10_000, 1_000_000]),
};
const rows: Row[] = [];
try {
  for (const name of values.cell.split(",")) {
    const cell = cells[name];
    if (cell === undefined) throw new Error(`--cell takes ${Object.keys(cells).join(", ")}, got ${name}`);
    for (const row of await cell()) {
      rows.push(row);
      if (!values.json) console.log(`| ${row.cell} | ${row.what} | ${row.figure} | ${row.ratio} |`);
    }
  }
} finally {
  await server.stop();
}
const load = loadavg().map((each) => each.toFixed(1));
if (values.json)
  console.log(
    JSON.stringify(
      { store: store.name, version: server.version, node: process.version, load, rows },
      null,
      2,
    ),
  );
else console.log(`${store.name} ${server.version}, Node ${process.version}, load ${load.join(" ")}`);
