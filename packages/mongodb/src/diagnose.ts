import { ConfigurationError, type Diagnosis, type Finding } from "@coord/core";
import { isObject } from "./answers.ts";
import {
  bson,
  deploymentOf,
  describeCollection,
  durable,
  hello,
  refusedCollection,
  refusedServer,
} from "./connection.ts";
import type { MongoDatabase } from "./driver.ts";
import type { Settings } from "./options.ts";
import { clockPipeline } from "./statements.ts";

const purgeIndex = "coord_purge";
const clockReadings = 3;

/** Makes the collection and the index by which the server deletes what is past its purge time. */
export async function setUp(database: MongoDatabase, settings: Settings): Promise<void> {
  const [answer, info] = await Promise.all([
    hello(database),
    describeCollection(database, settings.collection),
  ]);
  const refused = refusedServer(answer, settings) ?? refusedCollection(info, settings.collection);
  if (refused !== undefined) throw new ConfigurationError(`mongodb: ${refused}.`);
  await database
    .collection(settings.collection)
    .createIndex({ purgeAt: 1 }, { name: purgeIndex, expireAfterSeconds: 0, writeConcern: durable });
}

/** The best of three readings of `$$NOW`, the clock that decides: the one with the shortest round trip. */
async function readClock(database: MongoDatabase, settings: Settings): Promise<Diagnosis["clock"]> {
  const readings: Diagnosis["clock"][] = [];
  for (let reading = 0; reading < clockReadings; reading += 1) {
    const beforeMs = Date.now();
    const [found] = await database
      .collection(settings.collection)
      .aggregate(clockPipeline, { ...bson, readPreference: "primary" })
      .toArray();
    const afterMs = Date.now();
    const now = isObject(found) ? found["now"] : undefined;
    if (now instanceof Date) readings.push({ storeMs: now.getTime(), beforeMs, afterMs });
  }
  const [best] = readings.toSorted((a, b) => a.afterMs - a.beforeMs - (b.afterMs - b.beforeMs));
  if (best === undefined) {
    throw new ConfigurationError(
      "mongodb: the server does not answer $$NOW: MongoDB 4.4 or newer is needed.",
    );
  }
  return best;
}

function findingOf(problem: string | undefined, fine: string, remedy: string): Finding {
  return problem === undefined
    ? { level: "ok", message: fine }
    : { level: "error", message: problem, remedy };
}

function deploymentFinding(answer: Record<string, unknown>, settings: Settings): Finding[] {
  const deployment = deploymentOf(answer);
  const arbiters = Array.isArray(answer["arbiters"]) ? answer["arbiters"].length : 0;
  const findings: Finding[] = [
    findingOf(refusedServer(answer, settings), `the server is a ${deployment}`, "See the message."),
  ];
  if (deployment === "standalone") {
    findings.push({
      level: "warning",
      message: "a standalone server: no change streams (waiters poll), no transactions, no failover",
      remedy: "Use a replica set in production; a set of one member has the first two.",
    });
  }
  if (arbiters > 0) {
    findings.push({
      level: "warning",
      message: `the replica set has ${arbiters} arbiter(s): without one data member no write reaches a majority`,
      remedy: "Replace arbiters by members with data.",
    });
  }
  return findings;
}

async function collectionFindings(database: MongoDatabase, settings: Settings): Promise<Finding[]> {
  const { collection: name } = settings;
  const info = await describeCollection(database, name);
  if (info === undefined) {
    const message = `there is no collection ${name} in database ${database.databaseName}`;
    return [{ level: "error", message, remedy: "Call `await coord.setup()` once." }];
  }
  if (info === null) {
    const message = `this user may not see whether the collection ${name} has a collation`;
    return [
      { level: "warning", message, remedy: "Grant listCollections, or run diagnose as an administrator." },
    ];
  }
  const refused = findingOf(
    refusedCollection(info, name),
    `the collection ${name} has no collation`,
    "See the message.",
  );
  const indexes = await database.collection(name).listIndexes().toArray();
  const index = indexes.find((each) => isObject(each) && each["name"] === purgeIndex);
  const seconds = isObject(index) ? index["expireAfterSeconds"] : undefined;
  const problem =
    index === undefined
      ? `the index ${purgeIndex} is missing: records past their retention stay`
      : Number(seconds) === 0
        ? undefined
        : `the index ${purgeIndex} has expireAfterSeconds ${String(seconds)} and not 0`;
  const remedy = `Drop ${purgeIndex} if it is there, and call \`await coord.setup()\`.`;
  return [refused, findingOf(problem, `the index ${purgeIndex} clears what is past its retention`, remedy)];
}

export async function diagnose(database: MongoDatabase, settings: Settings): Promise<Diagnosis> {
  const answer = await hello(database);
  const clock = await readClock(database, settings);
  const collection = await collectionFindings(database, settings);
  return { findings: [...deploymentFinding(answer, settings), ...collection], clock };
}
