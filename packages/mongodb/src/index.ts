export { mongodbBackend } from "./backend.ts";
export type { MongodbBackend } from "./backend.ts";
export type { MongodbOptions } from "./options.ts";
export type {
  Fields,
  MongoChangeStream,
  MongoClientLike,
  MongoCollection,
  MongoCursor,
  MongoDatabase,
  MongoSession,
  UpdateOne,
} from "./driver.ts";
