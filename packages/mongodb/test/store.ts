/** One real server for a test file, and what every test asks of it. */
import { type Server, start, whyMissing } from "@coord/test-fixtures";
import { type Db, MongoClient } from "mongodb";
import { afterAll, beforeAll } from "vitest";

/** Why no server can be had here; tests that need one are skipped and say so. */
export const missing: string | undefined = await whyMissing("mongodb");

export interface Store {
  readonly server: Server;
  readonly client: MongoClient;
  readonly db: Db;
}

/** Starts the server before the tests of the file and ends it after them. */
export function useStore(): () => Store {
  let store: Store | undefined;
  beforeAll(async () => {
    if (missing !== undefined) return;
    const server = await start("mongodb");
    const client = new MongoClient(server.url, { serverSelectionTimeoutMS: 5000 });
    store = { server, client, db: client.db() };
  }, 60_000);
  afterAll(async () => {
    await store?.client.close();
    await store?.server.stop();
  });
  return () => {
    if (store === undefined) throw new Error(`no server: ${missing ?? "not started yet"}`);
    return store;
  };
}
