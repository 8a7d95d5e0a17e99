/** A database whose statements are changed as text on their way to the server. */
import { BSON } from "mongodb";
import type { Fields, MongoCollection, MongoDatabase, UpdateOne } from "../src/index.ts";

export interface Mutant {
  /** The rule that it breaks. */
  readonly breaks: string;
  /** The operation whose statement is changed. */
  readonly operation: "acquire" | "renew" | "release" | "overrule" | "list" | "any write";
  readonly find: string | RegExp;
  readonly replace: string;
}

export interface Rewriting {
  readonly db: MongoDatabase;
  /** How many statements were changed. */
  readonly changed: number;
}

interface Statement {
  readonly filter: Fields;
  readonly pipeline: Fields[];
  readonly options: Fields;
}

const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null;

function parsed<T extends object>(text: string, isWhole: (value: object) => value is T): T {
  const value: unknown = BSON.EJSON.parse(text, { relaxed: false });
  if (typeof value !== "object" || value === null || !isWhole(value)) throw new Error("not what was written");
  return value;
}

const isStatement = (value: object): value is Statement =>
  "filter" in value &&
  isFields(value.filter) &&
  "pipeline" in value &&
  Array.isArray(value.pipeline) &&
  "options" in value;
const isPipeline = (value: object): value is Fields[] => Array.isArray(value);

/** What only one operation's statement has. */
function operationOf({ pipeline, options }: Statement): Mutant["operation"] {
  if (options["returnDocument"] === "before") return "release";
  return JSON.stringify(pipeline, (_, value: unknown) =>
    typeof value === "bigint" ? `${value}` : value,
  ).includes('again",')
    ? "acquire"
    : "overrule";
}

export function rewriting(inner: MongoDatabase, { operation, find, replace }: Mutant): Rewriting {
  let changed = 0;
  function rewrite<T extends object>(
    of: Mutant["operation"],
    value: T,
    isWhole: (value: object) => value is T,
  ): T {
    if (operation !== of && !(operation === "any write" && of !== "list")) return value;
    const before = BSON.EJSON.stringify(value, { relaxed: false });
    // In a plain text `$` means itself, in a pattern's replacement a group.
    const after =
      typeof find === "string" ? before.replaceAll(find, () => replace) : before.replaceAll(find, replace);
    if (after === before) return value;
    changed += 1;
    return parsed(after, isWhole);
  }
  const collectionOf = (collection: MongoCollection): MongoCollection => ({
    findOneAndUpdate(filter, pipeline, options) {
      const { upsert, returnDocument, projection, ...rest } = options;
      const statement = { filter, pipeline, options: { upsert, returnDocument, projection } };
      // The stages know "again" by name in every statement; only acquire's verdict answers it.
      const of = operationOf(statement);
      const { filter: where, pipeline: stages, options: how } = rewrite(of, statement, isStatement);
      return collection.findOneAndUpdate(where, stages, { ...rest, ...how });
    },
    bulkWrite: (operations, options) =>
      collection.bulkWrite(
        operations.map(({ updateOne: { filter, update } }): UpdateOne => {
          const { filter: where, pipeline } = rewrite(
            "renew",
            { filter, pipeline: update, options: {} },
            isStatement,
          );
          return { updateOne: { filter: where, update: pipeline } };
        }),
        options,
      ),
    aggregate: (pipeline, options) => collection.aggregate(rewrite("list", pipeline, isPipeline), options),
    findOne: (filter, options) => collection.findOne(filter, options),
    find: (filter, options) => collection.find(filter, options),
    createIndex: (keys, options) => collection.createIndex(keys, options),
    listIndexes: () => collection.listIndexes(),
    watch: (pipeline, options) => collection.watch(pipeline, options),
  });
  return {
    db: {
      databaseName: inner.databaseName,
      collection: (name) => collectionOf(inner.collection(name)),
      command: (command, options) => inner.command(command, options),
      listCollections: (filter, options) => inner.listCollections(filter, options),
    },
    get changed() {
      return changed;
    },
  };
}
