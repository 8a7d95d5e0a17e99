import { Redis } from "ioredis";
import type { Talk } from "./faults.ts";

/** Asks one question on a connection of its own that never tries again. */
export async function askRedis<T>(url: string, question: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url, { retryStrategy: () => null, maxRetriesPerRequest: 0 });
  client.on("error", () => {});
  try {
    return await question(client);
  } finally {
    client.disconnect();
  }
}

export const redisTalk: Talk = {
  write: (url, value) => askRedis(url, (client) => client.set("kept", value)),
  read: (url) => askRedis(url, async (client) => (await client.get("kept")) ?? undefined),
};
