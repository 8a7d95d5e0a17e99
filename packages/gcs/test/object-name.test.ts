import { compareKeys, InvalidArgumentError } from "@coord/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { escapeKey, nameOf, objectName, unescapeKey } from "../src/object-name.ts";

const characters = Array.from(
  '\0\u001f !"#$()*+,;<=>?@AZ[\\]^_`az{|}~\u007f\u0080\u009f\u00a0é\uffff\u{10000}\u{1f600}',
);
const awkward = fc.string({ unit: fc.constantFrom(...characters), minLength: 1, maxLength: 6 });
const key = fc.oneof(awkward, fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 }));

test("escaping keeps the order of bytes and prefixes, and can be undone", () => {
  fc.assert(
    fc.property(key, key, (a, b) => {
      expect(unescapeKey(escapeKey(a))).toBe(a);
      expect(Math.sign(compareKeys(escapeKey(a), escapeKey(b)))).toBe(Math.sign(compareKeys(a, b)));
      expect(escapeKey(a + b).startsWith(escapeKey(a))).toBe(true);
      expect(escapeKey(b).startsWith(escapeKey(a))).toBe(b.startsWith(a));
    }),
    { numRuns: 5000 },
  );
});

test("ordinary keys stay readable", () => {
  const names = ["order:42/a", "a*", "l\u001fa b"].map((it) =>
    objectName("coord/", { namespace: "ns", key: it }),
  );
  expect(names).toEqual(["coord/ns/order:42/a", "coord/ns/a)2a", "coord/ns/l!1fa!20b"]);
});

test("a name is found again behind its object, and strangers are not taken for names", () => {
  const name = { namespace: "ns", key: "l\u001f../a\u{1f600}*" };
  expect(nameOf("coord/", objectName("coord/", name))).toEqual(name);
  expect(nameOf("coord/", "coord/.probe-1")).toBeUndefined();
  expect(nameOf("coord/", "other/ns/key")).toBeUndefined();
  expect(nameOf("coord/", "coord/no namespace/key")).toBeUndefined();
});

test("a key that the store can't hold is refused, never shortened or folded", () => {
  const long = { namespace: "ns", key: "#".repeat(512) };
  expect(() => objectName("coord/", long)).toThrow(InvalidArgumentError);
  expect(() => objectName("coord/", long)).toThrow("1545 bytes");
  expect(() => objectName("coord/", { namespace: "ns", key: "\ud800" })).toThrow("well-formed");
  expect(objectName("coord/", { namespace: "ns", key: "x".repeat(512) })).toHaveLength(521);
});
