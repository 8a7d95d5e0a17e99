import assert from "node:assert/strict";
import type { Name } from "@coord/core";
import { isCoordError } from "@coord/core";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import type { Context } from "../context.ts";
import { each } from "../records.ts";

/** Keys that some store folds, trims, expands, splits or takes for its own. */
const oddKeys: readonly string[] = [
  ["key", "Key", "KEY", "k\u00e9y", "ke\u0301y", "k\u00eay", "\u00dfs", "ss", "\u0130", "i", "\u0131", "I"],
  ["key ", " key", "key  ", "key.", "key\u00a0", "key\u3000", "k", "ke"],
  "'|\"|`|''|\\|\\\\|\\'|--|;|/*|*|?|[a]|[b]|(|)|<|>|&|=|+|#|!|@|^|~".split("|"),
  ["{", "}", "{}", "{a}", "{b}a", "{a}{b}", "{{projectId}}", "{{key}}", "${key}", "$key", "$", "$$", "$1"],
  ["%", "%%", "%s", "%20", "%2F", "_", "__", "a_b", "axb", "a%b", "a\\_b"],
  [".", "..", "...", "./key", "../key", "a/../key", "/", "//", "/key", "key/", "a/b", "a//b", "a\\b"],
  ["a\u001fb", "a\u001f", "\u001fa", "a\u001fb\u001fc", "a:b", "a|b", "a,b", "a.b"],
  ["\u{1F600}", "\u{1F601}", "\u{10FFFF}", "\uE000", "\uFFFD", "\u6f22", "\u6c49", "\ufb01", "fi"],
  ["\u00c5", "\u212b", "A\u030a", "\uff21", "A", "a"],
  [
    "null",
    "undefined",
    "NULL",
    "true",
    "0",
    "00",
    "0x0",
    "1",
    "1e0",
    "-1",
    "NaN",
    "__proto__",
    "constructor",
  ],
  ["coord", "coord_lease", "coord:lease", "coord:{lease}", "coord:wake", "leases", "_id", "id", "ns", "meta"],
  ["system.indexes", "lock", "lock:key", "key.lock", "key:wait", "key#payload", "key@1", "l", "l:", "index"],
].flat();

const longest = [
  "a".repeat(512),
  `${"a".repeat(511)}b`,
  "é".repeat(256),
  "\u{1F600}".repeat(128),
  "漢".repeat(170),
];

/** Grants each name that the store can hold; those refused as invalid are left out. */
async function grantAll(context: Context, names: readonly Name[]): Promise<Map<Name, bigint>> {
  const fences = new Map<Name, bigint>();
  await each(names, async (name) => {
    try {
      fences.set(name, (await context.one.grant(name, { payload: JSON.stringify(name) })).fence);
    } catch (error) {
      if (!isCoordError(error, "COORD_INVALID_ARGUMENT")) throw error;
    }
  });
  return fences;
}

async function assertDistinct(context: Context, names: readonly Name[]): Promise<void> {
  const fences = await grantAll(context, names);
  assert.ok(fences.size > names.length / 2, "most names are held by the store");
  const other = await context.two();
  await each(fences, async ([name, fence]) => {
    const record = await other.see(name);
    const { namespace, key, payload } = record;
    assert.deepEqual({ namespace, key }, name, "the name comes back as it was given");
    assert.equal(record.fence, fence);
    assert.equal(payload, JSON.stringify(name), `${JSON.stringify(name)} has the payload of its own`);
  });
}

export const names: readonly Case[] = casesOf("granting", {
  "names-distinct": {
    title:
      "names that differ in case, accent, space, form, quotes, wildcards, slashes or planes are distinct",
    async run(context) {
      const keys = [...new Set(oddKeys)];
      await assertDistinct(
        context,
        keys.map((key) => context.name(key)),
      );
    },
  },
  "names-listed": {
    title: "odd names are listed as they were given, each once, in byte order",
    async run(context) {
      const keys = [...new Set(oddKeys)];
      const fences = await grantAll(
        context,
        keys.map((key) => context.name(key)),
      );
      const listed = await context.one.list({ namespace: context.opened.namespace, prefix: "" });
      const expected = [...fences.keys()]
        .map(({ key }) => Buffer.from(key))
        .toSorted((a, b) => Buffer.compare(a, b));
      assert.deepEqual(
        listed.map(({ key }) => key),
        expected.map(String),
      );
    },
  },
  "names-long": {
    title: "names of 512 bytes are held in full",
    run: async (context) =>
      await assertDistinct(
        context,
        longest.map((key) => context.name(key)),
      ),
  },
  "namespaces-isolated": {
    title: "a namespace sees nothing of another, whatever parts their names are joined from",
    async run(context) {
      const { namespace } = context.opened;
      const spaces = [
        `${namespace}_`,
        `${namespace}_a`,
        `${namespace}_A`,
        `${namespace}-a`,
        `${namespace}xa`,
      ];
      const joined: Name[] = spaces.flatMap((space) => [
        { namespace: space, key: "l\u001fkey" },
        { namespace: space, key: "a" },
        { namespace: space, key: "aa" },
      ]);
      const first = await assertDistinct(context, joined).then(() => context.one);
      for (const space of spaces) {
        const listed = await first.list({ namespace: space, prefix: "" });
        assert.deepEqual(
          listed.map((record) => [record.namespace, record.key]),
          [
            [space, "a"],
            [space, "aa"],
            [space, "l\u001fkey"],
          ],
        );
      }
      const freed = await first.see({ namespace: `${namespace}_a`, key: "a" });
      await first.release({ name: { namespace: `${namespace}_a`, key: "a" }, ...freed });
      assert.equal((await first.see({ namespace: `${namespace}_A`, key: "a" })).state, "held");
      assert.equal((await first.see({ namespace: `${namespace}_`, key: "aa" })).state, "held");
    },
  },
});
