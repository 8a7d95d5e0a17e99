/**
 * A Prisma client without models: what `prisma generate` writes for an empty schema, less the types. Raw statements in
 * interactive transactions need no more, and the generator wants to download a binary.
 */
import { getPrismaClient } from "@prisma/client/runtime/client";
import type { Dialect } from "../src/index.ts";

/** What is used of it. */
interface Raw {
  $queryRawUnsafe(text: string, ...values: unknown[]): Promise<unknown>;
  $executeRawUnsafe(text: string, ...values: unknown[]): Promise<number>;
}

export interface PrismaClient extends Raw {
  $transaction<T>(
    work: (tx: Raw) => Promise<T>,
    options: { readonly timeout: number; readonly maxWait: number },
  ): Promise<T>;
  $disconnect(): Promise<void>;
}

export function prismaClient(dialect: Dialect, adapter: unknown): PrismaClient {
  const provider = dialect === "postgres" ? "postgresql" : "mysql";
  const compiler = import.meta
    .resolve(`@prisma/client/runtime/query_compiler_fast_bg.${provider}.mjs`)
    .replace(/\.mjs$/, "");
  const Client = getPrismaClient({
    previewFeatures: [],
    clientVersion: "7.10.0",
    engineVersion: "0edf323efd1d98336f3f0a68684b56f689b900d3",
    activeProvider: provider,
    inlineSchema: `datasource db {\n  provider = "${provider}"\n}\n`,
    runtimeDataModel: { models: {}, enums: {}, types: {} },
    parameterizationSchema: { strings: [], graph: "AAAA" },
    compilerWasm: {
      getRuntime: () => import(`${compiler}.mjs`),
      getQueryCompilerWasmModule: async () => {
        const { wasm } = (await import(`${compiler}.wasm-base64.mjs`)) as { readonly wasm: string };
        return Reflect.construct(Reflect.get(globalThis, "WebAssembly").Module, [
          Buffer.from(wasm, "base64"),
        ]);
      },
      importName: "./query_compiler_fast_bg.js",
    },
  } as never) as unknown as new (options: object) => PrismaClient;
  return new Client({ adapter });
}
