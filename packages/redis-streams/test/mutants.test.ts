import assert from "node:assert/strict";
import { whyMissing } from "@coord/test-fixtures";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { backendWith } from "../src/backend.ts";
import type { RedisStreamsBackend } from "../src/index.ts";
import { compileScripts, type ScriptName } from "../src/scripts.ts";
import { freshNamespace } from "./call.ts";
import { checkModel } from "./model.ts";
import { startRedis } from "./server.ts";
import { scriptsOnVirtualClock, setClock, startUs } from "./virtual-clock.ts";
import { checkWaking } from "./waking-rules.ts";

/**
 * What is broken, in which script (in all that have it, if none is named), and how. Not here, as nothing outside
 * tells it apart: a page that a script makes too long is cut by the client.
 */
type Mutant = readonly [title: string, script: ScriptName | "all", from: string, to: string];

const steps: Mutant[] = [
  [
    "a record goes before the instant its fence encodes",
    "all",
    ", expiresAt, ceilMs(fence))",
    ", expiresAt)",
  ],
  ["a record may go before its expiry", "all", "(ceilMs(nowUs), expiresAt, ", "(ceilMs(nowUs), "],
  [
    "a sealed record is never purged, released or not",
    "all",
    "sealed == '1' and expiresAt > 0",
    "sealed == '1'",
  ],
  ["a sealed record is purged while unreleased", "all", "or sealed == '1' and expiresAt > 0 then", "then"],
  ["an earlier purge time stays on a record that is kept", "all", "call('PERSIST', k)", "call('TYPE', k)"],
  [
    "two grants of one microsecond get one fence",
    "all",
    "#clock and fence >= clock",
    "#clock and fence > clock",
  ],
  ["a fence ahead of the clock goes back", "all", "if fence and (#fence", "if false and (#fence"],
  ["a ttl starts at the millisecond before", "all", "math.ceil(us / 1000)", "math.floor(us / 1000)"],
  ["a spent grant is revived", "acquire", "if held and mine then", "if mine then"],
  ["a repeated acquire shortens", "acquire", "math.max(record.expiresAt, expiresAt)", "expiresAt"],
  [
    "a repeated acquire seals",
    "acquire",
    "call('HSET', key, 'e', integer(expiresAt))",
    "call('HSET', key, 'e', integer(expiresAt), 's', ARGV[5])",
  ],
  [
    "a repeated acquire does not move the purge",
    "acquire",
    "keep(key, fence, expiresAt, record.sealed, record.retainMs)",
    "",
  ],
  ["held is no refusal", "acquire", "elseif held then refusal = 'held'", ""],
  ["sealed is no refusal", "acquire", "elseif record.sealed == '1' then refusal = 'sealed'", ""],
  [
    "sealed refuses before held",
    "acquire",
    "elseif held then refusal = 'held'\nelseif record.sealed == '1' then refusal = 'sealed'",
    "elseif record.sealed == '1' then refusal = 'sealed'\nelseif held then refusal = 'held'",
  ],
  ["ifFence is ignored", "acquire", "ARGV[7] ~= '' and", "false and"],
  [
    "no record has no fence to compare",
    "acquire",
    "ARGV[7] ~= (fence or '0')",
    "ARGV[7] ~= (fence or ARGV[7])",
  ],
  ["a hand-over ignores the fence", "acquire", " or fence ~= ARGV[9]", ""],
  ["a hand-over ignores the grant", "acquire", " or record.grant ~= ARGV[8]", ""],
  ["a hand-over of a lapsed lease", "acquire", "(not held or ", "("],
  ["a grant does not count its payloads anew", "acquire", "'q', '0', ", ""],
  [
    "a grant without payload drops the stored one",
    "acquire",
    "if ARGV[11] then",
    "if not ARGV[11] then call('HDEL', key, 'p') else",
  ],
  ["a refusal drags the payload along", "acquire", "ARGV[10] == '1'", "true"],
  ["a new name is not listed", "acquire", "call('ZADD', KEYS[2], 0, ARGV[1])", ""],
  [
    "the probe takes live names out of the index",
    "acquire",
    "records .. name) == 0",
    "records .. name) == 1",
  ],
  ["a lapsed lease is renewed", "renew", "and record.expiresAt > now and 1", "and 1"],
  ["a renewal ignores the fence", "renew", " and record.fence == ARGV[at + 1]", ""],
  ["a renewal ignores the grant", "renew", "record.grant == ARGV[at] and ", ""],
  [
    "a renewal shortens",
    "renew",
    "math.max(record.expiresAt, ceilMs(nowUs) + ARGV[at + 2])",
    "ceilMs(nowUs) + ARGV[at + 2]",
  ],
  [
    "a renewal does not move the purge",
    "renew",
    "keep(k, record.fence, expiresAt, record.sealed, record.retainMs)",
    "",
  ],
  [
    "an older payload replaces a newer one",
    "renew",
    "if payloadSeq and payloadSeq > tonumber(record.payloadSeq) then",
    "if payloadSeq then",
  ],
  ["the same payload number replaces again", "renew", "payloadSeq > tonumber", "payloadSeq >= tonumber"],
  ["a release ignores the grant", "release", "record.grant ~= ARGV[2] or ", ""],
  ["a release ignores the fence", "release", "or ARGV[3] ~= '' and record.fence ~= ARGV[3] then", "then"],
  [
    "the last release stands",
    "release",
    "if record.expiresAt == 0 then return {'released', view(key, record, true)} end",
    "",
  ],
  ["a release keeps the old retention", "release", ", 'r', ARGV[5])", ")"],
  ["a release does not seal", "release", "'e', '0', 's', ARGV[4]", "'e', '0', 's', '0'"],
  ["a release drops its payload", "release", "if ARGV[6] then call('HSET', key, 'p', ARGV[6]) end", ""],
  [
    "an overrule is applied twice",
    "overrule",
    "if record.grant == ARGV[2] then return {'overruled', fence} end",
    "",
  ],
  ["an overrule ignores the fence", "overrule", "ARGV[3] ~= (fence or '0') or", "false or"],
  [
    "an overrule ignores a release since it was read",
    "overrule",
    " or fence and expiresAt == 0 and ARGV[4] == '0' then",
    " then",
  ],
  ["an overrule frees a held name at once", "overrule", "if expiresAt <= now or", "if true or"],
  ["an overrule can't free at once", "overrule", " or ARGV[7] == '1' then", " then"],
  ["an overrule that seals leaves the expiry", "overrule", " or ARGV[5] == '1' or", " or"],
  ["an overruled grant goes on", "overrule", "'g', ARGV[2], 'f', raised", "'f', raised"],
  [
    "an overrule keeps the fence",
    "overrule",
    "local raised = raise(fence)",
    "local raised = fence or raise(fence)",
  ],
  ["a page ignores the state", "list", "ARGV[5] == '' or", "true or"],
  ["a page ignores the seal", "list", "ARGV[6] == '' or", "true or"],
];

