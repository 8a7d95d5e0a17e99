import {
  ConfigurationError,
  type CoordError,
  InvalidArgumentError,
  isCoordError,
  UnavailableError,
} from "@coord/core";
import { isObject } from "./answers.ts";

/** Codes after which repeating does not help, with what would. */
const remedies: Readonly<Record<number, string>> = {
  13: "Grant this user find, insert and update on the collection; setup() also needs createIndex and listCollections.",
  18: "Check the user, the password and the authSource of the client.",
  20: "The server does not allow this operation.",
  59: "The server does not know a command that this backend needs: MongoDB 4.4 or newer.",
  61: "Shard the collection by _id.",
  72: "The server does not take an option that this backend needs: MongoDB 4.4 or newer.",
  73: "Choose another database or collection name.",
  79: "The write concern `majority` is not known to the server; the write itself has happened.",
  85: "The index coord_purge is there with other options: drop it and call setup() again.",
  86: "The index coord_purge is there on other fields: drop it and call setup() again.",
  100: "The write concern `majority` can't be satisfied by this replica set; the write itself has happened.",
  115: "The server does not support a command that this backend needs.",
  166: "The collection is a view: choose another name.",
  168: "The server does not know an expression that this backend needs: MongoDB 4.4 or newer.",
  323: "The server's stable API does not have a command that this backend needs.",
  8000: "Check the user, the password and the roles.",
  17276: "The server does not know $$NOW: MongoDB 4.4 or newer.",
  40573: "Change streams need a replica set.",
};

const tooLarge = new Set([10334, 17419, 17420]);

/** The server refused before doing anything: not the primary, a race for a new document, a write conflict. */
const notDoneCodes = new Set([112, 10107, 11000, 13435]);

/** A write concern's error comes after the write, that of a bulk may come after some of its writes. */
const afterWrites = new Set(["MongoWriteConcernError", "MongoBulkWriteError"]);

const configurationNames = new Set([
  "MongoInvalidArgumentError",
  "MongoParseError",
  "MongoCompatibilityError",
  "MongoMissingDependencyError",
  "MongoMissingCredentialsError",
]);

/** The server's code in a driver's error; after a lost reply a bulk write has it one level below. */
export function codeOf(error: unknown): number | undefined {
  if (!isObject(error)) return undefined;
  if (typeof error["code"] === "number") return error["code"];
  const response = error["errorResponse"];
  return isObject(response) && typeof response["code"] === "number" ? response["code"] : undefined;
}

export function hasLabel(error: unknown, label: string): boolean {
  return (
    isObject(error) &&
    typeof error["hasErrorLabel"] === "function" &&
    Reflect.apply(error["hasErrorLabel"], error, [label]) === true
  );
}

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : typeof error);

/** What a driver's error means: by its code or class, never by its text. */
export function mapError(error: unknown, doing: string): CoordError {
  if (isCoordError(error)) return error;
  const code = codeOf(error);
  const name = nameOf(error);
  const what = code === undefined ? name : `${name} ${code}`;
  const remedy = code === undefined ? undefined : remedies[code];
  if (remedy !== undefined) {
    return new ConfigurationError(`mongodb: ${doing} was refused (${what}). ${remedy}`, { cause: error });
  }
  if (code !== undefined && tooLarge.has(code)) {
    return new InvalidArgumentError(
      `mongodb: ${doing} was refused (${what}): a document has at most 16 MiB. Store less in the payload.`,
      { cause: error },
    );
  }
  if (configurationNames.has(name)) {
    return new ConfigurationError(
      `mongodb: the driver refuses ${doing} (${what}, see the cause). Check the client and its options.`,
      { cause: error },
    );
  }
  const notDone = code !== undefined && notDoneCodes.has(code) && !afterWrites.has(name);
  const outcome = notDone ? "did not happen" : "may or may not have happened";
  return new UnavailableError(`mongodb: ${doing} failed (${what}); it ${outcome}.`, {
    cause: error,
    notDone,
  });
}
