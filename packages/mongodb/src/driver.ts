/**
 * What this backend calls on the driver, typed structurally: any release of `mongodb` 6 or 7 fits, and its
 * types stay out of ours. Answers are `unknown` until `document.ts` has looked at them.
 */

export type Fields = Readonly<Record<string, unknown>>;

export interface MongoCursor {
  toArray(): Promise<unknown[]>;
}

/** The part of a change stream that is used; `resumeTokenChanged` tells that the server has opened it. */
export interface MongoChangeStream {
  on(event: "resumeTokenChanged" | "close", listener: () => void): unknown;
  next(): Promise<unknown>;
  close(): Promise<void>;
}

export interface MongoCollection {
  findOneAndUpdate(filter: Fields, update: Fields[], options: Fields): Promise<unknown>;
  bulkWrite(operations: UpdateOne[], options: Fields): Promise<{ readonly modifiedCount: number }>;
  findOne(filter: Fields, options: Fields): Promise<unknown>;
  find(filter: Fields, options: Fields): MongoCursor;
  aggregate(pipeline: Fields[], options: Fields): MongoCursor;
  createIndex(keys: { purgeAt: 1 }, options: Fields): Promise<unknown>;
  listIndexes(): MongoCursor;
  watch(pipeline: Fields[], options: Fields): MongoChangeStream;
}

export interface UpdateOne {
  updateOne: { filter: Fields; update: Fields[] };
}

export interface MongoDatabase {
  readonly databaseName: string;
  /** Not there in early releases of driver 6. */
  readonly client?: MongoClientLike | undefined;
  collection(name: string): MongoCollection;
  command(command: Fields, options: Fields): Promise<unknown>;
  listCollections(filter: Fields, options: Fields): MongoCursor;
}

export interface MongoClientLike {
  readonly options?: { readonly maxPoolSize?: number | undefined } | undefined;
  db(name?: string): MongoDatabase;
  connect?(): Promise<unknown>;
}

/** A session of the passed client with an open transaction. */
export interface MongoSession {
  inTransaction(): boolean;
}
