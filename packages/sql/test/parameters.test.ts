import { isCoordError } from "@coord/core";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { placeholdersOf } from "../src/placeholders.ts";
import { compile } from "../src/statement.ts";
import type { Dialect, Parameters } from "../src/index.ts";

const keys = (dialect: Dialect, text: string, style: "named" | "positional" = "named"): (string | number)[] =>
  placeholdersOf(dialect, text, style).map(({ key }) => key);
const refused = (dialect: Dialect, text: string, parameters: Parameters): boolean => {
  try {
    compile("execute", dialect, text, parameters);
    return false;
  } catch (error) {
    return isCoordError(error, "COORD_INVALID_ARGUMENT");
  }
};

describe("named parameters are found", () => {
  it.each([
    ["SELECT :a, :b_1 FROM t WHERE x=:a", ["a", "b_1", "a"]],
    ["(:a,:b)", ["a", "b"]],
    [":a", ["a"]],
    ["x >:a OR x<:b", ["a", "b"]],
    ["é = :é", []],
  ])("in %s", (text, found) => {
    expect(keys("postgres", text)).toEqual(found);
    expect(keys("mysql", text)).toEqual(found);
  });
});

describe("nothing else is taken for one", () => {
  it.each([
    ["postgres", "'it''s :a' || :b", ["b"]],
    ["postgres", "E'it\\'s :a' || :b", ["b"]],
    ["postgres", "e'\\\\' || :b", ["b"]],
    ["postgres", "'\\' || :b || ':c'", ["b"]],
    ["postgres", 'SELECT ":a""":: text, :b', ["b"]],
    ["postgres", "x::int = :b::int", ["b"]],
    ["postgres", "-- :a\n :b -- :c", ["b"]],
    ["postgres", "/* :a /* :b */ :c */ :d", ["d"]],
    ["postgres", "$$ :a $$ || :b || $x$ :c $$ :d $x$", ["b"]],
    ["postgres", "a$x$:b$x$", []],
    ["postgres", "arr[lo:hi] = :b", ["b"]],
    ["postgres", "x := :b", ["b"]],
    ["postgres", "'never ends :a", []],
    ["postgres", "x # :b", ["b"]],
    ["mysql", "'it\\'s :a', :b", ["b"]],
    ["mysql", "'it''s :a', :b", ["b"]],
    ["mysql", '"say \\":a\\" ""x"" :c", :b', ["b"]],
    ["mysql", "`:a```, :b", ["b"]],
    ["mysql", "-- :a\n :b # :c", ["b"]],
    ["mysql", "5--:b", ["b"]],
    ["mysql", "/* :a /* :b */ :c", ["c"]],
    ["mysql", "@x:=:b", ["b"]],
    ["mysql", "'\\\\', :b", ["b"]],
    ["mysql", "$$ :b $$", ["b"]],
  ] as const)("on %s: %s", (dialect, text, found) => {
    expect(keys(dialect, text)).toEqual(found);
  });
});

describe("parameters by position", () => {
  it("are numbered on PostgreSQL, where a question mark is an operator", () => {
    expect(keys("postgres", "$2 ? $1 AND '$3' <> x$4", "positional")).toEqual([1, 0]);
    expect(compile("fetch", "postgres", "j ? $2 AND x = $1 OR y = $1", [7, "k"])).toMatchObject({
      text: "j ? $1 AND x = $2 OR y = $3",
      values: ["k", 7, 7],
    });
  });
  it("are counted on MySQL", () => {
    expect(keys("mysql", "a = ? AND b = '?' -- ?\n AND c = ?", "positional")).toEqual([0, 1]);
  });
});

