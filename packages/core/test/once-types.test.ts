import { expectTypeOf, it } from "vitest";
import type { Coordinator } from "../src/api.ts";
import { createCoordinator } from "../src/coordinator.ts";
import { memoryBackend } from "../src/memory.ts";
import type { Completed, Execution, OnceResult, Running, Uncertain } from "../src/once-api.ts";
import { unwrap } from "../src/once-outcome.ts";

interface Charge {
  id: string;
  lines: readonly { amount: number; text?: string }[];
}

const coord: Coordinator = createCoordinator({ backend: memoryBackend(), cleanUp: false });
const charge: Charge = { id: "ch_1", lines: [{ amount: 1 }] };

it("infers input and response without annotations, and narrows by status", async () => {
  const paid = await coord.once("a", { input: { amount: 5, customer: "c" } }, async (input, execution) => {
    expectTypeOf(input).toEqualTypeOf<{ amount: number; customer: string }>();
    expectTypeOf(execution).toEqualTypeOf<Execution>();
    return charge;
  });
  expectTypeOf(paid).toEqualTypeOf<OnceResult<Charge>>();
  expectTypeOf(unwrap(paid)).toEqualTypeOf<Charge>();
  if (paid.status === "completed") {
    expectTypeOf(paid).toEqualTypeOf<Completed<Charge>>();
    expectTypeOf(paid.response).toEqualTypeOf<Charge>();
  } else if (paid.status === "running") {
    expectTypeOf(paid).toEqualTypeOf<Running>();
    // @ts-expect-error -- nothing was completed
    void paid.response;
  } else expectTypeOf(paid).toEqualTypeOf<Uncertain>();
});

it("infers without options and without an input", async () => {
  expectTypeOf(await coord.once("b", () => 1)).toEqualTypeOf<OnceResult<number>>();
  expectTypeOf(await coord.once("c", async () => {})).toEqualTypeOf<OnceResult<void>>();
  const result = await coord.once("d", { waitMs: 5 }, (input) => {
    expectTypeOf(input).toEqualTypeOf<undefined>();
    return [charge, null];
  });
  expectTypeOf(result).toEqualTypeOf<OnceResult<(Charge | null)[]>>();
});

it("knows what a probe answers and sees", async () => {
  await coord.once(
    "e",
    {
      input: { amount: 5 },
      probe: ({ input, idempotencyKey }) => {
        expectTypeOf(input).toEqualTypeOf<{ amount: number }>();
        expectTypeOf(idempotencyKey).toEqualTypeOf<string>();
        return { status: "completed", response: charge };
      },
    },
    () => charge,
  );
  await coord.once(
    "f",
    // @ts-expect-error -- the response is no charge
    { probe: async () => ({ status: "completed" as const, response: 7 }) },
    () => charge,
  );
});

it("refuses what JSON does not keep", async () => {
  // @ts-expect-error -- a bigint
  const bigint = coord.once("g", async () => ({ at: 1n }));
  // @ts-expect-error -- a Map
  const map = coord.once("h", () => ({ map: new Map<string, string>() }));
  // @ts-expect-error -- a Date
  const date = coord.once("i", { input: { at: new Date() } }, () => 1);
  await Promise.allSettled([bigint, map, date]);
});

it("wraps a function under its own types", async () => {
  const pay = coord.wrapOnce(async (input: { order: string; amount: number }) => ({ ...input, ok: true }), {
    key: ({ order }) => `order:${order}`,
    onError: "retryable",
  });
  expectTypeOf(pay).returns.resolves.toEqualTypeOf<{ ok: boolean; order: string; amount: number }>();
  // @ts-expect-error -- the amount is missing
  await pay({ order: "1" });
});
