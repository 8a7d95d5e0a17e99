import assert from "node:assert/strict";
import type { Name } from "@coord/core";
import { compareKeys } from "@coord/core";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import type { Context } from "../context.ts";
import { each, stored } from "../records.ts";

interface Records {
  readonly held: Name;
  readonly sealed: Name;
  readonly free: Name;
  readonly lapsed: Name;
}

async function oneOfEach(context: Context): Promise<Records> {
  const { one, name } = context;
  const [held, sealed, free, lapsed] = [name("a held"), name("b sealed"), name("c free"), name("d lapsed")];
  await one.grant(held, { payload: "p" });
  await one.release(await one.grant(sealed), { sealed: true, payload: "p" });
  await one.release(await one.grant(free));
  await context.grantLapsed(lapsed, { sealed: true });
  return { held, sealed, free, lapsed };
}

async function keys(context: Context, wishes: Parameters<Context["one"]["list"]>[0]): Promise<string[]> {
  return (await context.one.list(wishes)).map(({ key }) => key);
}

export const reading: readonly Case[] = casesOf("reading", {
  "none-is-null": {
    title: "a name without a record is null, and reading makes none",
    async run({ one, name, opened }) {
      assert.equal(await one.inspect(name()), null);
      assert.deepEqual(await one.list({ namespace: opened.namespace, prefix: "" }), []);
    },
  },
  "inspect-and-list-agree": {
    title: "inspect and list agree on every field but the payload, which only inspect shows",
    async run(context) {
      const names = Object.values(await oneOfEach(context));
      const listed = await context.one.list({ namespace: context.opened.namespace, prefix: "" });
      assert.equal(listed.length, names.length);
      for (const [i, name] of names.entries()) {
        const seen = await context.one.see(name);
        const record = listed[i];
        assert.ok(record);
        assert.deepEqual(stored(record), { ...stored(seen), payload: undefined });
        assert.equal(record.state, seen.state);
      }
      const { payload } = await context.one.see(names[0] ?? context.name());
      assert.equal(payload, "p");
    },
  },
  "states-told-apart": {
    title: "held, free and lapsed are told apart, and list filters by state and seal",
    async run(context) {
      const names = await oneOfEach(context);
      const states = { held: "held", sealed: "free", free: "free", lapsed: "lapsed" } as const;
      for (const kind of ["held", "sealed", "free", "lapsed"] as const) {
        assert.equal((await context.one.see(names[kind])).state, states[kind], kind);
      }
      const all = { namespace: context.opened.namespace, prefix: "" };
      const { held, sealed, free, lapsed } = names;
      assert.deepEqual(await keys(context, { ...all, state: "held" }), [held.key]);
      assert.deepEqual(await keys(context, { ...all, state: "free" }), [sealed.key, free.key]);
      assert.deepEqual(await keys(context, { ...all, state: "lapsed" }), [lapsed.key]);
      assert.deepEqual(await keys(context, { ...all, sealed: true }), [sealed.key, lapsed.key]);
      assert.deepEqual(await keys(context, { ...all, sealed: false }), [held.key, free.key]);
      assert.deepEqual(await keys(context, { ...all, sealed: true, state: "free" }), [sealed.key]);
      assert.deepEqual(await keys(context, { ...all, sealed: true, state: "free", limit: 1 }), [sealed.key]);
      assert.deepEqual(await keys(context, { ...all, state: "lapsed", limit: 1 }), [lapsed.key]);
    },
  },
  "prefix-literal": {
    title: "a prefix with wildcard characters is literal, and compared by bytes",
    async run(context) {
      const prefixes = [
        "a%",
        "a_",
        "a*",
        "a?",
        "a.",
        "a\\",
        "a[b]",
        "a^",
        "a|",
        "a'",
        "É",
        "\u{1F600}",
        "a{b}",
      ];
      const others = ["ab", "axb", "ab]x", "A%", "é", "E\u0301", "\u{1F601}", "a"];
      const all = [...prefixes.flatMap((prefix) => [prefix, `${prefix}x`]), ...others];
      await each(all, async (key) => await context.one.grant(context.name(key)));
      for (const prefix of prefixes) {
        const wishes = { namespace: context.opened.namespace, prefix: context.name(prefix).key };
        const expected = all.filter((key) => key.startsWith(prefix)).toSorted(compareKeys);
        const found = await keys(context, wishes);
        assert.deepEqual(
          found,
          expected.map((key) => context.name(key).key),
          `prefix ${prefix}`,
        );
      }
    },
  },
  "order-by-bytes": {
    title: "list is in byte order, also where UTF-16 or a collation would order otherwise",
    async run(context) {
      const all = ["b", "B", "a", "é", "z", "Z", "\uFF5E", "\u{1F600}", "a b", "a-b", "ab", "10", "9", "_"];
      await each(all, async (key) => await context.one.grant(context.name(key)));
      const expected = all.toSorted(compareKeys).map((key) => context.name(key).key);
      const wishes = { namespace: context.opened.namespace, prefix: "" };
      assert.deepEqual(await keys(context, wishes), expected);
      const paged: string[] = [];
      for (;;) {
        const page = await keys(context, { ...wishes, limit: 3, after: paged.at(-1) });
        paged.push(...page);
        if (page.length < 3) break;
      }
      assert.deepEqual(paged, expected, "page by page");
    },
  },
  "after-is-exclusive": {
    title: "after is exclusive, need not be a key that is there, and may stand before or behind the prefix",
    async run(context) {
      const [a, b, c] = ["a", "b", "c"].map((key) => context.name(`p${key}`));
      assert.ok(a && b && c);
      for (const name of [a, b, c, context.name("q")]) await context.one.grant(name);
      const all = { namespace: context.opened.namespace, prefix: context.name("p").key };
      assert.deepEqual(await keys(context, { ...all, after: a.key }), [b.key, c.key]);
      assert.deepEqual(await keys(context, { ...all, after: `${a.key}a` }), [b.key, c.key]);
      assert.deepEqual(await keys(context, { ...all, after: c.key }), []);
      assert.deepEqual(await keys(context, { ...all, after: context.name("a").key }), [a.key, b.key, c.key]);
      assert.deepEqual(await keys(context, { ...all, after: context.name("z").key }), []);
    },
  },
  paging: {
    title: "paging over 1,000 records while others change shows each that was there once, and no duplicate",
    async run(context) {
      const { one, name, opened } = context;
      const other = await context.two();
      const stable = Array.from({ length: 1010 }, (_, i) => name(`page ${String(i).padStart(4, "0")}`));
      await each(stable, async (lease) => await one.release(await one.grant(lease)));
      const seen: string[] = [];
      for (let page = 0; ; page += 1) {
        const listed = await one.list({
          namespace: opened.namespace,
          prefix: name("page ").key,
          limit: 100,
          after: seen.at(-1),
        });
        seen.push(...listed.map(({ key }) => key));
        if (listed.length < 100) break;
        // New names before and behind the page, and changes to old ones.
        await other.grant(name(`page ${String(page * 100).padStart(4, "0")} new`));
        await other.grant(name(`page ${String(page * 100 + 150).padStart(4, "0")} new`));
        for (const i of [page * 100 + 5, page * 100 + 105]) {
          const lease = stable[i];
          if (lease !== undefined) await other.acquire(lease);
        }
      }
      assert.equal(new Set(seen).size, seen.length, "no record twice");
      assert.deepEqual(seen, seen.toSorted(compareKeys), "in byte order");
      const found = new Set(seen);
      const missing = stable.filter(({ key }) => !found.has(key));
      assert.deepEqual(missing, [], "no record is missed that was there throughout");
    },
  },
  "latest-write": {
    title: "inspect and list see the latest acknowledged write, also from another connection",
    async run(context) {
      const name = context.name("latest");
      const other = await context.two();
      const grant = await context.one.grant(name);
      const wishes = { namespace: name.namespace, prefix: name.key };
      for (let payloadSeq = 1; payloadSeq <= 15; payloadSeq += 1) {
        const payload = `save ${payloadSeq}`;
        assert.equal(await context.one.renew(grant, { payload, payloadSeq }), "renewed");
        assert.equal((await other.see(name)).payload, payload);
        assert.equal((await other.list(wishes))[0]?.payloadSeq, payloadSeq);
      }
      await context.one.release(grant);
      assert.equal((await other.see(name)).state, "free");
      assert.equal((await other.list(wishes))[0]?.state, "free");
    },
  },
});
