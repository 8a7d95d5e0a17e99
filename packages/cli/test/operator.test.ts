import { whyMissing } from "@coord/test-fixtures";
import { createCoordinator } from "@coord/core";
import type { Coordinator } from "@coord/core";
import { postgresBackend } from "@coord/postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { place, until } from "./session.ts";
import type { Session } from "./session.ts";

/** What people do at night, as typed, beside a program that holds leases on the same store. */

const missing = await whyMissing("postgres");

describe.skipIf(missing !== undefined)(`an operator ${missing ?? ""}`, { timeout: 120_000 }, () => {
  const here = place("postgres", false);
  let program: Coordinator;
  const coord: Session["coord"] = (...args) => here.user.coord(...args);
  const objects = (text: string): Record<string, unknown>[] =>
    text
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Record<string, unknown>);

  beforeAll(async () => {
    program = createCoordinator({ backend: postgresBackend({ url: here.server.url }), holder: "billing-7" });
  }, 120_000);
  afterAll(async () => {
    await program?.close({ graceMs: 0 });
  });

  it("is told to set up, sees what that makes, does it, and may repeat it", async () => {
    const unset = await coord(["ls"]).ended;
    expect([unset.code, unset.stdout]).toEqual([78, ""]);
    expect(unset.stderr).toContain("coord setup");
    expect((await coord(["setup", "--print"]).ended).stdout).toContain("CREATE TABLE");
    expect((await coord(["ls"]).ended).code).toBe(78);
    for (let time = 1; time <= 2; time += 1) expect((await coord(["setup"]).ended).code).toBe(0);
    expect(await coord(["ls"]).ended).toMatchObject({ code: 0, stdout: "" });
  });

  describe("on a store that is set up", { timeout: 120_000 }, () => {
    it("prints the tables for migrations without asking a server", async () => {
      const env = { COORD_URL: undefined };
      const postgres = await coord(["schema", "postgres", "--schema", "locks"], { env }).ended;
      expect(postgres.stdout).toContain('"locks"');
      const mysql = await coord(["schema", "mysql", "--table-prefix", "guard"], { env }).ended;
      expect(mysql.stdout).toContain("guard_lease");
      expect((await coord(["schema", "mysql", "--table", "x"], { env }).ended).code).toBe(64);
    });

    it("lists who holds what, by prefix, state and kind, for people and for jq", async () => {
      await using lease = await program.acquire("invoice:1", { ttlMs: 60_000 });
      await (await program.acquire("invoice:2")).release();
      const { stdout } = await coord(["ls", "--prefix", "invoice:"]).ended;
      expect(stdout).toMatch(
        /^STATE +ENDS IN +FENCE +KEY +HOLDER\nheld +(1m00s|5\ds) +\d+ +invoice:1 +billing-7\n$/,
      );
      const all = objects((await coord(["ls", "--all", "--prefix", "invoice:", "--json"]).ended).stdout);
      expect(all.map(({ key, state }) => [key, state])).toEqual([
        ["invoice:1", "held"],
        ["invoice:2", "free"],
      ]);
      expect(all[0]?.["fence"]).toBe(String(lease.fence));
      expect((await coord(["ls", "--prefix", "other"]).ended).stdout).toBe("");
    });

    it("sees one key with its checkpoint, and 1 for one that nobody knows", async () => {
      await using lease = await program.acquire("shown");
      await lease.save({ page: 7 });
      expect((await coord(["inspect", "shown"]).ended).stdout).toContain('{"page":7}');
      const [info] = objects((await coord(["inspect", "shown", "--json"]).ended).stdout);
      expect(info).toMatchObject({
        key: "shown",
        holder: "billing-7",
        state: "held",
        checkpoint: { page: 7 },
      });
      expect(await coord(["inspect", "nobody"]).ended).toMatchObject({ code: 1, stdout: "" });
    });

    it("shows what would steer a terminal as escapes", async () => {
      await using _ = await program.acquire("k", { holder: "fine" });
      await using other = await program.acquire("safe\u202Ekey");
      expect(other.state).toBe("held");
      const { stdout } = await coord(["ls"]).ended;
      expect(stdout).toContain("safe\\u202ekey");
    });

    it("breaks a lease only with the fence that was seen, and only when told so", async () => {
      await using lease = await program.acquire("stuck", { ttlMs: 60_000 });
      const fence = String(lease.fence);
      const unasked = await coord(["break", "stuck"]).ended;
      expect(unasked.code).toBe(64);
      expect(unasked.stderr).toContain("--yes");
      expect((await coord(["break", "stuck", "--yes"]).ended).code).toBe(64);
      expect((await coord(["break", "stuck", "--fence", String(lease.fence + 1n), "--yes"]).ended).code).toBe(
        75,
      );
      lease.assertHeld();
      const broken = await coord([
        "break",
        "stuck",
        "--fence",
        fence,
        "--now",
        "--note",
        "host is gone",
        "--yes",
        "--json",
      ]).ended;
      expect(objects(broken.stdout)[0]).toMatchObject({
        key: "stuck",
        broken: fence,
        holder: "billing-7",
        note: "host is gone",
      });
      await expect(lease.renew()).rejects.toMatchObject({ code: "COORD_LEASE_LOST" });
      expect((await coord(["break", "stuck", "--fence", fence, "--yes"]).ended).code).toBe(1);
    });

    it("sees who leads and who stands, and takes a leadership away", async () => {
      expect(await coord(["leader", "scheduler"]).ended).toMatchObject({ code: 1, stdout: "" });
      await using election = program.elect("scheduler", { status: { version: "1.2.3" } }).start();
      await until(() => election.isLeader);
      const shown = await coord(["leader", "scheduler"]).ended;
      expect(shown.stdout).toMatch(/leader +billing-7/);
      expect(shown.stdout).toMatch(/leader +1\.2\.3/);
      const [info] = objects((await coord(["leader", "scheduler", "--json"]).ended).stdout);
      const { fence } = (info?.["leader"] as { fence: string } | undefined) ?? { fence: "" };
      const args = ["break", "scheduler", "--kind", "election", "--fence", fence, "--now", "--yes"];
      expect(await coord(args).ended).toMatchObject({ code: 0 });
    });

    it("follows an election until told to end", async () => {
      const typed = coord(["leader", "followed", "--follow"]);
      await until(() => typed.stdout().includes("nobody leads"));
      await using _ = program.elect("followed").start();
      await until(() => typed.stdout().includes("billing-7 leads, term"));
      typed.child.kill("SIGTERM");
      expect((await typed.ended).code).toBe(0);
    });

    it("is told what is wrong with the store, how far away it is and how its clock goes", async () => {
      const { code, stdout } = await coord(["doctor"]).ended;
      expect([code, stdout]).toEqual([0, expect.stringMatching(/round trip +\d+ ms/)]);
      const [report] = objects((await coord(["doctor", "--json"]).ended).stdout);
      expect(report).toMatchObject({ backend: "postgres", from: "COORD_URL" });
      expect(Math.abs(Number(report?.["offsetMs"]))).toBeLessThan(1000);
      expect(report?.["findings"]).toContainEqual({ level: "ok", message: "the server is a primary" });
    });

    it("prunes", async () => {
      expect(objects((await coord(["prune", "--json"]).ended).stdout)).toEqual([{ pruned: 0 }]);
    });

    it("can pipe lists into whatever ends early", async () => {
      await using _ = await program.acquire("piped");
      const { stdout, stderr } = await here.user.shell(`"$COORD" ls --json | head -c 5`).ended;
      expect([stdout, stderr]).toEqual(['{"key', ""]);
    });
  });
});
