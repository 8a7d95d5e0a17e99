import type { Backend, LeaseRecord } from "@coord/core";
import type { Broken } from "../simulated-harness.ts";
import { acquires, grants, law, releases, renews } from "./mutant.ts";
import type { Mutant } from "./mutant.ts";

/** What is read is shown otherwise. */
const shows = (
  change: (
    record: Awaited<ReturnType<Backend["list"]>>[number],
  ) => Partial<LeaseRecord & { remainingMs: number }>,
): Broken => ({
  backend: (backend) => ({
    async inspect(name, options) {
      const record = await backend.inspect(name, options);
      return record && { ...record, ...change(record) };
    },
  }),
});

const asked = (change: (ttlMs: number) => number): Broken =>
  acquires(
    (record) => record,
    ({ ttlMs }) => ({ ttlMs: change(ttlMs) }),
  );

const clientClockUs = (): bigint => BigInt(Date.now()) * 1000n;

export const expiry: readonly Mutant[] = [
  {
    breaks: "remainingMs is rounded to seconds",
    kills: ["expiry/remaining-within-slack"],
    broken: shows(({ remainingMs }) => ({ remainingMs: Math.ceil(remainingMs / 1000 + 1) * 1000 })),
  },
  {
    breaks: "a refusal always says a whole minute",
    kills: ["expiry/remaining-within-slack", "granting/refused-carries-record"],
    broken: {
      backend: (backend) => ({
        async acquire(request, options) {
          const result = await backend.acquire(request, options);
          return result.outcome === "refused" ? { ...result, remainingMs: 60_000 } : result;
        },
      }),
    },
  },
  {
    breaks: "expiresAt is shown in seconds",
    kills: ["expiry/by-the-store-clock"],
    broken: shows(({ expiresAt }) => ({ expiresAt: Math.round(expiresAt / 1000) })),
  },
  {
    breaks: "a lease is a tenth shorter than asked",
    kills: ["expiry/remaining-within-slack"],
    broken: asked((ttlMs) => Math.floor(ttlMs * 0.9)),
  },
  {
    breaks: "a lease lives a second longer than asked",
    kills: ["expiry/takeover-not-much-after"],
    broken: asked((ttlMs) => ttlMs + 1000),
  },
  {
    breaks: "a ttl is an hour at the most",
    kills: ["expiry/ttl-limits"],
    broken: asked((ttlMs) => Math.min(ttlMs, 3_600_000)),
  },
  {
    breaks: "purgeAt is kept in 32 bits",
    kills: ["expiry/ttl-limits"],
    broken: grants(({ purgeAt, expiresAt }) => ({
      purgeAt: purgeAt === null ? null : expiresAt + ((purgeAt - expiresAt) & 0x7fffffff),
    })),
  },
  {
    breaks: "acquire asks the client's clock",
    kills: ["expiry/client-clock-off"],
    broken: {
      steps: { acquire: (before, request) => law.acquire(before, request, clientClockUs()) },
    },
  },
  {
    breaks: "renew asks the client's clock",
    kills: ["expiry/client-clock-off"],
    broken: renews((_, __, { ttlMs }) => ({ expiresAt: Date.now() + ttlMs })),
  },
  {
    breaks: "release asks the client's clock",
    kills: ["expiry/client-clock-off"],
    broken: releases(({ retainMs }) => ({ purgeAt: retainMs === null ? null : Date.now() + retainMs })),
  },
  {
    breaks: "the fence is the client's clock",
    kills: ["expiry/client-clock-off"],
    broken: grants(({ fence }, before) => ({ fence: before === null ? clientClockUs() : fence })),
  },
];
