import { whyMissing } from "@coord/test-fixtures";
import { expect, test } from "vitest";
import { survive } from "./kills.ts";

const missing = await whyMissing("redis");

test.skipIf(missing !== undefined)(
  `consumers that are killed and stopped at random lose nothing, and no message has two owners at once${missing ? `: ${missing}` : ""}`,
  { timeout: 120_000 },
  async () => {
    const messages = 3000;
    const verdict = await survive({ messages, workers: 3, ends: 5, everyMs: 500, poison: 0 });
    expect(verdict).toMatchObject({ handled: messages, overlaps: [], pending: 0, dead: [] });
    expect(verdict.killed + verdict.stopped).toBe(5);
  },
);
