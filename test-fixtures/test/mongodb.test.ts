import { type Collection, MongoClient } from "mongodb";
import { expect, test } from "vitest";
import { describeFaults } from "./faults.ts";

interface Kept {
  _id: number;
  value: string;
}

async function ask<T>(url: string, question: (kept: Collection<Kept>) => Promise<T>): Promise<T> {
  const client = new MongoClient(url, { serverSelectionTimeoutMS: 2000 });
  client.on("error", () => {});
  try {
    return await question(client.db().collection<Kept>("kept"));
  } finally {
    await client.close();
  }
}

const talk = {
  write: (url: string, value: string) =>
    ask(url, (kept) => kept.replaceOne({ _id: 1 }, { value }, { upsert: true })),
  read: (url: string) => ask(url, async (kept) => (await kept.findOne({ _id: 1 }))?.value),
};

await describeFaults("mongodb", {}, talk, (server) => {
  test("says whether it is a replica set", async () => {
    const isReplicaSet = await ask(server().url, async (kept) => {
      const reply = await kept.db.command({ hello: 1 });
      return "setName" in reply;
    });
    expect(server().capabilities).toEqual({ replicaSet: isReplicaSet });
  });
});
