import { readFile } from "node:fs/promises";
import { build } from "esbuild";
import type { Core } from "../core.ts";

/** One deliberate mistake: a piece of core's source, which must be there exactly once, and what replaces it. */
export interface Mutant {
  readonly name: string;
  /** A file of `packages/core/src`. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

const entry = new URL("../../../packages/core/src/index.ts", import.meta.url);

/** Bundles core with the mistake and loads it beside the sound one; nothing is written to disk. */
export async function loadMutant({ name, file, find, replace }: Mutant): Promise<Core> {
  const path = new URL(file, entry);
  const source = await readFile(path, "utf8");
  const found = source.split(find).length - 1;
  if (found !== 1)
    throw new Error(
      `The mutant "${name}" looks for its text in ${file} and finds it ${found} times. Adapt it to the source:\n${find}`,
    );
  const bundle = await build({
    entryPoints: [entry.pathname],
    bundle: true,
    write: false,
    format: "esm",
    platform: "node",
    target: "node20",
    logLevel: "silent",
    plugins: [
      {
        name: "mutant",
        setup({ onLoad }) {
          onLoad({ filter: /\.ts$/ }, (loaded) =>
            loaded.path === path.pathname
              ? { contents: source.replace(find, () => replace), loader: "ts" }
              : undefined,
          );
        },
      },
    ],
  });
  const [output] = bundle.outputFiles;
  if (output === undefined) throw new Error(`The mutant "${name}" gave no bundle.`);
  const url = `data:text/javascript;base64,${Buffer.from(output.contents).toString("base64")}`;
  const loaded: Core = await import(url);
  return loaded;
}
