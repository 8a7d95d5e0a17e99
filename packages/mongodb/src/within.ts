import { randomBytes } from "node:crypto";
import {
  ConfigurationError,
  InvalidArgumentError,
  lostWithin,
  type ReleaseRequest,
  type ReleaseResult,
  type Within,
} from "@coord/core";
import { isObject, released } from "./answers.ts";
import { bson, type Connection, type Target } from "./connection.ts";
import type { MongoSession } from "./driver.ts";
import { hasLabel, mapError } from "./errors.ts";
import { releaseStatement, type Statement, verifyStatement } from "./statements.ts";

/**
 * The steps inside a transaction that the caller began and ends. They write the lease's document, so that a
 * takeover waits for the commit. Errors that the driver labels as transient come out unchanged, as only then
 * `session.withTransaction` runs the transaction again.
 */
export function within(connection: Connection, session: MongoSession): Within {
  async function inside<T>(doing: string, step: (target: Target) => Promise<T>): Promise<T> {
    if (!session.inTransaction()) {
      throw new InvalidArgumentError(
        `mongodb: ${doing} needs a session with an open transaction, got one without. ` +
          "Call it inside session.withTransaction().",
      );
    }
    const target = await connection.target();
    // A lone server may take the commands and ignore the transaction: that would protect nothing.
    if (target.deployment === "standalone") {
      throw new ConfigurationError(
        `mongodb: ${doing} needs transactions, which a standalone server does not have. Use a replica set.`,
      );
    }
    try {
      return await step(target);
    } catch (error) {
      if (hasLabel(error, "TransientTransactionError")) throw error;
      throw mapError(error, doing);
    }
  }

  const run = ({ collection }: Target, { filter, pipeline, options }: Statement): Promise<unknown> =>
    collection.findOneAndUpdate(filter, pipeline, { ...bson, ...options, session });

  return {
    verify: ({ grant }) =>
      inside("verify", async (target) => {
        const document = await run(target, verifyStatement(grant, randomBytes(12).toString("hex")));
        const remainingMs = isObject(document) ? Number(document["remainingMs"]) : 0;
        if (remainingMs > 0) return;
        throw lostWithin(grant);
      }),
    release: (request: ReleaseRequest): Promise<ReleaseResult> =>
      inside("release", async (target) => {
        return released(await run(target, releaseStatement(request)), request.name);
      }),
  };
}
