import type { Kind, Script } from "../plan.ts";
import type { LedgerGrant } from "../ledger.ts";
import type { Sim } from "../sim.ts";

const kinds = [
  "renew",
  "renew",
  "release",
  "release again",
  "acquire",
  "overrule",
  "from",
  "short renew",
  "short acquire",
  "old save",
] as const;

/**
 * Requests that come far too late or with another's fence: whatever they are, nothing may change for those
 * who hold a name now. It stands inside the store, so no fault keeps it away.
 */
export const prober: Kind = {
  name: "prober",
  draw(random, shape): Script {
    const atMs = random.range(0, shape.chaosMs * 1.2);
    const what = random.pick(kinds);
    const which = random.next();
    const off = random.pick([-1n, 1n]) * BigInt(random.int(2, 9));
    return {
      atMs,
      describe: `prober: stale ${what}`,
      start(sim: Sim) {
        const grants = [...sim.ledger.grants.values()];
        const grant: LedgerGrant | undefined = grants[Math.floor(which * grants.length)];
        if (grant === undefined) return;
        const record = sim.store.peek(grant.id);
        if (record === undefined) return;
        sim.world.note(() => `prober: ${what} of ${grant.grantId}, fence ${grant.fence}`);
        const name = { namespace: record.namespace, key: record.key };
        const mine = record.grantId === grant.grantId;
        const over = !mine || grant.ended !== undefined;
        const { grantId, ttlMs } = grant;
        const sender = { name: "prober", sentAt: grant.sentAt };
        const fence = over ? grant.fence : grant.fence + off;
        const retainMs = 60_000;
        const payload = `stale ${what}`;
        const rest = { name, retainMs, sealed: false };
        const ask = { ...rest, grantId, holder: grant.holder, ttlMs };
        switch (what) {
          case "renew":
            return void sim.store.renew({ name, grantId, fence, ttlMs, payload, payloadSeq: 99 }, sender);
          case "short renew":
            return void sim.store.renew({ name, grantId, fence: grant.fence, ttlMs: 1 }, sender);
          case "old save": {
            const { payloadSeq } = record;
            return void sim.store.renew(
              { name, grantId, fence: grant.fence, ttlMs: 1, payload, payloadSeq },
              sender,
            );
          }
          case "short acquire":
            if (over) return;
            return void sim.store.acquire({ ...ask, ttlMs: 1 }, sender);
          case "release":
            return void sim.store.release({ ...rest, grantId, fence, payload }, sender);
          case "release again":
            if (!over) return;
            // A late duplicate of its acquire was granted anew: that one is not over.
            if (mine && record.fence !== grant.fence) return;
            return void sim.store.release({ ...rest, grantId, fence: null, payload }, sender);
          case "acquire":
            if (!over) return;
            return void sim.store.acquire({ ...ask, ifFence: grant.fence - 1n, payload }, sender);
          case "from":
            return void sim.store.acquire(
              { ...ask, grantId: `${grantId}+`, from: { grantId, fence } },
              sender,
            );
          case "overrule": {
            // As read a moment ago: before a release, or before somebody else's grant.
            const read = mine
              ? { fence: record.fence, released: false }
              : { fence: grant.fence, released: true };
            if (mine && record.expiresAt !== 0) return;
            return void sim.store.overrule({ ...rest, ...read, grantId: `${grantId}!`, payload }, sender);
          }
        }
      },
    };
  },
};
