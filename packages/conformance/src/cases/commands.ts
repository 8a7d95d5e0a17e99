/** Random commands for the model-based case. */
import fc from "fast-check";

/** The fence that the grant got (or that is stored), one below it, one above, 0, or the one that is stored. */
export type FenceChoice = "own" | "stale" | "ahead" | "zero" | "stored";

interface Common {
  readonly client: number;
  /** Which of the four grant ids. */
  readonly grant: number;
  /** Whether it is about the grant in the record, or for an acquire about one that is not spent. */
  readonly current: boolean;
  readonly short: boolean;
  readonly sealed: boolean;
  readonly payload: string | undefined;
  readonly retainMs: number | null;
  /** Whether a lease with a short ttl is waited out before this command. */
  readonly lapseFirst: boolean;
}

export type Command = Common &
  (
    | {
        readonly kind: "acquire";
        /** Whether it repeats the grant that the record has. */
        readonly again: boolean;
        readonly ifFence: FenceChoice | undefined;
        readonly from: FenceChoice | undefined;
        readonly withPayload: boolean;
      }
    | {
        readonly kind: "renew";
        readonly fence: FenceChoice;
        readonly payloadSeq: number;
        readonly twice: boolean;
      }
    | { readonly kind: "release"; readonly fence: FenceChoice; readonly anyFence: boolean }
    | {
        readonly kind: "overrule";
        readonly fence: FenceChoice;
        readonly flip: boolean;
        readonly now: boolean;
      }
  );

/** True one time in `n`. */
const rarely = (n: number): fc.Arbitrary<boolean> => fc.integer({ min: 1, max: n }).map((roll) => roll === 1);

const fence: fc.Arbitrary<FenceChoice> = fc.oneof(
  { weight: 8, arbitrary: fc.constant("own" as const) },
  { weight: 1, arbitrary: fc.constant("stale" as const) },
  { weight: 2, arbitrary: fc.constantFrom("ahead" as const, "zero" as const) },
  { weight: 3, arbitrary: fc.constant("stored" as const) },
);

const common = {
  client: fc.nat(1),
  grant: fc.nat(3),
  current: rarely(4).map((other) => !other),
  short: fc.boolean(),
  sealed: rarely(4),
  payload: fc.option(fc.constantFrom("", "a", "b", "c"), { nil: undefined }),
  retainMs: fc.constantFrom(60_000, 3_600_000, null),
  lapseFirst: rarely(6),
};

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      ...common,
      kind: fc.constant("acquire" as const),
      again: rarely(4),
      ifFence: fc.option(fence, { nil: undefined, freq: 3 }),
      from: fc.option(fence, { nil: undefined, freq: 3 }),
      withPayload: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      ...common,
      kind: fc.constant("renew" as const),
      fence,
      payloadSeq: fc.integer({ min: 1, max: 3 }),
      twice: rarely(4),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      ...common,
      kind: fc.constant("release" as const),
      fence,
      anyFence: rarely(4),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      ...common,
      kind: fc.constant("overrule" as const),
      fence,
      flip: rarely(5),
      now: fc.boolean(),
    }),
  },
);

export const sequence: fc.Arbitrary<Command[]> = fc.array(command, { minLength: 20, maxLength: 40 });
