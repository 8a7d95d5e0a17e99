import type { LeaseRecord } from "@coord/core";
import type { Broken } from "../simulated-harness.ts";
import { acquires, grants, law, releases, renews } from "./mutant.ts";
import type { Mutant } from "./mutant.ts";

/** Every payload is stored changed, by acquire, renew and release alike. */
function stores(change: (payload: string) => string | undefined): Broken {
  const changed = ({ payload }: LeaseRecord): Partial<LeaseRecord> => ({
    payload: payload === undefined ? undefined : change(payload),
  });
  return {
    steps: { ...grants(changed).steps, ...renews(changed).steps, ...releases(changed).steps },
  };
}

const verbatim = ["sealing-and-payload/payload-verbatim"];
const ms = (us: bigint): number => Number(us / 1000n);

export const sealing: readonly Mutant[] = [
  {
    breaks: "a seal is not looked at",
    kills: ["sealing-and-payload/sealed-refuses", "sealing-and-payload/sealed-refuses-lapsed"],
    broken: acquires((record) => ({ ...record, sealed: false })),
  },
  {
    breaks: "a seal ends with the lapse",
    kills: ["sealing-and-payload/sealed-refuses-lapsed"],
    broken: acquires((record) => ({ ...record, sealed: record.sealed && record.expiresAt === 0 })),
  },
  {
    breaks: "an empty payload is stored as none",
    kills: verbatim,
    broken: stores((payload) => payload || undefined),
  },
  { breaks: "payloads are trimmed", kills: verbatim, broken: stores((payload) => payload.trim()) },
  {
    breaks: "payloads lose what is beyond the first plane",
    kills: verbatim,
    broken: stores((payload) => payload.replaceAll(/[\u{10000}-\u{10FFFF}]/gu, "?")),
  },
  {
    breaks: "line ends in payloads are changed",
    kills: verbatim,
    broken: stores((payload) => payload.replaceAll("\r\n", "\n")),
  },
  {
    breaks: "escapes in payloads are taken for the store's own",
    kills: verbatim,
    broken: stores((payload) => payload.replaceAll("\\\\", "\\")),
  },
  {
    breaks: "payloads are cut at 64 KiB",
    kills: verbatim,
    broken: stores((payload) => payload.slice(0, 65_535)),
  },
  {
    breaks: "payloads are cut at 300 KiB",
    kills: ["sealing-and-payload/payload-largest"],
    broken: stores((payload) => payload.slice(0, 300 * 1024)),
  },
  {
    breaks: "a heartbeat counts payloadSeq",
    kills: ["sealing-and-payload/heartbeat-keeps-payload", "renewing/payload-kept-or-replaced"],
    broken: renews(({ payloadSeq }, _, { payload }) => ({
      payloadSeq: payload === undefined ? payloadSeq + 1 : payloadSeq,
    })),
  },
  {
    breaks: "a renewal does not move purgeAt",
    kills: ["sealing-and-payload/purge-at"],
    broken: renews((after, before) => ({ purgeAt: before?.purgeAt ?? after.purgeAt })),
  },
  {
    breaks: "purgeAt of a release counts from the expiry that it ended",
    kills: ["sealing-and-payload/purge-at"],
    broken: releases((after, before) => ({
      purgeAt: after.retainMs === null ? null : (before?.expiresAt ?? 0) + after.retainMs,
    })),
  },
  {
    breaks: "nothing is ever purged",
    kills: ["sealing-and-payload/purged-on-time", "sealing-and-payload/purged-after-lapse"],
    broken: { steps: { isPurgeable: () => false } },
  },
  {
    breaks: "what is released is purged at once",
    kills: ["sealing-and-payload/purged-on-time", "sealing-and-payload/kept-for-ever"],
    broken: { steps: { isPurgeable: ({ expiresAt }) => expiresAt === 0 } },
  },
  {
    breaks: "what is lapsed is purged at once",
    kills: ["sealing-and-payload/purged-after-lapse", "sealing-and-payload/kept-while-sealed"],
    broken: {
      steps: { isPurgeable: (record, nowUs) => record.expiresAt > 0 && !law.isHeld(record, nowUs) },
    },
  },
  {
    breaks: "only what was released is purged",
    kills: ["sealing-and-payload/purged-after-lapse"],
    broken: {
      steps: { isPurgeable: (record, nowUs) => record.expiresAt === 0 && law.isPurgeable(record, nowUs) },
    },
  },
  {
    breaks: "a held record is purged at the time set by its grant",
    kills: ["sealing-and-payload/kept-while-held"],
    broken: {
      steps: {
        ...renews((after, before) => ({ purgeAt: before?.purgeAt ?? after.purgeAt })).steps,
        isPurgeable: ({ purgeAt }, nowUs) => purgeAt !== null && purgeAt < ms(nowUs),
      },
    },
  },
  {
    breaks: "what is sealed and unreleased is purged after retainMs",
    kills: ["sealing-and-payload/kept-while-sealed", "granting/stored-as-asked"],
    broken: grants(({ expiresAt, retainMs }) => ({
      purgeAt: retainMs === null ? null : expiresAt + retainMs,
    })),
  },
  {
    breaks: "retainMs null counts as 0",
    kills: ["sealing-and-payload/kept-for-ever"],
    broken: {
      steps: {
        isPurgeable: (record, nowUs) =>
          record.retainMs === null && !record.sealed && !law.isHeld(record, nowUs),
      },
    },
  },
  {
    breaks: "prune does not look at its limit",
    kills: ["sealing-and-payload/purge-limit"],
    broken: {
      backend: (backend) => ({
        prune: async (_, options) => await backend.prune({ limit: 1_000_000 }, options),
      }),
    },
  },
  {
    breaks: "prune answers its limit",
    kills: ["sealing-and-payload/purge-limit"],
    broken: {
      backend: (backend) => ({
        async prune(request, options) {
          await backend.prune(request, options);
          return 1;
        },
      }),
      store: {},
    },
  },
];
