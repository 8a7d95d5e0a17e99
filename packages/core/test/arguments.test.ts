import { describe, expect, it } from "vitest";
import type { CoordinatorOptions } from "../src/api.ts";
import { createCoordinator } from "../src/coordinator.ts";
import { FakeHost, fakeStore } from "./fake-host.ts";

const host = new FakeHost();
const store = fakeStore(host);
const coord = createCoordinator({ backend: store.backend, host });

/** Each is refused with a message that names the value, the rule and the remedy, before any I/O. */
const refused: [string, () => unknown, RegExp][] = [
  ["an empty key", () => coord.acquire(""), /key must not be empty, got ""\. Pass the name/],
  ["a key that is no string", () => coord.acquire(7 as never), /key must be a string, got 7\./],
  [
    "a key of 513 bytes",
    () => coord.acquire("ü".repeat(257)),
    /at most 512 bytes as UTF-8, has 514, got "ü+…\. Hash/,
  ],
  ["half a surrogate pair", () => coord.acquire("a\uD800"), /key must be well-formed Unicode/],
  ["a control character", () => coord.acquire("a\u001Fb"), /must not contain control characters/],
  [
    "a ttl of half a millisecond",
    () => coord.acquire("k", { ttlMs: 0.5 }),
    /ttlMs must be an integer from 250 to 86400000, got 0\.5\./,
  ],
  ["a ttl below the least", () => coord.acquire("k", { ttlMs: 249 }), /from 250 to 86400000, got 249/],
  ["a ttl above a day", () => coord.acquire("k", { ttlMs: 86_400_001 }), /got 86400001/],
  ["a ttl as text", () => coord.acquire("k", { ttlMs: "30s" as never }), /got "30s"/],
  [
    "a negative wait",
    () => coord.acquire("k", { waitMs: -1 }),
    /waitMs must be an integer from 0 to 9007199254740991 or Infinity, got -1/,
  ],
  [
    "a retention under a minute",
    () => coord.acquire("k", { retainMs: 59_999 }),
    /retainMs must be an integer from 60000/,
  ],
  ["a hold of nothing", () => coord.acquire("k", { maxHoldMs: 0 }), /maxHoldMs must be an integer from 1/],
  [
    "a signal that is none",
    () => coord.acquire("k", { signal: {} as never }),
    /signal must be an AbortSignal, got an object/,
  ],
  [
    "a holder of 256 characters",
    () => coord.acquire("k", { holder: "x".repeat(256) }),
    /holder must be a string of at most 255/,
  ],
  [
    "an option that is misspelt",
    () => coord.acquire("k", { ttl: 1000 } as never),
    /options may have ttlMs.*got "ttl"\. Check the spelling/,
  ],
  ["options that are no object", () => coord.acquire("k", 7 as never), /options must be an object, got 7/],
  ["waitMs for one try", () => coord.tryAcquire("k", { waitMs: 1 } as never), /got "waitMs"/],
  [
    "a fence as a number",
    () => coord.breakLease("k", { fence: 7 as never, by: "me" }),
    /fence must be a bigint from 0n, got 7/,
  ],
  [
    "a kind that is none",
    () => coord.inspect("k", { kind: "mutex" as never }),
    /kind must be one of lease, execution/,
  ],
];

describe("bad arguments are refused before any request", () => {
  it.each(refused)("%s", async (_, run, message) => {
    const outcome = Promise.resolve().then(run);
    await expect(outcome).rejects.toMatchObject({ code: "COORD_INVALID_ARGUMENT" });
    await expect(outcome).rejects.toThrow(message);
    expect(store.calls).toEqual([]);
  });

  const options: [string, object | undefined, RegExp][] = [
    ["no options", undefined, /createCoordinator needs \{ backend \}, got undefined\. Pass what/],
    ["no backend", {}, /backend must be a backend, got undefined\. Pass what an adapter's factory returned/],
    [
      "a pool instead of a backend",
      { backend: { query: () => {} } },
      /backend must be a backend, got an object/,
    ],
    [
      "a namespace with a dot",
      { backend: store.backend, namespace: "a.b" },
      /namespace must match .*got "a\.b"/,
    ],
    ["a namespace of 49", { backend: store.backend, namespace: "a".repeat(49) }, /namespace must match/],
    ["a misspelt default", { backend: store.backend, defaults: { ttl: 1 } }, /defaults may have ttlMs/],
    [
      "a ttl that the store can't keep",
      { backend: { ...store.backend, info: { name: "slow", minTtlMs: 15_000 } }, defaults: { ttlMs: 5000 } },
      /defaults\.ttlMs must be at least 15000 with the slow backend, got 5000/,
    ],
  ];
  it.each(options)("createCoordinator: %s", (_, given, message) => {
    const create: (options: CoordinatorOptions) => unknown = createCoordinator;
    expect(() => create(given as CoordinatorOptions)).toThrow(message);
  });
});

it("takes the longest and the strangest keys, all distinct", async () => {
  const keys = [
    "a",
    "A",
    "a ",
    "á",
    "a\u0301",
    "%",
    "_",
    "'",
    '"',
    "{a}",
    "..",
    "$$",
    "l",
    "\u{10FFFF}",
    "x".repeat(512),
  ];
  const leases = await Promise.all(keys.map((key) => coord.acquire(key)));
  expect(new Set(leases.map((lease) => lease.grant.name.key)).size).toBe(keys.length);
});