describe("a statement", () => {
  it("is sent unchanged where there are no parameters", () => {
    const text = "SELECT ':a', x ? 'b'";
    const statement = compile("fetch", "postgres", text, undefined);
    expect([statement.text, ...statement.fragments]).toEqual([text, text]);
    expect(statement.values).toEqual([]);
  });

  it("gives its text in fragments, too", () => {
    const { text, values, fragments } = compile("execute", "mysql", "a = :a AND b = :b OR a = :a", {
      a: 1,
      b: "x",
    });
    expect(text).toBe("a = ? AND b = ? OR a = ?");
    expect(values).toEqual([1, "x", 1]);
    expect([...fragments]).toEqual(["a = ", " AND b = ", " OR a = ", ""]);
    expect(fragments.raw).toHaveLength(4);
  });

  it("is refused when parameters are missing, left over, or inherited", () => {
    expect(refused("mysql", ":a", { b: 1 })).toBe(true);
    expect(refused("mysql", ":a", { a: 1, b: 1 })).toBe(true);
    expect(refused("mysql", ":constructor", {})).toBe(true);
    expect(refused("mysql", ":a", { a: undefined as never })).toBe(true);
    expect(refused("mysql", "? ?", [1])).toBe(true);
    expect(refused("mysql", "?", [1, 2])).toBe(true);
    expect(refused("postgres", "$2", [1, 2])).toBe(true);
    expect(refused("postgres", "$0", [1])).toBe(true);
  });

  it("takes only values that a driver sends as one value, and says nothing of their content", () => {
    const secret = { secret: "hunter2" } as never;
    for (const dialect of ["postgres", "mysql"] as const) {
      expect(refused(dialect, ":a", { a: secret })).toBe(true);
      expect(refused(dialect, ":a", { a: Symbol("x") as never })).toBe(true);
      expect(refused(dialect, ":a", { a: (() => 1) as never })).toBe(true);
      expect(refused(dialect, ":a", { a: new Date(Number.NaN) })).toBe(true);
      for (const a of ["x", 1, 2n ** 60n, true, null, new Date(0), Buffer.from("x")])
        expect(refused(dialect, ":a", { a })).toBe(false);
    }
    expect(() => compile("fetch", "mysql", ":a", { a: secret })).not.toThrow("hunter2");
    expect(refused("mysql", ":a", { a: ["x"] })).toBe(true);
    expect(refused("mysql", ":a", { a: Number.NaN })).toBe(true);
    expect(refused("postgres", ":a", { a: ["x", null] })).toBe(false);
    expect(refused("postgres", ":a", { a: ["x", secret] })).toBe(true);
    expect(refused("postgres", ":a", { a: "\0" })).toBe(true);
  });
});

it("whatever the text, placeholders lie in order in it, and outside of what is quoted", () => {
  const pieces = fc.array(
    fc.oneof(
      fc.constantFrom(
        "'",
        '"',
        "`",
        "\\",
        "--",
        "\n",
        "/*",
        "*/",
        "$$",
        "$t$",
        "::",
        ":a",
        ":b",
        "?",
        "$1",
        " ",
        "E",
        "x",
        "#",
        "é",
      ),
      fc.string({ maxLength: 3 }),
    ),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(
      pieces,
      fc.constantFrom<Dialect>("postgres", "mysql"),
      fc.constantFrom("named" as const, "positional" as const),
      (parts, dialect, style) => {
        const text = parts.join("");
        let end = 0;
        for (const placeholder of placeholdersOf(dialect, text, style)) {
          expect(placeholder.start).toBeGreaterThanOrEqual(end);
          end = placeholder.end;
          expect(text.slice(placeholder.start, end)).toMatch(/^(?::[A-Za-z_]\w*|\$\d+|\?)$/);
        }
        // A quotation before it hides nothing that comes after its end.
        const quoted = `'${text.replaceAll(/['\\]/g, "")}' `;
        const shifted = placeholdersOf(dialect, `${quoted}${text}`, style).map(
          ({ start }) => start - quoted.length,
        );
        expect(shifted).toEqual(placeholdersOf(dialect, text, style).map(({ start }) => start));
      },
    ),
    { numRuns: 2000 },
  );
});
