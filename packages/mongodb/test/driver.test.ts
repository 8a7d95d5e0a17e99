/** How the real driver behaves towards a replica set: what this backend relies on, on scripted answers. */
import { type Document, MongoClient as MongoClient7, MongoServerError } from "mongodb";
import { MongoClient as MongoClient6 } from "mongodb-6";
import { afterEach, expect, test, vi } from "vitest";
import { type MongoClientLike, mongodbBackend, type MongoSession } from "../src/index.ts";
import { codeOf, errorOf, freshId, within } from "./calls.ts";
import { type Answer, collectionThere, startWireServer, type WireServer } from "./wire-server.ts";

const name = { namespace: "n", key: "l\u001fone" };
const token = (step: number): Document => ({ _data: `token ${step}` });
const acquireRequest = { name, grantId: "g", holder: "h", ttlMs: 60_000, sealed: false, retainMs: null };
const stored: Document = {
  _id: "n:l\u001fone",
  fence: 7n,
  grantId: "g",
  holder: "h",
  expiresAt: new Date(Date.now() + 60_000),
  sealed: false,
  payloadSeq: 0,
  retainMs: null,
  purgeAt: null,
};
const projected: Document = { ...stored, remainingMs: 60_000n };

interface Session extends MongoSession {
  withTransaction(work: () => Promise<void>): Promise<void>;
}
interface Client extends MongoClientLike {
  close(): Promise<void>;
  withSession(work: (session: Session) => Promise<void>): Promise<void>;
}
type Driver = new (url: string, options?: { maxPoolSize?: number }) => Client;
const drivers: [string, Driver][] = [
  ["driver 6", MongoClient6],
  ["driver 7", MongoClient7],
];

let servers: WireServer[] = [];
let clients: Client[] = [];
afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await Promise.all(servers.map((server) => server.stop()));
  servers = [];
  clients = [];
});

async function serve(
  answer: Answer,
  MongoClient: Driver = MongoClient7,
): Promise<{ server: WireServer; client: Client }> {
  const server = await startWireServer((command) =>
    "listCollections" in command ? collectionThere : "endSessions" in command ? { ok: 1 } : answer(command),
  );
  const client = new MongoClient(server.url);
  servers.push(server);
  clients.push(client);
  return { server, client };
}

test.each(drivers)(
  "%s: the driver tells by a resume token that a change stream is open, long before the first change",
  async (_, MongoClient) => {
    const changes: ((reply: Document) => void)[] = [];
    const { client } = await serve((command) => {
      if ("aggregate" in command) {
        const cursor = {
          id: 5n,
          ns: "scripted.coord_leases",
          firstBatch: [],
          postBatchResumeToken: token(1),
        };
        return { ok: 1, cursor };
      }
      if ("getMore" in command) return new Promise((resolve) => changes.push(resolve));
      return { ok: 1 };
    }, MongoClient);
    const backend = mongodbBackend({ client });
    const onWake = vi.fn<() => void>();
    const subscription = await backend.watch?.(name, onWake, within());
    expect(subscription?.live).toBe(true);
    expect(onWake).not.toHaveBeenCalled();
    await vi.waitFor(() => expect(changes).toHaveLength(1));
    const change = { _id: token(2), operationType: "update", documentKey: { _id: "n:l\u001fone" } };
    const cursor = {
      id: 5n,
      ns: "scripted.coord_leases",
      nextBatch: [change],
      postBatchResumeToken: token(2),
    };
    changes[0]?.({ ok: 1, cursor });
    await vi.waitFor(() => expect(onWake).toHaveBeenCalledTimes(1));
    await backend.close();
  },
);

