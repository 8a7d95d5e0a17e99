/**
 * A small program that knows no store: which one it uses is COORD_URL's business. It prints what it saw, one line
 * each, without what differs from run to run.
 */
import { isCoordError, notDone, openCoordinator } from "@coord/core";
import type { Term } from "@coord/core";

// The longest of the stores' shortest times to live, so that every store takes it.
const coord = await openCoordinator({ defaults: { ttlMs: 20_000 }, namespace: `swap_${process.pid}` });
const saw = (what: string, ...answers: unknown[]): void =>
  console.log(`${what}: ${answers.map((answer) => JSON.stringify(answer)).join(", ")}`);
const failure = (error: unknown): string =>
  isCoordError(error) ? error.code : error instanceof Error ? error.message : "something else";
const failureOf = (promise: Promise<unknown>): Promise<string> => promise.then(() => "no failure", failure);

await coord.setup();
await Promise.all([coord.setup(), coord.setup()]);
const { findings } = await coord.diagnose();
saw("nothing is wrong with the store", !findings.some(({ level }) => level === "error"));

// One at a time, in the order in which they came, with fences that rise.
const fences: bigint[] = [];
let inside = 0;
let most = 0;
const order = await Promise.all(
  ["first", "second", "third", "fourth"].map((who) =>
    coord.withLease("account:1", async (lease) => {
      most = Math.max(most, (inside += 1));
      fences.push(lease.fence);
      await new Promise((resolve) => setTimeout(resolve, 5));
      inside -= 1;
      return who;
    }),
  ),
);
saw("all had their turn, one at a time", order, most);
saw(
  "fences rise",
  fences.every((fence, i) => i === 0 || fence > (fences[i - 1] ?? 0n)),
  typeof fences[0],
);

// A held name is refused, and who holds it is told.
const held = await coord.acquire("report", { holder: "the night shift" });
saw("a held name", await coord.tryAcquire("report"), await failureOf(coord.acquire("report", { waitMs: 0 })));
const shown = await coord.inspect("report");
saw("inspected", shown?.state, shown?.holder, shown?.fence === held.fence, shown?.sealed);
await held.renew();
await held.save({ page: 3, title: "ünï \u{1F512} 'quoted' \\ \u0000" });
const waiting = coord.acquire("report");
setTimeout(() => void held.release(), 50);
const next = await waiting;
saw("the next one finds the checkpoint", next.checkpoint);
saw("its fence is higher", next.fence > held.fence, held.state);
await next.release();
await next.release();
saw("released", (await coord.inspect("report"))?.state, await coord.inspect("never used"));

// A lease in other hands.
const given = await coord.acquire("job");
const text = given.detach();
const adopted = await coord.adopt(text);
saw("adopted once", adopted.fence > given.fence, await failureOf(coord.adopt(text)));
const { fence } = await coord.breakLease("job", { fence: adopted.fence, by: "an operator" });
saw("broken", fence > adopted.fence, await failureOf(adopted.renew()), adopted.signal.aborted);
saw("broken twice", await failureOf(coord.breakLease("job", { fence: adopted.fence, by: "an operator" })));

// At most once.
const runs: string[] = [];
const charge = (key: string, amount: number) =>
  coord.once(key, { input: { amount } }, (input, execution) => {
    runs.push(`${key} ${execution.attempt}`);
    return { charged: input.amount, key: execution.idempotencyKey.length };
  });
const [one, two] = [await charge("charge:1", 5), await charge("charge:1", 5)];
saw("once", one.status, one.status === "completed" && [one.response, one.replayed, one.attempt]);
saw("again", two.status, two.status === "completed" && [two.response, two.replayed, two.attempt]);
saw("with another input", await failureOf(charge("charge:1", 6)));
let isDown = true;
const failing = () =>
  coord.once("charge:2", (_, { attempt }) => {
    if (isDown) throw notDone(new Error("the bank is closed"));
    return attempt;
  });
saw("not done", await failureOf(failing()));
isDown = false;
const late = await failing();
saw("done at last", late.status === "completed" && [late.response, late.replayed]);
const broken = (): Promise<unknown> =>
  coord.once("charge:3", () => {
    throw new Error("the line went dead");
  });
saw("nobody knows", await failureOf(broken()));
const uncertain = await coord.once("charge:3", () => "never run");
saw("it is uncertain", uncertain.status);
if (uncertain.status === "uncertain") {
  const { fence: seen } = uncertain;
  const answer = { as: "completed", response: "looked up by hand" } as const;
  await coord.executions.resolve("charge:3", { fence: seen, by: "an operator", ...answer });
}
const resolved = await coord.once("charge:3", () => "never run");
saw("resolved", resolved.status === "completed" && [resolved.response, resolved.replayed]);
saw("the function ran", runs);

// One leads, then nobody.
const term = await new Promise<Term>((resolve, reject) => {
  const election = coord.elect("scheduler", {
    onElected: async (elected) => {
      resolve(elected);
      setTimeout(() => void election.stop(), 0);
    },
    onError: reject,
  });
  election.start();
});
saw("elected", term.key, typeof term.fence);

// Names are bytes, in the order of bytes.
const names = ["a", "A", "a ", "ä", "a\u0308", "%", "_", "\u{1F512}", "'; DROP TABLE x; --", "..", "*"];
for (const name of names) await (await coord.acquire(`names/${name}`)).release();
const listed: string[] = [];
for await (const { key } of coord.list({ prefix: "names/" })) listed.push(key);
saw("listed", listed);
saw("refused", await failureOf(coord.acquire("")), await failureOf(coord.acquire("k", { ttlMs: 0.5 })));
saw("nothing to clean up", await coord.prune());

await coord.close();
saw("closed", await failureOf(coord.acquire("account:1")));
