import type { Mutant } from "./load.ts";

const of =
  (file: string) =>
  (name: string, find: string, replace: string): Mutant => ({ name, file, find, replace });
const acquire = of("acquire.ts");
const holding = of("holding.ts");
const call = of("call.ts");
const line = of("line.ts");
const lease = of("lease.ts");
const clock = of("clock.ts");
const deadline = of("deadline.ts");
const renewer = of("renewer.ts");

/** Ways to get the policy wrong that stands on the contract; each must be found out. */
export const coreMutants: readonly Mutant[] = [
  holding("there is next to no margin", "Math.max(50, Math.min(ttlMs / 10, 1000)) + ttlMs / 1000;", "20;"),
  acquire(
    "the deadline of a grant counts from its answer",
    "        unanswered = false;\n        return answer;",
    "        unanswered = false;\n        sentAt = clock.now();\n        return answer;",
  ),
  holding(
    "the deadline of a renewal counts from its answer",
    "this.#validUntil = Math.max(this.#validUntil, this.#deadline(sentAt, ttlMs));",
    "this.#validUntil = Math.max(this.#validUntil, this.#deadline(this.#keepers.clock.now(), ttlMs));",
  ),
  holding(
    "the signal never aborts",
    "    this.#controller?.abort(this.#error());\n  }\n\n  /** Made when",
    "  }\n\n  /** Made when",
  ),
  holding(
    "assertHeld looks at a flag",
    'if (this.state !== "held") throw this.#error();',
    'if (this.#state !== "held") throw this.#error();',
  ),
  holding("a grant that came late is used", "if (clock.now() >= this.#validUntil) return false;", ""),
  holding(
    "an unknown renewal extends the deadline",
    'else if (outcome === "renewed") this.extend(sentAt, this.granted.ttlMs);',
    "else this.extend(sentAt, this.granted.ttlMs);",
  ),
  holding(
    "a lost lease is not noticed at a renewal",
    'if (outcome === "lost") this.lose("refused");\n    else if',
    "if",
  ),
  holding(
    "a lease is held for ever",
    "if (now >= this.#validUntil) {",
    "if (now >= this.#validUntil && now < 0) {",
  ),
  holding("the renewal goes on after the end", "    renewer.delete(this);\n", ""),
  call(
    "a call has no limit",
    "      limitMs,\n      true,\n    );",
    "      limitMs * 1e6,\n      true,\n    );",
  ),
  call(
    "nothing is repeated",
    'if (!isCoordError(error, "COORD_UNAVAILABLE")) throw error;',
    "if (attempt > 0) throw error;",
  ),
  call("an abort is not heard", 'signal?.addEventListener("abort", onAbort, { once: true });', ""),
  acquire(
    "a win that nobody waits for is kept",
    "function giveBack(keepers: Keepers, spec: AcquireSpec, grantId: string): void {",
    "function giveBack(keepers: Keepers, spec: AcquireSpec, grantId: string): void {\n  if (grantId) return;",
  ),
  acquire("a late answer gives back what is in use", "if (useless && late.outcome", "if (late.outcome"),
  acquire(
    "a repeat takes a fresh grant id",
    "(options) => backend.acquire(request, options),",
    "(options) => backend.acquire({ ...request, grantId: host.randomId() }, options),",
  ),
  acquire(
    "waiters do not poll",
    "const delayMs = Math.min(jittered, Math.max(1, remainingMs), untilMs);",
    "const delayMs = Math.min(jittered * 1e6, untilMs);",
  ),
  line("the head of the line hands over to nobody", "if (at === 0) tellHead(id, queue);", ""),
  line(
    "whoever waits for its own process is not woken",
    "queue.heldHere = false;\n      tellHead(id, queue);",
    "queue.heldHere = false;",
  ),
  lease("saves are not numbered", "this.#saves += 1;", ""),
  lease(
    "a detached lease is renewed",
    'this.#holding.leave("detached");\n    this.#released',
    "this.#released",
  ),
  lease(
    "a release is forgotten",
    "    await this.#holding.release(outcome);\n    this.#telling",
    "    this.#telling",
  ),
  clock("a suspension goes unnoticed", "addedMs += newLead - lead;", ""),
  clock(
    "a wall clock that was set back hides the next suspension",
    "} else if (newLead < lead) lead = newLead;",
    "}",
  ),
  deadline(
    "the clocks are looked at by the end alone",
    "Math.min(timed.endsAt, now + Math.min(timed.marginMs / 2, longestTickMs));",
    "timed.endsAt;",
  ),
  renewer(
    "a failed renewal ends the loop",
    'if (outcome === "unknown") soon(renewable);',
    'if (outcome === "unknown") held.delete(renewable);',
  ),
  renewer(
    "renewals go out too late",
    "export const renewEveryMs = (ttlMs: number): number => ttlMs / 3;",
    "export const renewEveryMs = (ttlMs: number): number => ttlMs * 1.1;",
  ),
  renewer(
    "one answer stands for the whole batch",
    'const outcome = outcomes?.[i] ?? "unknown";',
    'const outcome = outcomes?.[0] ?? "unknown";',
  ),
  of("coordinator.ts")(
    "close releases nothing",
    "const left = [...keepers.holdings];",
    "const left: Holding[] = [];",
  ),
  of("with-lease.ts")(
    "minHoldMs is ignored",
    'if (restMs > 0 && lease.state === "held") await lease.lapseIn(restMs);\n    else await',
    "await",
  ),
  of("with-lease.ts")(
    "the lease outlives its callback",
    "    await finish(lease, minHoldMs);\n  } catch",
    "  } catch",
  ),
];
