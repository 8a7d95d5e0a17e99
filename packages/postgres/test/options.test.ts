import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { postgresBackend, schemaSql } from "../src/index.ts";
import { endOfPrefix } from "../src/statements.ts";

const client = { query: async () => ({ rows: [] }) };

/** As a program in JavaScript would call it. */
const make = (options: unknown): unknown => Reflect.apply(postgresBackend, undefined, [options]);

test.each([
  [undefined, "needs `{ client }` or `{ url }`"],
  [{}, "got neither"],
  [{ client, url: "postgres://h/d" }, "got both"],
  [{ client: {} }, "client must be a pg.Pool"],
  [{ url: 7 }, "url must be a URL such as postgres://user@host:5432/database, got number"],
  [{ url: "mysql://u:hidden@h/d" }, "got one that begins with mysql:"],
  [{ url: "postgres://u:hidden@h:port/d" }, "got one that can't be parsed"],
  [{ client, listen: { url: "http://u:hidden@h" } }, "listen.url must be a URL"],
  [{ client, listen: true }, "listen must be false or { url }, got true"],
  [{ client, prepare: "yes" }, "prepare must be true or false, got yes"],
  [{ client, schema: "" }, 'schema must be a PostgreSQL name of 1 to 63 bytes without U+0000, got ""'],
  [{ client, table: "é".repeat(32) }, "table must be a PostgreSQL name"],
  [{ client, table: "a\0b" }, "table must be a PostgreSQL name"],
  [{ client, table: 5 }, "got 5"],
])("options %j are refused before any I/O", (options, message) => {
  expect(() => make(options)).toThrow(expect.objectContaining({ code: "COORD_INVALID_ARGUMENT" }));
  expect(() => make(options)).toThrow(message);
  expect(() => make(options)).not.toThrow("hidden");
});

test("the text of the schema names the table that was asked for", () => {
  expect(schemaSql()).toContain('CREATE TABLE "coord"."lease" (');
  expect(schemaSql({ schema: 'a"b', table: "c" })).toContain('CREATE TABLE "a""b"."c" (');
});

test.each([
  ["a", "b"],
  ["", undefined],
  ["a\u{10FFFF}", "b"],
  ["\u{10FFFF}", undefined],
  ["\uD7FF", "\uE000"],
  ["\uFFFF", "\u{10000}"],
  ["a%", "a&"],
])("after all that begins with %j comes %j", (prefix, end) => {
  expect(endOfPrefix(prefix)).toBe(end);
});

test("a URL without the driver installed says what to install, at each use", async () => {
  const program = `
    import { register } from "node:module";
    register("data:text/javascript," + encodeURIComponent(\`
      export async function resolve(name, context, next) {
        if (name === "pg") throw Object.assign(new Error("not there"), { code: "ERR_MODULE_NOT_FOUND" });
        return next(name, context);
      }\`));
    const { postgresBackend } = await import("@coord/postgres");
    const backend = postgresBackend({ url: "postgres://user:hidden@127.0.0.1:1/db" });
    const call = { signal: AbortSignal.timeout(5000), timeoutMs: 5000 };
    for (const use of [() => backend.setup(call), () => backend.watch({ namespace: "n", key: "k" }, () => {}, call)]) {
      await use().catch((error) => console.log(error.code, error.message));
    }
    await backend.close();
  `;
  const args = ["--conditions=source", "--import", "tsx", "--input-type=module", "--eval", program];
  const { stdout } = await promisify(execFile)(process.execPath, args, {
    cwd: new URL("..", import.meta.url),
  });
  const [first, second] = stdout.trim().split("\n");
  expect(first).toMatch(/^COORD_CONFIGURATION .*npm install pg/);
  expect(second).toMatch(/npm install pg/);
}, 60_000);