const waking: Mutant[] = [
  ["a dead process takes the turn", "release", "'NOMKSTREAM', ", ""],
  ["a dead process stays in line", "release", "  call('ZREM', KEYS[2], reader)\nend", "end"],
  [
    "the same process is woken each time",
    "release",
    "call('ZADD', KEYS[2], 'XX', integer(nowUs), reader)",
    "",
  ],
  ["sealing wakes one", "release", "if told and not all then", "if told then"],
  ["a release wakes all", "release", "local all = ARGV[4] == '1'", "local all = true"],
  ["a release wakes nobody", "release", "for _ = 1, 1000 do", "for _ = 1, 0 do"],
  ["an overrule wakes nobody", "overrule", "for _ = 1, 1000 do", "for _ = 1, 0 do"],
  ["a watch does not stand in line", "watch", "call('ZADD', KEYS[i], 'NX', integer(nowUs), ARGV[1])", ""],
  ["a watch makes no stream", "watch", "if made then call('XADD', key, '0-1', 'o', '1') end", ""],
  ["who leaves keeps the place in line", "unwatch", "call('ZREM', KEYS[2], ARGV[2])", ""],
  ["who leaves keeps the turn", "unwatch", "for _ = 1, 1000 do", "for _ = 1, 0 do"],
  [
    "leaving a held name wakes the next",
    "unwatch",
    " or record.expiresAt > now then return end",
    " then return end",
  ],
];

const breaking =
  ([, script, from, to]: Mutant, matched: { count: number }) =>
  (text: string, name: ScriptName): string => {
    if (script !== "all" && script !== name) return text;
    if (!text.includes(from)) {
      assert.equal(script, "all", `${name} has no ${JSON.stringify(from)}`);
      return text;
    }
    matched.count++;
    return text.replace(from, () => to);
  };

const missing = await whyMissing("redis");

describe.skipIf(missing !== undefined)(`broken scripts are found out${missing ? `: ${missing}` : ""}`, () => {
  let server: Awaited<ReturnType<typeof startRedis>>;
  beforeAll(async () => {
    server = await startRedis();
  }, 60_000);
  afterAll(() => server[Symbol.asyncDispose]());

  /** Whether the check rejects, with an assertion and not for want of a server. */
  async function isCaught(
    backends: readonly RedisStreamsBackend[],
    check: () => Promise<void>,
  ): Promise<boolean> {
    try {
      await check();
      return false;
    } catch {
      return (await server.admin.ping()) === "PONG";
    } finally {
      await Promise.all(backends.map((backend) => backend.close()));
    }
  }

  const checkSteps = (rewrite?: (text: string, name: ScriptName) => string): Promise<boolean> => {
    const scripts = scriptsOnVirtualClock(rewrite);
    const backends = [
      backendWith({ url: server.url }, scripts),
      backendWith({ url: server.url }, scripts),
    ] as const;
    const run = {
      backends,
      setClock: (namespace: string, nowUs: bigint) => setClock(server.admin, namespace, 1, nowUs),
      freshNamespace,
      startUs: startUs(),
    };
    return isCaught(backends, () => checkModel(run, { steps: 6000, seed: 7, shrink: false }));
  };

  const checkWakes = (rewrite?: (text: string, name: ScriptName) => string): Promise<boolean> => {
    const scripts = compileScripts(rewrite);
    const open = () => backendWith({ url: server.url }, scripts);
    const backends = [open(), open(), open(), open()] as const;
    return isCaught(backends, () => checkWaking(server.admin, backends));
  };

  test("the scripts as they are pass both checks", async () => {
    expect(await checkSteps()).toBe(false);
    expect(await checkWakes()).toBe(false);
  }, 180_000);

  test.each(steps)(
    "%s",
    async (...mutant) => {
      const matched = { count: 0 };
      expect(await checkSteps(breaking(mutant, matched))).toBe(true);
      expect(matched.count).toBeGreaterThan(0);
    },
    60_000,
  );

  test.each(waking)(
    "%s",
    async (...mutant) => {
      const matched = { count: 0 };
      expect(await checkWakes(breaking(mutant, matched))).toBe(true);
      expect(matched.count).toBeGreaterThan(0);
    },
    60_000,
  );
});