test.each(drivers)(
  "%s: a change stream that the driver resumes by itself is seen to be down and to come back",
  async (_, MongoClient) => {
    let opened = 0;
    const { client, server } = await serve((command) => {
      if ("aggregate" in command) {
        opened += 1;
        const cursor = {
          id: 5n,
          ns: "scripted.coord_leases",
          firstBatch: [],
          postBatchResumeToken: token(opened),
        };
        return { ok: 1, cursor };
      }
      if ("getMore" in command) return opened === 1 ? "cut" : undefined;
      return { ok: 1 };
    }, MongoClient);
    const backend = mongodbBackend({ client });
    const lives: boolean[] = [];
    const subscription = await backend.watch?.(name, () => lives.push(subscription?.live === true), within());
    await vi.waitFor(() => expect(lives.at(-1)).toBe(true), 5000);
    expect(lives).toContain(false);
    expect(opened).toBe(2);
    const resumed = server.commands.filter((command) => "aggregate" in command)[1];
    expect(JSON.stringify(resumed)).toContain("resumeAfter");
    await backend.close();
  },
);

test("every write asks for a majority and the journal, every inspect is linearizable, whatever the URL says", async () => {
  const { server } = await serve((command) => {
    if ("find" in command)
      return { ok: 1, cursor: { id: 0n, ns: "scripted.coord_leases", firstBatch: [projected] } };
    if ("aggregate" in command)
      return { ok: 1, cursor: { id: 0n, ns: "scripted.coord_leases", firstBatch: [] } };
    if ("update" in command) return { ok: 1, n: 1, nModified: 1 };
    return { ok: 1, value: projected };
  });
  const url = `${server.url}&w=1&journal=false&readConcernLevel=available&readPreference=secondaryPreferred`;
  const backend = mongodbBackend({ url });
  const end = { name, grantId: "g", fence: 7n, sealed: false, retainMs: null };
  await backend.acquire(acquireRequest, within());
  await backend.renew([{ name, grantId: "g", fence: 7n, ttlMs: 60_000 }], within());
  await backend.release(end, within());
  await backend.overrule({ ...end, released: false }, within());
  await backend.inspect(name, within());
  await backend.list({ namespace: "n", prefix: "", limit: 10 }, within());
  await backend.close();
  const sent = server.commands.filter((command) => "findAndModify" in command || "update" in command);
  expect(sent).toHaveLength(4);
  for (const command of sent) expect(command["writeConcern"]).toEqual({ w: "majority", j: true });
  const levels = server.commands.flatMap((command) =>
    "find" in command || "aggregate" in command ? [command["readConcern"]] : [],
  );
  expect(levels).toEqual([{ level: "linearizable" }, { level: "majority" }]);
});

test.each(drivers)(
  "%s: a write that the driver has sent again is answered without the projection, so it is unknown",
  async (_, MongoClient) => {
    let sent = 0;
    const { client } = await serve(() => {
      sent += 1;
      return sent === 1 ? "cut" : { ok: 1, value: stored };
    }, MongoClient);
    const backend = mongodbBackend({ client });
    expect(await codeOf(backend.acquire(acquireRequest, within()))).toBe("COORD_UNAVAILABLE");
    expect(sent).toBe(2);
    await backend.close();
  },
);

test("a client of its own never sends a write twice by itself", async () => {
  let sent = 0;
  const { server } = await serve((command) => {
    if (!("findAndModify" in command)) return { ok: 1 };
    sent += 1;
    return "cut";
  });
  const backend = mongodbBackend({ url: server.url });
  expect(await codeOf(backend.acquire(acquireRequest, within()))).toBe("COORD_UNAVAILABLE");
  expect(sent).toBe(1);
  await backend.close();
});

test.each(drivers)(
  "%s: a write that reached the primary but no majority is unknown, not done and not refused",
  async (_, MongoClient) => {
    const writeConcernError = {
      code: 64,
      codeName: "WriteConcernTimeout",
      errmsg: "waiting for replication timed out",
    };
    const { client } = await serve(() => ({ ok: 1, value: projected, writeConcernError }), MongoClient);
    const backend = mongodbBackend({ client });
    const error = await errorOf(backend.acquire(acquireRequest, within()));
    expect(error).toMatchObject({ code: "COORD_UNAVAILABLE", notDone: false });
    await backend.close();
  },
);

