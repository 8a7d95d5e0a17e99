import type { Context } from "./context.ts";
import type { Hook } from "./harness.ts";

/** The headings under which the rules stand. */
export type Rule =
  | "granting"
  | "fences"
  | "renewing"
  | "releasing"
  | "overruling"
  | "sealing-and-payload"
  | "expiry"
  | "waking"
  | "reading"
  | "faults"
  | "core"
  | "once"
  | "election"
  | "setup"
  | "model";

/** What a case needs: a hook of the harness, or something that a backend may leave out. */
export type Requirement = Hook | "watch" | "prune";

/** One case as data; `run` rejects (as a rule with an `AssertionError`) when the backend breaks the rule. */
export interface Case {
  /** `rule/what-is-proved`, stable over versions. */
  readonly id: string;
  /** A sentence of the contract. */
  readonly title: string;
  readonly rule: Rule;
  /** Where one of them is missing, the case is skipped with that reason. */
  readonly requires: readonly Requirement[];
  /** Whether it runs while no other case does, as it touches what others share. @default false */
  readonly alone?: boolean | undefined;
  run(context: Context): Promise<void>;
}

interface Draft {
  readonly title: string;
  readonly requires?: readonly Requirement[];
  readonly alone?: boolean;
  run(context: Context): Promise<void>;
}

/** The cases of one rule, from their short ids. */
export function casesOf(rule: Rule, drafts: Readonly<Record<string, Draft>>): readonly Case[] {
  return Object.entries(drafts).map(([id, draft]) => ({
    id: `${rule}/${id}`,
    rule,
    requires: [],
    ...draft,
  }));
}
