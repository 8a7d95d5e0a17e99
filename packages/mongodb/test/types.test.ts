import type { ClientSession, Db, MongoClient } from "mongodb";
import { expectTypeOf, test } from "vitest";
import type { MongoClientLike, MongoDatabase, MongoSession } from "../src/driver.ts";

test("the driver's own client, database and session are accepted as they are", () => {
  expectTypeOf<MongoClient>().toExtend<MongoClientLike>();
  expectTypeOf<Db>().toExtend<MongoDatabase>();
  expectTypeOf<ClientSession>().toExtend<MongoSession>();
});
