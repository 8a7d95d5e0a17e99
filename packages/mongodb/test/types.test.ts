import type * as driver7 from "mongodb";
import type * as driver6 from "mongodb-6";
import { expectTypeOf, test } from "vitest";
import type { MongoClientLike, MongoDatabase, MongoSession } from "../src/driver.ts";

test("the client, database and session of driver 6 and 7 are accepted as they are", () => {
  expectTypeOf<driver6.MongoClient>().toExtend<MongoClientLike>();
  expectTypeOf<driver7.MongoClient>().toExtend<MongoClientLike>();
  expectTypeOf<driver6.Db>().toExtend<MongoDatabase>();
  expectTypeOf<driver7.Db>().toExtend<MongoDatabase>();
  expectTypeOf<driver6.ClientSession>().toExtend<MongoSession>();
  expectTypeOf<driver7.ClientSession>().toExtend<MongoSession>();
});
