import { z } from "zod";

export const payment = z.object({ account: z.string(), cents: z.number().int().positive() });
export type Payment = z.infer<typeof payment>;

export const stream = "example-payments";
export const group = "bookkeeping";
/** Short, so that there is something to see; 30 s is the default. */
export const claimAfterMs = 2000;
