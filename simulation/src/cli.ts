import { build } from "esbuild";

/*
 * Bundled first, and run as plain JavaScript: a loader that compiles each file by itself makes every function
 * remember its name, which takes a third of the time of a run.
 */
const bundle = await build({
  entryPoints: [new URL("command.ts", import.meta.url).pathname],
  bundle: true,
  write: false,
  format: "esm",
  platform: "node",
  target: "node20",
  conditions: ["source"],
});
const [output] = bundle.outputFiles;
if (output === undefined) throw new Error("The simulation gave no bundle.");
const url = `data:text/javascript;base64,${Buffer.from(output.contents).toString("base64")}`;
const command: typeof import("./command.ts") = await import(url);
await command.main();
