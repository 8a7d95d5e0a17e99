import type { Finding } from "@coord/core";
import { describe, expect, test } from "vitest";
import { mongodbBackend } from "../src/index.ts";
import { codeOf, errorOf, freshNamespace, within } from "./calls.ts";
import { scriptedDatabase, type ScriptedOptions } from "./scripted-stream.ts";
import { missing, useStore } from "./store.ts";

const name = { namespace: "n", key: "l\u001fone" };

describe.skipIf(missing)("setup on a real server", () => {
  const store = useStore();
  const freshDatabase = () => store().client.db(freshNamespace());

  test("20 at once make the collection and its index once; a repeat changes nothing", async () => {
    const db = freshDatabase();
    const backends = Array.from({ length: 20 }, () => mongodbBackend({ db }));
    await Promise.all(backends.map((backend) => backend.setup(within(30_000))));
    await backends[0]?.setup(within());
    const indexes = await db.collection("coord_leases").listIndexes().toArray();
    expect(indexes).toHaveLength(2);
    expect(indexes[1]).toMatchObject({ name: "coord_purge", key: { purgeAt: 1 }, expireAfterSeconds: 0 });
  });

  test("without it every operation says that it is missing, and works as soon as it has run", async () => {
    const backend = mongodbBackend({ db: freshDatabase() });
    const error = await errorOf(backend.inspect(name, within()));
    expect(error).toMatchObject({ code: "COORD_NOT_SET_UP" });
    expect(error.message).toContain("await coord.setup()");
    await backend.setup(within());
    expect(await backend.inspect(name, within())).toBeNull();
  });

  test("an index of that name with another time is refused with the remedy", async () => {
    const db = freshDatabase();
    await db
      .collection("coord_leases")
      .createIndex({ purgeAt: 1 }, { name: "coord_purge", expireAfterSeconds: 60 });
    const backend = mongodbBackend({ db });
    expect(await errorOf(backend.setup(within()))).toMatchObject({ code: "COORD_CONFIGURATION" });
    expect(await problems(backend.diagnose(within()))).toContainEqual(
      expect.stringContaining("expireAfterSeconds 60"),
    );
  });

  test("diagnose reports the clock that decides and finds no error after setup", async () => {
    const backend = mongodbBackend({ db: freshDatabase() });
    expect(await problems(backend.diagnose(within()))).toContainEqual(
      expect.stringContaining("no collection"),
    );
    await backend.setup(within());
    const { findings, clock } = await backend.diagnose(within());
    expect(findings.filter(({ level }) => level === "error")).toEqual([]);
    expect(clock.beforeMs).toBeLessThanOrEqual(clock.afterMs);
    expect(Math.abs(clock.storeMs - clock.beforeMs)).toBeLessThan(60_000);
    for (const finding of findings) expect(finding.level === "ok" || finding.remedy !== undefined).toBe(true);
  });

  test("a document that is no lease record is refused, not guessed at", async () => {
    const db = freshDatabase();
    const backend = mongodbBackend({ db });
    await backend.setup(within());
    await db.collection<{ _id: string }>("coord_leases").insertOne({ _id: `${name.namespace}:${name.key}` });
    expect(await codeOf(backend.inspect(name, within()))).toBe("COORD_CONFIGURATION");
  });

  test("within is refused on a standalone server, which would ignore the transaction", async ({ skip }) => {
    const { server, client } = store();
    skip(server.capabilities["replicaSet"] !== false, "this server is a replica set");
    const backend = mongodbBackend({ client });
    await backend.setup(within());
    const verifying = client.withSession((session) =>
      session.withTransaction(() =>
        backend.within(session).verify({ grant: { name, grantId: "g", fence: 1n } }),
      ),
    );
    expect(await codeOf(verifying)).toBe("COORD_CONFIGURATION");
  });
});

async function problems(diagnosing: Promise<{ findings: readonly Finding[] }>): Promise<string[]> {
  const { findings } = await diagnosing;
  return findings.flatMap(({ level, message }) => (level === "error" ? [message] : []));
}

const broken: [string, ScriptedOptions][] = [
  ["collation", { collectionInfo: { type: "collection", options: { collation: { locale: "en" } } } }],
  ["capped", { collectionInfo: { type: "collection", options: { capped: true } } }],
  ["view", { collectionInfo: { type: "view", options: {} } }],
  ["clockSkewMs", { hello: { setName: undefined, msg: "isdbgrid" } }],
  ["too old", { hello: { maxWireVersion: 8 } }],
];

test.each(broken)(
  "a server or collection with a problem (%s) is refused by setup and by the first call",
  async (text, options) => {
    const { db } = scriptedDatabase(options);
    const backend = mongodbBackend({ db });
    for (const call of [backend.setup(within()), backend.inspect(name, within())]) {
      const error = await errorOf(call);
      expect(error).toMatchObject({ code: "COORD_CONFIGURATION" });
      expect(error.message).toContain(text);
    }
  },
);
