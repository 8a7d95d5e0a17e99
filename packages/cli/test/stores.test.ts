import { start as startServer, whyMissing } from "@coord/test-fixtures";
import { describe, expect, it } from "vitest";
import { gone, place, session, until } from "./session.ts";
import type { Session } from "./session.ts";

/** What must hold whatever the store: one at a time, and whoever is killed. */

const stores = await Promise.all(
  (["postgres", "redis"] as const).map(async (kind) => [kind, await whyMissing(kind)] as const),
);

for (const [kind, missing] of stores)
  describe.skipIf(missing !== undefined)(
    `coord run on ${kind} ${missing ?? ""}`,
    { timeout: 120_000, concurrent: true },
    () => {
      const here = place(kind);
      const coord: Session["coord"] = (...args) => here.user.coord(...args);
      const lines: Session["lines"] = (path) => here.user.lines(path);
      const file = (): string => here.user.file();
      const pidIn = async (path: string): Promise<number> => Number(await here.user.firstLine(path));

      it("runs one of five at a time, with rising fences, and loses no update", async () => {
        const counter = file();
        const log = file();
        const script = `n=$(cat ${counter} 2>/dev/null || echo 0); echo "in $COORD_FENCE" >> ${log}; sleep 0.1; echo $((n + 1)) > ${counter}; echo out >> ${log}`;
        const five = Array.from({ length: 5 }, () =>
          coord(["run", "five", "--wait", "100s", "--", "sh", "-c", script]),
        );
        for (const { code, stderr } of await Promise.all(five.map(({ ended }) => ended)))
          expect([code, stderr]).toEqual([0, ""]);
        expect(lines(counter)).toEqual(["5"]);
        const words = lines(log).map((line) => line.split(" ")[0]);
        expect(words).toEqual(Array.from({ length: 5 }, () => ["in", "out"]).flat());
        const fences = lines(log)
          .flatMap((line) => line.split(" ").slice(1))
          .map(BigInt);
        expect(fences).toEqual(fences.toSorted((a, b) => (a < b ? -1 : 1)));
        expect(new Set(fences).size).toBe(5);
      });

      it("ends the command when coord is killed with -9, and the next one gets the lease", async () => {
        const held = file();
        // A grandchild too, and both deaf to SIGTERM.
        const script = `trap '' TERM; sh -c 'trap "" TERM; echo $$ >> ${held}; while :; do sleep 0.05; done' & echo $$ >> ${held}; while :; do sleep 0.05; done`;
        const holder = coord([
          "run",
          "kill",
          "--ttl",
          "12s",
          "--kill-after",
          "500ms",
          "--",
          "sh",
          "-c",
          script,
        ]);
        await until(() => lines(held).length === 2);
        const pids = lines(held).map(Number);
        holder.child.kill("SIGKILL");
        const killedMs = performance.now();
        const next = coord(["run", "kill", "--wait", "100s", "--", "sh", "-c", "echo next"]).ended;
        await Promise.all(pids.map((pid) => gone(pid, 11_900)));
        expect(performance.now() - killedMs).toBeLessThan(12_000);
        expect(await next).toMatchObject({ code: 0, stdout: "next\n" });
      });

      it("answers with the signal that ended the command, as shells do, and is free at once", async () => {
        const held = file();
        const holder = coord(["run", "child", "--", "sh", "-c", `echo $$ > ${held}; exec sleep 60`]);
        process.kill(await pidIn(held), "SIGKILL");
        expect(await holder.ended).toMatchObject({ code: 137, stderr: "" });
        expect(await coord(["run", "child", "--", "true"]).ended).toMatchObject({ code: 0 });
      });

      it("ends the command before the lease when the store is killed: SIGTERM first, then SIGKILL", async (context) => {
        // A store of its own, as it is killed.
        const store = await startServer(kind);
        const { faults } = store;
        if (faults === undefined) return context.skip("a server from the environment can't be killed");
        const own = session(here.at, store.url);
        await own.setUp();
        const held = own.file();
        const script = `trap 'echo term >> ${held}' TERM; echo $$ > ${held}; while :; do sleep 0.05; done`;
        const times = ["--ttl", "12s", "--kill-after", "800ms"];
        const holder = own.coord(["run", "store", ...times, "--", "sh", "-c", script]);
        const pid = Number(await own.firstLine(held));
        await faults.kill();
        const killedMs = performance.now();
        try {
          await until(() => own.lines(held).at(-1) === "term");
          const termMs = performance.now();
          await gone(pid);
          expect(performance.now() - killedMs).toBeLessThan(12_000);
          expect(performance.now() - termMs).toBeGreaterThan(400);
          const { code, stderr } = await holder.ended;
          expect([code, stderr]).toEqual([70, expect.stringContaining("lease")]);
          // Nobody can be told that it is held, or that it is not.
          const other = await own.coord(["run", "store", "--ttl", "3s", "--", "echo", "ran"]).ended;
          expect(other).toMatchObject({ code: 69, stdout: "" });
        } finally {
          own.end();
          await store.stop();
        }
      });
    },
  );
