import type { Mutant } from "./load.ts";

const of =
  (file: string) =>
  (name: string, find: string, replace: string): Mutant => ({ name: `once: ${name}`, file, find, replace });
const once = of("once.ts");
const record = of("once-record.ts");
const settle = of("once-settle.ts");
const reconcile = of("reconcile.ts");
const executions = of("executions.ts");
const execution = of("execution.ts");

/** Ways to get `once` wrong; each must be found out. */
export const onceMutants: readonly Mutant[] = [
  once("a claim comes after whatever there is", "    ifFence,\n    withPayload", "    withPayload"),
  once(
    "a claim is not sealed",
    "    sealed: true,\n    payload: encode(payload),",
    "    sealed: false,\n    payload: encode(payload),",
  ),
  once(
    "a claim that nobody waits for is left lying about",
    "async function giveBack(grantId: string): Promise<void> {",
    "async function giveBack(grantId: string): Promise<void> {\n    if (grantId) return;",
  ),
  once(
    "a claim that nobody waits for is released alone",
    "backend.overrule(closed, options),",
    "backend.overrule({ ...closed, fence: -1n }, options),",
  ),
  once(
    "another input gets the answer",
    "if (inputDiffers(standing, plan.fingerprint)) {",
    "if (plan.fingerprint === standing.payload.state) {",
  ),
  once("a run is not bounded", "    maxHoldMs,\n    waitMs,", "    waitMs,"),
  record("runs are not counted", "attempt: payload.attempt + 1,", "attempt: Math.max(1, payload.attempt),"),
  record(
    "a rerun is opened to everybody",
    'return { ...ended(payload), progress, state: "uncertain", log:',
    'return { ...ended(payload), progress, state: "not-done", log:',
  ),
  record("a lapsed claim may be run", 'if (sealed) return { ...seen, status: "uncertain", payload };', ""),
  settle(
    "what was recorded before is not heeded",
    "return result.record === undefined ? payload : (decode(result.record.payload) ?? payload);",
    "return payload;",
  ),
  settle("an overruled run is taken for recorded", 'if (result.outcome === "lost") return "lost";', ""),
  settle(
    "a commit is taken for granted",
    "(settling.execution.completing ? recordCommit : recordResponse)",
    "(settling.holding === undefined ? recordCommit : recordResponse)",
  ),
  settle(
    "what is uncertain is kept as long as an answer",
    'retainMs: payload.state === "uncertain" ? null : plan.retainMs,',
    "retainMs: plan.retainMs,",
  ),
  settle(
    "what is uncertain is not sealed",
    'sealed: payload.state !== "not-done",',
    'sealed: payload.state !== "not-done" && payload.state !== "uncertain",',
  ),
  settle(
    "a failure is opened again",
    'sealed: payload.state !== "not-done",',
    'sealed: payload.state !== "failed",',
  ),
  settle("an outcome is not repeated", "repeatMs: plan.maxHoldMs,", "repeatMs: 0,"),
  settle(
    "an unconfirmed outcome is taken for recorded",
    '    throw unconfirmed(settling, returned, cause);\n  }\n  if (stands === "lost")',
    '    return value;\n  }\n  if (stands === "lost")',
  ),
  reconcile(
    "everybody runs again what is uncertain",
    "if (rerunWithinMs === undefined || tooOld)",
    "if (tooOld)",
  ),
  reconcile(
    "the probe is asked at once",
    'if (standing.state !== "lapsed") return 0;',
    'if (standing.state !== "held") return 0;',
  ),
  reconcile(
    "a decision does not say what it has read",
    'const released = read.state === "free";',
    "const released = read.fence > 0n;",
  ),
  reconcile(
    "a probe is believed whatever came of it",
    '  const result = await overrule(runtime, name, standing, decided, writer.id);\n  if (result.outcome === "moved") return { before: undefined };\n  return {\n    answer: {',
    '  const result = await overrule(runtime, name, standing, decided, writer.id);\n  if (result.outcome === "moved") return { answer: { status: "completed", key, response: asResponse(answer.response), replayed: true, fence, attempt: 1 } };\n  return {\n    answer: {',
  ),
  executions(
    "a decision is taken for another fence",
    "if (found === null || found.fence !== fence) throw moved(key, fence, found);",
    "if (found === null) throw moved(key, fence, found);",
  ),
  executions(
    "a recorded answer is decided anew",
    "if (isAnswered(standing, resolution)) throw moved(key, fence, found);",
    "",
  ),
  executions(
    "a decision whose answer was lost is not known again",
    'result.outcome === "overruled" ||\n          decode(result.record?.payload)?.log.some(({ id }) => id === writer.id) === true;',
    'result.outcome === "overruled";',
  ),
  executions(
    "what is not done stays sealed",
    'sealed: resolution.as !== "not-done",',
    'sealed: resolution.as !== "failed",',
  ),
  execution("an answer in a transaction is sent by core as well", "    this.completing = true;\n", ""),
  execution(
    "a run that was overruled commits",
    'if (result.outcome === "lost") {',
    'if (result.outcome === "lost" && value === this) {',
  ),
  execution("a second end of a run commits", "if (result.record === undefined) return;", "return;"),
  of("coordinator.ts")(
    "a close opens what still runs",
    'granted.kind !== "execution"',
    'granted.kind !== "candidate"',
  ),
];
