import type { Mutant } from "./load.ts";

const of =
  (file: string) =>
  (name: string, find: string, replace: string): Mutant => ({
    name: `election: ${name}`,
    file,
    find,
    replace,
  });
const election = of("election.ts");
const term = of("term.ts");

/** Ways to get elections wrong; each must be found out. */
export const electionMutants: readonly Mutant[] = [
  term(
    "a term does not end with its lease",
    'const onLost = (): void => close("lost");',
    "const onLost = (): void => {};",
  ),
  term(
    "a term does not end with its candidate",
    'const onStop = (): void => close("stopped");',
    "const onStop = (): void => {};",
  ),
  term("the signal of a term looks at no clock", "get signal() {\n      look();", "get signal() {"),
  election(
    "the lease is released before the work has settled",
    "const settled = await settledWithin(work, graceMs);",
    "const settled = true;",
  ),
  election(
    "a leader whose work goes on is relieved",
    'if (!settled) holding.leave("lapsing");\n      else if',
    "if",
  ),
  election("a candidate stands while its work goes on", "    await work;\n    leading", "    leading"),
  election("a leader whose work threw leads on", 'if (!went) open.close("failed");', ""),
  election("a resignation is not heard", 'own?.open.close("resigned");', ""),
  election(
    "a leader keeps its lease after its term",
    'else if (holding.state === "held") await holding.release(ending).catch(report);\n      if (open.end',
    "if (open.end",
  ),
  election(
    "who has led stands no more",
    "holding, stop, gone);",
    "holding, stop, gone), await sleep(host, 3_600_000, stop);",
  ),
  of("coordinator.ts")(
    "a close leaves the elections running",
    "for (const election of elections) void election.stop();",
    "",
  ),
];
