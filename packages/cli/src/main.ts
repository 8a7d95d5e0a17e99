#!/usr/bin/env node
import { main } from "./program.ts";

/** What may still be open when a verb is done; nothing of it is waited for longer. */
const lingerMs = 200;

// Whoever reads the output may stop before its end (`coord ls | head`), and a terminal may be closed.
process.stdout.on("error", () => process.exit());
process.stderr.on("error", () => undefined);

process.exitCode = await main(process.argv.slice(2));
setTimeout(() => process.exit(), lingerMs).unref();
