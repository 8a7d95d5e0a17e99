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
