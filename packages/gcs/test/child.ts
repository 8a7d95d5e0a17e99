/** A process that uses a lease, closes, and must then end by itself. */
import { gcsBackend } from "../src/index.ts";
import { callOptions, freshName, granted } from "./fake-store.ts";

const backend = gcsBackend({ url: process.argv[2] ?? "" });
const grant = await granted(backend, freshName());
const [outcome] = await backend.renew([grant], callOptions());
await backend.close();
const closedAt = performance.now();
process.on("exit", () => {
  process.stdout.write(`${outcome}, exits after ${Math.round(performance.now() - closedAt)} ms\n`);
});
