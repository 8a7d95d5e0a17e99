import { InvalidArgumentError, isCoordError } from "@coord/core";
import { expect, test } from "vitest";
import { mongodbBackend, type MongodbOptions } from "../src/index.ts";
import { errorOf, within } from "./calls.ts";
import { scriptedDatabase } from "./scripted-stream.ts";

const { db } = scriptedDatabase();
const client = { db: () => db };

function refusal(options: unknown): Error {
  try {
    // What a caller without types may pass.
    Reflect.apply(mongodbBackend, undefined, [options]);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return error;
    throw error;
  }
  throw new Error("the options were expected to be refused");
}

test.each([
  [undefined, "options must be an object"],
  [{}, "exactly one of client"],
  [{ client, db }, "got client and db"],
  [{ db, url: "mongodb://host" }, "got db and url"],
  [{ client: {} }, "client must be a MongoClient"],
  [{ db: "name" }, "db must be a Db"],
  [{ url: "postgres://user:hunter2@host/db" }, "got postgres:"],
  [{ url: "mongodb:host" }, "mongodb://host"],
  [{ url: 7 }, "got number"],
  [{ client, database: "a/b" }, "database must be"],
  [{ db, database: "other" }, "leave database out"],
  [{ client, collection: "system.leases" }, "collection must be"],
  [{ client, collection: "a$b" }, "collection must be"],
  [{ client, clockSkewMs: -1 }, "clockSkewMs must be an integer from 0 to 60000, got -1"],
  [{ client, clockSkewMs: 0.5 }, "clockSkewMs must be an integer from 0 to 60000, got 0.5"],
])("%o is refused: %s", (options, text) => {
  const { message } = refusal(options);
  expect(message).toContain(text);
  expect(message).not.toContain("hunter2");
});

test.each([
  { client },
  { db },
  { url: "mongodb+srv://cluster.example.net/app" },
  { client, clockSkewMs: undefined },
])("%o is taken, without I/O", async (options: MongodbOptions) => {
  const backend = mongodbBackend(options);
  expect(backend.info).toMatchObject({ name: "mongodb", granularityMs: 1, clock: "store", prunes: false });
  await backend.close();
});

test("a skew between clocks lengthens each lease and is declared", () => {
  expect(mongodbBackend({ db, clockSkewMs: 1000 }).info).toMatchObject({
    granularityMs: 1001,
    clock: "observed",
  });
});

test("a url that the driver refuses is told without its password", async () => {
  const backend = mongodbBackend({ url: "mongodb://user:hunter2@host:port:27017,/?w=x&tls=maybe" });
  const error = await errorOf(backend.inspect({ namespace: "n", key: "k" }, within()));
  expect(isCoordError(error, "COORD_INVALID_ARGUMENT")).toBe(true);
  expect(JSON.stringify([error.message, error.stack, error.cause])).not.toContain("hunter2");
  await backend.close();
});

test("a closed backend says so", async () => {
  const backend = mongodbBackend({ db });
  await backend.close();
  const error = await errorOf(backend.inspect({ namespace: "n", key: "k" }, within()));
  expect(error.message).toContain("closed");
});