test.each([
  [11_000, { code: "COORD_UNAVAILABLE", notDone: true }],
  [10_107, { code: "COORD_UNAVAILABLE", notDone: true }],
  [13_435, { code: "COORD_UNAVAILABLE", notDone: true }],
  [112, { code: "COORD_UNAVAILABLE", notDone: true }],
  [50, { code: "COORD_UNAVAILABLE", notDone: false }],
  [9, { code: "COORD_UNAVAILABLE", notDone: false }],
  [262, { code: "COORD_UNAVAILABLE", notDone: false }],
  [11_602, { code: "COORD_UNAVAILABLE", notDone: false }],
  [123_456, { code: "COORD_UNAVAILABLE", notDone: false }],
  [13, { code: "COORD_CONFIGURATION" }],
  [18, { code: "COORD_CONFIGURATION" }],
  [59, { code: "COORD_CONFIGURATION" }],
  [100, { code: "COORD_CONFIGURATION" }],
  [17_276, { code: "COORD_CONFIGURATION" }],
  [10_334, { code: "COORD_INVALID_ARGUMENT" }],
])("code %i of the server means %o", async (code, meaning) => {
  const { server } = await serve(() => ({ ok: 0, code, errmsg: "secret text of the server" }));
  const backend = mongodbBackend({ url: server.url });
  const error = await errorOf(backend.acquire(acquireRequest, within()));
  expect(error).toMatchObject(meaning);
  expect(error.message).not.toContain("secret text");
  expect(error.cause).toBeInstanceOf(MongoServerError);
  await backend.close();
});

/** A session of a client whose server has transactions. */
async function inTransaction(
  MongoClient: Driver,
  answer: Answer,
  work: (session: Session, client: Client) => Promise<void>,
) {
  const { client, server } = await serve(
    (command) =>
      "commitTransaction" in command || "abortTransaction" in command ? { ok: 1 } : answer(command),
    MongoClient,
  );
  await client.withSession((session) => session.withTransaction(() => work(session, client)));
  return server.commands.filter((command) => "findAndModify" in command);
}

test.each(drivers)(
  "%s: within sends its statements in the caller's transaction, without a write concern of their own",
  async (_, MongoClient) => {
    const grant = { name, grantId: "g", fence: 7n };
    const sent = await inTransaction(
      MongoClient,
      () => ({ ok: 1, value: projected }),
      async (session, client) => {
        const backend = mongodbBackend({ client });
        await backend.within(session).verify({ grant });
        const end = { ...grant, sealed: true, retainMs: null, payload: "done" };
        expect(await backend.within(session).release(end)).toEqual({ outcome: "released" });
        await backend.close();
      },
    );
    expect(sent.map((command) => command["startTransaction"])).toEqual([true, undefined]);
    expect(sent.map((command) => command["autocommit"])).toEqual([false, false]);
    expect(new Set(sent.map((command) => command["txnNumber"])).size).toBe(1);
    expect(sent.map((command) => command["writeConcern"])).toEqual([undefined, undefined]);
  },
);

test.each(drivers)(
  "%s: a write conflict inside a transaction comes out as the driver's, so that withTransaction runs it again",
  async (_, MongoClient) => {
    let runs = 0;
    const conflict = {
      ok: 0,
      code: 112,
      codeName: "WriteConflict",
      errmsg: "",
      errorLabels: ["TransientTransactionError"],
    };
    await inTransaction(
      MongoClient,
      () => (runs === 1 ? conflict : { ok: 1, value: projected }),
      async (session, client) => {
        runs += 1;
        await mongodbBackend({ client })
          .within(session)
          .verify({ grant: { name, grantId: "g", fence: 7n } });
      },
    );
    expect(runs).toBe(2);
  },
);

test.each([null, { ...stored, remainingMs: 0n }, { ...stored, remainingMs: -5n }])(
  "verify of a lease that is not held any more is lost (%o)",
  async (value) => {
    const lost = inTransaction(
      MongoClient7,
      () => ({ ok: 1, value }),
      (session, client) =>
        mongodbBackend({ client })
          .within(session)
          .verify({ grant: { name, grantId: freshId(), fence: 7n } }),
    );
    expect(await codeOf(lost)).toBe("COORD_LEASE_LOST");
  },
);

