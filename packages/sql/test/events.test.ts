import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  advisoryLock,
  fencedUpdate,
  insertIdempotent,
  lockRow,
  occUpdate,
  type SqlEvent,
  transaction,
  withOccRetry,
} from "../src/index.ts";
import { accounts, caught, startServers, useServer } from "./harness.ts";

const missing = await startServers("postgres");

describe.skipIf(missing.postgres)(`the channel coord:sql ${missing.postgres ?? ""}`, () => {
  const at = useServer("postgres");
  let heard: SqlEvent[] = [];
  const listen = (event: unknown): void => void heard.push(event as SqlEvent);
  beforeEach(() => {
    heard = [];
    subscribe("coord:sql", listen);
  });
  afterEach(() => unsubscribe("coord:sql", listen));
  const outcomes = (): string[] =>
    heard.map((event) => `${event.kind} ${"outcome" in event ? event.outcome : event.attempt}`);

  it("tells of writes, with their table and how they ended", async () => {
    const table = await accounts(at.db);
    await transaction(at.db.pool, async (session) => {
      await lockRow(session, table, { id: 1 });
      await lockRow(session, table, { id: 99 });
      await insertIdempotent(session, table, { id: 6, balance: 1 }, { key: ["id"] });
      await insertIdempotent(session, table, { id: 6, balance: 1 }, { key: ["id"] });
      await fencedUpdate(session, { key: "k", fence: 2n }, table, { where: { id: 2 }, set: {} });
    });
    expect(outcomes()).toEqual([
      "row-lock locked",
      "row-lock missing",
      "idempotent-insert written",
      "idempotent-insert exists",
      "fenced-update written",
      "transaction committed",
    ]);
    expect(heard.every((event) => event.dialect === "postgres")).toBe(true);
    expect(heard[0]).toMatchObject({ lock: table, waitedMs: expect.any(Number) });
    expect(heard[2]).toMatchObject({ table, durationMs: expect.any(Number) });
  });

  it("tells of conflicts, retries, stale fences and rollbacks, with their error", async () => {
    const table = await accounts(at.db);
    const change = { where: { id: 1 }, version: 9, set: {} };
    await caught(
      withOccRetry(at.db.pool, (session) => occUpdate(session, table, change), {
        attempts: 2,
        firstPauseMs: 1,
      }),
    );
    await caught(
      transaction(at.db.pool, (session) =>
        fencedUpdate(session, { key: "k", fence: -1n }, table, { where: { id: 2 }, set: {} }),
      ),
    );
    expect(outcomes()).toEqual([
      "occ-update conflict",
      "transaction rolled-back",
      "occ-retry 1",
      "occ-update conflict",
      "transaction rolled-back",
      "fenced-update stale",
      "transaction rolled-back",
    ]);
    expect(heard.filter((event) => "error" in event)).toHaveLength(7);
  });

  it("tells of advisory locks: the wait, and how long it was held", async () => {
    await advisoryLock(at.db.pool, "told", () =>
      caught(advisoryLock(at.db.pool, "other", () => Promise.reject(new Error("boom")))),
    );
    expect(outcomes()).toEqual([
      "advisory-lock locked",
      "advisory-lock locked",
      "advisory-unlock released",
      "advisory-unlock released",
    ]);
    expect(heard[3]).toMatchObject({ lock: "told", heldMs: expect.any(Number) });
  });
});
