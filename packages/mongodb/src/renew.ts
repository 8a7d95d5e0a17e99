import { randomBytes } from "node:crypto";
import type { RenewOutcome, RenewRequest } from "@coord/core";
import { isObject } from "./answers.ts";
import { bson, durable, type Target } from "./connection.ts";
import { codeOf } from "./errors.ts";
import { idOf, renewedProjection, renewStatement } from "./statements.ts";

/** No heartbeat waits longer for a document that somebody's transaction has locked; a batch takes its time. */
const lockLimitMs = (entries: number): number => 1000 + 2 * entries;
/** The server gave up waiting for a locked document: maxTimeMS, a write conflict. */
const lockedCodes = new Set([50, 112]);

/**
 * Renews a batch: one round trip when all entries share one fate. The server only counts what it modified,
 * so a mixed batch costs a read; and it has no way to skip a locked document, so the entries that a lock
 * held up go once more, each alone and all at once: only the locked one ends as unknown.
 */
export async function renewBatch(
  target: Target,
  requests: readonly RenewRequest[],
  limitMs: number,
): Promise<RenewOutcome[]> {
  const batch = randomBytes(12).toString("hex");
  const operations = requests.map((request) => renewStatement(request, batch));
  const maxTimeMS = Math.ceil(Math.min(lockLimitMs(requests.length), limitMs / 2));
  let locked = false;
  let renewed = 0;
  try {
    const options = { ...bson, writeConcern: durable, ordered: false, maxTimeMS };
    renewed = (await target.collection.bulkWrite(operations, options)).modifiedCount;
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined || !lockedCodes.has(code)) throw error;
    locked = true;
  }
  if (!locked && renewed === requests.length) return requests.map(() => "renewed");
  if (!locked && renewed === 0) return requests.map(() => "lost");
  if (requests.length === 1) return ["unknown"];

  const applied = await readApplied(target, requests, batch, maxTimeMS);
  const outcomes = requests.map(async (request): Promise<RenewOutcome> => {
    const outcome = applied(request);
    if (outcome !== undefined) return outcome;
    try {
      const [alone] = await renewBatch(target, [request], limitMs / 2);
      return alone ?? "unknown";
    } catch {
      return "unknown";
    }
  });
  return Promise.all(outcomes);
}

/**
 * What the record says of each entry; `undefined` = open: it is held by this grant but does not carry the
 * batch's mark, because the batch stopped before it, or because a save of the same lease came after it.
 */
async function readApplied(
  target: Target,
  requests: readonly RenewRequest[],
  batch: string,
  maxTimeMS: number,
): Promise<(request: RenewRequest) => RenewOutcome | undefined> {
  const ids = requests.map((request) => idOf(request.name));
  const found = await target.collection
    .find(
      { _id: { $in: ids } },
      {
        ...bson,
        readPreference: "primary",
        readConcern: { level: target.deployment === "standalone" ? "local" : "majority" },
        projection: renewedProjection(batch),
        maxTimeMS,
      },
    )
    .toArray();
  const byId = new Map(found.map((document) => [isObject(document) ? document["_id"] : undefined, document]));
  return (request) => {
    const document = byId.get(idOf(request.name));
    if (!isObject(document)) return "lost";
    if (document["grantId"] !== request.grantId || document["fence"] !== request.fence) return "lost";
    if (document["applied"] === true) return "renewed";
    return document["held"] === true ? undefined : "lost";
  };
}