test.each(drivers)("%s: within refuses a session without an open transaction", async (_, MongoClient) => {
  const { client } = await serve(() => ({ ok: 1, value: projected }), MongoClient);
  const verifying = client.withSession((session) =>
    mongodbBackend({ client })
      .within(session)
      .verify({ grant: { name, grantId: "g", fence: 7n } }),
  );
  expect(await codeOf(verifying)).toBe("COORD_INVALID_ARGUMENT");
});

test("an acquire that took long is repeated, as it may have waited for a lock with an old $$NOW", async () => {
  let sent = 0;
  const { client } = await serve(async () => {
    sent += 1;
    if (sent === 1) await new Promise((resolve) => setTimeout(resolve, 400));
    return { ok: 1, value: { ...projected, remainingMs: sent === 1 ? 59_600n : 60_000n } };
  });
  const backend = mongodbBackend({ client });
  expect(await backend.acquire(acquireRequest, within())).toMatchObject({ outcome: "granted", fence: 7n });
  expect(sent).toBe(2);
  await backend.acquire(acquireRequest, within());
  expect(sent).toBe(3);
  await backend.close();
});

test("of a batch held up by a locked document only that one is unknown, the others are asked for alone", async () => {
  const ids = ["before", "locked", "after", "gone"].map((key) => `n:l\u001f${key}`);
  const updates: string[][] = [];
  const { client } = await serve((command) => {
    if ("find" in command) {
      const documents = ids.slice(0, 3).map((_id) => {
        return { _id, grantId: "g", fence: 7n, applied: _id === ids[0], held: true };
      });
      return { ok: 1, cursor: { id: 0n, ns: "scripted.coord_leases", firstBatch: documents } };
    }
    const asked: string[] = command["updates"].map((update: Document) => String(update["q"]["_id"]));
    updates.push(asked);
    if (asked.includes(ids[1] ?? "")) return { ok: 0, code: 50, codeName: "MaxTimeMSExpired", errmsg: "" };
    return { ok: 1, n: asked.length, nModified: asked.length };
  });
  const backend = mongodbBackend({ client });
  const requests = ids.map((id) => ({
    name: { namespace: "n", key: id.slice(2) },
    grantId: "g",
    fence: 7n,
    ttlMs: 60_000,
  }));
  expect(await backend.renew(requests, within())).toEqual(["renewed", "unknown", "renewed", "lost"]);
  expect(updates.map((asked) => asked.length)).toEqual([4, 1, 1]);
  await backend.close();
});

test.each(drivers)(
  "%s: a client with one connection keeps it for its commands, and waiters poll",
  async (_, MongoClient) => {
    const { server } = await serve(() => ({ ok: 1 }));
    const single = new MongoClient(server.url, { maxPoolSize: 1 });
    clients.push(single);
    for (const options of [{ client: single }, { db: single.db() }]) {
      const backend = mongodbBackend(options);
      expect(await codeOf(backend.watch?.(name, () => {}, within()))).toBe("COORD_CONFIGURATION");
      await backend.close();
    }
    expect(server.commands.filter((command) => "aggregate" in command)).toEqual([]);
  },
);

test.each(drivers)(
  "%s: a batch that was broken off may have renewed some: unknown, and not called not done",
  async (_, MongoClient) => {
    const writeErrors = [{ index: 1, code: 10_107, errmsg: "not primary" }];
    const { client } = await serve(() => ({ ok: 1, n: 1, nModified: 1, writeErrors }), MongoClient);
    const backend = mongodbBackend({ client });
    const renewal = { name, grantId: "g", fence: 7n, ttlMs: 60_000 };
    const other = { ...renewal, name: { ...name, key: "other" } };
    const error = await errorOf(backend.renew([renewal, other], within()));
    expect(error).toMatchObject({ code: "COORD_UNAVAILABLE", notDone: false });
    await backend.close();
  },
);
