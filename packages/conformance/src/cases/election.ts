import assert from "node:assert/strict";
import type { Term } from "@coord/core";
import { unwrap } from "@coord/core";
import { casesOf } from "../case.ts";
import type { Case } from "../case.ts";
import { contest } from "../contest.ts";
import { byValue } from "../coordinated.ts";

function assertRising(terms: readonly Term[]): void {
  const fences = terms.map(({ fence }) => fence);
  assert.deepEqual(fences, [...new Set(fences)].toSorted(byValue), "terms rise");
}

/** A callback's work that goes on until it is finished, whatever its signal says. */
function work(): { readonly done: Promise<void>; readonly finish: () => void } {
  const finished = new AbortController();
  const done = new Promise<void>((resolve) =>
    finished.signal.addEventListener("abort", () => resolve(), { once: true }),
  );
  return { done, finish: () => finished.abort() };
}

export const election: readonly Case[] = casesOf("election", {
  "one-leads": {
    title: "of two candidates one leads; when it stops the other follows with a higher term",
    run: (context) =>
      contest(context, async ({ one, two, ttlMs, terms, stand, leads, ...counts }) => {
        const candidates = [stand(one), stand(two)];
        await context.untilElapsed("a leader", () => terms.length > 0, ttlMs);
        const [first, other] = candidates.toSorted((a, b) => Number(b.isLeader) - Number(a.isLeader));
        assert.ok(first && other);
        assert.equal(other.isLeader, false, "one leads");
        await context.during("the leader stops", first.stop(), ttlMs);
        assert.equal(await leads(other), true);
        assert.equal(counts.overlaps, 0, "a term begins when the one before has ended");
        assertRising(terms);
        assert.equal((await one.elect("job").leader())?.fence, terms.at(-1)?.fence);
      }),
  },
  "cut-off": {
    title: "a leader that can't reach the store loses its term by its own clock before another wins",
    requires: ["cut"],
    run: (context) =>
      contest(context, async (game) => {
        const { one, two, ttlMs, terms, stand, leads } = game;
        const leader = stand(one, { status: { version: "1" }, holder: "cut off" });
        await leads(leader);
        const heal = await context.opened.cut?.();
        try {
          const rival = stand(two, { status: { version: "2" }, holder: "rival" });
          await leads(rival, 3 * ttlMs);
          assert.equal(leader.isLeader, false);
          assert.equal(game.overlaps, 0, "the old term ends before the new one begins");
          assertRising(terms);
          const gone = async (): Promise<boolean> => (await rival.candidates()).length === 1;
          await context.untilElapsed("a candidate that is silent is listed no more", gone, 2 * ttlMs);
          const [only] = await rival.candidates();
          assert.deepEqual([only?.holder, only?.state], ["rival", "leader"]);
        } finally {
          await heal?.();
        }
      }),
  },
  "resigning-releases-last": {
    title: "resigning ends the term at once, and lets nobody in before its work has settled",
    run: (context) =>
      contest(context, async ({ one, two, ttlMs, terms, stand, leads }) => {
        const { done, finish } = work();
        const leader = stand(one, { graceMs: 10 * ttlMs, onElected: () => done });
        try {
          await leads(leader);
          stand(two);
          const resigned = leader.resign();
          assert.equal(terms[0]?.signal.aborted, true, "its work is told at once");
          await context.elapse(1.5 * ttlMs);
          assert.equal(terms.length, 1, "nobody is elected while its work goes on");
          finish();
          await context.during("the leader resigns", resigned, ttlMs);
          const fence = (await two.elect("job").leader())?.fence;
          assert.notEqual(fence, terms[0].fence, "its lease is released, not left to lapse");
          await context.untilElapsed("the next term", () => terms.length > 1, 2 * ttlMs);
          assertRising(terms);
        } finally {
          finish();
        }
      }),
  },
  "throwing-callback": {
    title: "a callback that throws ends its term, is told, and the candidate stands again",
    run: (context) =>
      contest(context, async ({ one, ttlMs, terms, stand }) => {
        const failures = [new Error("first"), new Error("second")];
        const told: unknown[] = [];
        const leader = stand(one, {
          ttlMs: 10 * ttlMs,
          onElected() {
            const failure = failures[terms.length - 1];
            if (failure !== undefined) throw failure;
          },
          onError: (error) => void told.push(error),
        });
        // Each term is released, not left to lapse.
        await context.untilElapsed("the third term", () => terms.length === 3, 7.5 * ttlMs);
        assert.equal(leader.isLeader, true);
        assert.deepEqual(told, failures);
        assert.deepEqual(
          terms.map(({ signal }) => signal.aborted),
          [true, true, false],
        );
        assertRising(terms);
      }),
  },
  "stuck-callback": {
    title: "work that does not settle keeps its lease until that lapses, and its candidate from standing",
    run: (context) =>
      contest(context, async ({ one, two, ttlMs, terms, stand, leads }) => {
        const { done, finish } = work();
        const stuck = stand(one, { graceMs: ttlMs / 10, onElected: () => done });
        try {
          await leads(stuck);
          const resigned = stuck.resign();
          await context.during("the grace is over", resigned, ttlMs);
          const leftAtMs = context.elapsedMs();
          const remainingMs = (await two.elect("job").leader())?.remainingMs ?? 0;
          let tookMs = 0;
          const rival = stand(two, { onElected: () => void (tookMs = context.elapsedMs() - leftAtMs) });
          await leads(rival);
          const { slackMs } = context.timing;
          assert.ok(tookMs > remainingMs - slackMs, "nobody is elected before its lease has lapsed");
          await context.during("the rival stops", rival.stop(), ttlMs);
          await context.elapse(ttlMs / 4);
          assert.equal(terms.length, 2, "a candidate with work of an old term does not stand");
          finish();
          assert.equal(await leads(stuck), true, "it stands again when that has settled");
          assertRising(terms);
        } finally {
          finish();
        }
      }),
  },
  "returned-callback": {
    title: "leadership lasts after its callback has returned, until it is lost or resigned",
    run: (context) =>
      contest(context, async ({ one, two, ttlMs, terms, stand, leads }) => {
        const leader = stand(one);
        await leads(leader);
        const rival = stand(two);
        await context.elapse(1.5 * ttlMs);
        assert.equal(leader.isLeader, true);
        assert.equal(rival.isLeader, false);
        assert.equal(terms.length, 1);
      }),
  },
  candidates: {
    title: "a mere observer sees who stands and who leads, as the lease says",
    run: (context) =>
      contest(context, async ({ one, two, stand, leads }) => {
        const observer = two.elect("job");
        assert.equal(await observer.leader(), null);
        assert.deepEqual(await observer.candidates(), []);
        const status = { version: "1.2", zone: "é", weight: 3, spare: false };
        const ann = stand(one, { status, holder: "ann" });
        await leads(ann);
        stand(two, { status: { version: "2" }, holder: "bob" });
        stand(two, { holder: "without a status" });
        await context.until("both are listed", async () => (await observer.candidates()).length === 2);
        const listed = await observer.candidates();
        const ids = listed.map(({ id }) => id);
        assert.deepEqual(ids, ids.toSorted());
        const states = listed.map(({ holder, state }) => `${holder}: ${state}`);
        assert.deepEqual(states.toSorted(), ["ann: leader", "bob: candidate"]);
        const shown = listed.find(({ holder }) => holder === "ann");
        assert.deepEqual(shown?.status, status);
        assert.deepEqual([shown.version, shown.pid], ["1.2", process.pid]);
        const leader = await observer.leader();
        assert.deepEqual(
          [leader?.candidateId, leader?.holder, leader?.fence],
          [shown.id, "ann", ann.term?.fence],
        );
      }),
  },
  observe: {
    title: "an observer sees each change of leader, and that there is none",
    run: (context) =>
      contest(context, async ({ one, two, ttlMs, stand }) => {
        const seen: (string | null)[] = [];
        const stop = new AbortController();
        const watch = async (): Promise<void> => {
          for await (const leader of two.elect("job").observe({ signal: stop.signal })) {
            seen.push(leader?.holder ?? null);
          }
        };
        const watching = watch();
        const sees = (count: number): Promise<boolean> =>
          context.untilElapsed(`change ${count}`, () => seen.length >= count, 2 * ttlMs);
        try {
          await sees(1);
          const ann = stand(one, { holder: "ann" });
          await sees(2);
          await context.during("the leader stops", ann.stop(), ttlMs);
          await sees(3);
          stand(two, { holder: "bob" });
          await sees(4);
          assert.deepEqual(seen, [null, "ann", null, "bob"]);
        } finally {
          stop.abort();
          await context.during("the observer leaves", watching, ttlMs);
        }
      }),
  },
  stopped: {
    title: "who has stopped is neither listed nor elected, and leaves the name free at once",
    run: (context) =>
      contest(context, async ({ one, two, ttlMs, terms, stand, leads }) => {
        const leader = stand(one, { status: { version: "1" } });
        await leads(leader);
        const waiting = stand(two, { status: { version: "2" } });
        const observer = two.elect("job");
        await context.until("both are listed", async () => (await observer.candidates()).length === 2);
        await context.during("the candidate stops", waiting.stop(), ttlMs);
        await context.during("the leader stops", leader.stop(), ttlMs);
        assert.equal(await observer.leader(), null);
        assert.deepEqual(await observer.candidates(), []);
        assert.equal(terms.length, 1);
      }),
  },
  apart: {
    title: "elections of other names, leases and executions of the same name do not meet",
    run: (context) =>
      contest(context, async ({ one, two, stand, leads }) => {
        const names = ["job", "job2", "job/2", "JOB"];
        const elections = names.map((name, i) =>
          stand(i % 2 ? two : one, { name, status: { version: name } }),
        );
        for (const each of elections) await leads(each);
        const ran = await one.withLease("job", () => one.once("job", () => "ran"));
        assert.equal(unwrap(ran), "ran");
        for (const each of elections) {
          assert.equal(each.isLeader, true);
          await context.until("it is listed", async () => (await each.candidates()).length > 0);
          const versions = (await each.candidates()).map(({ version }) => version);
          assert.deepEqual(versions, [each.name]);
        }
      }),
  },
  "reply-lost": {
    title: "a candidate whose election was not answered leads soon, under the fence that is stored",
    requires: ["swallowNextReply"],
    run: (context) =>
      contest(context, async ({ one, two, ttlMs, terms, stand, leads }) => {
        await context.opened.swallowNextReply?.();
        const leader = stand(one, { ttlMs: 10 * ttlMs });
        // A repeat of the request, not the end of its own lease.
        await leads(leader, 7.5 * ttlMs);
        assert.equal((await two.elect("job").leader())?.fence, terms[0]?.fence);
        assert.equal(terms.length, 1);
      }),
  },
  "terms-rise": {
    title: "terms rise over resignations, and when the store's clock is stepped back",
    requires: ["stepClock"],
    alone: true,
    run: (context) =>
      contest(context, async ({ one, ttlMs, terms, stand, leads }) => {
        const leader = stand(one);
        for (const goal of [2, 3]) {
          await leads(leader);
          await context.during("the leader resigns", leader.resign(), ttlMs);
          await context.untilElapsed("the next term", () => terms.length >= goal, ttlMs);
        }
        await context.during("the leader stops", leader.stop(), ttlMs);
        await context.opened.stepClock?.(-3_600_000);
        await leads(stand(one));
        assert.equal(terms.length, 4);
        assertRising(terms);
      }),
  },
});
