/**
 * A process that calls `once` for many callers. Arguments: the store's URL, the URL of the database that the effect
 * is written to, the namespace, and the name of a mutant or nothing. It is told what to do, and asks before each
 * step of the function, by messages.
 */
import { type Backend, type Execution, isCoordError, openCoordinator } from "@coord/core";
import { redisStreamsBackend } from "@coord/redis-streams";
import pg from "pg";
import { postgresBackend } from "../src/index.ts";
import type { Answer, Ask, Call, FromChild, Receipt, Tell } from "./once-crowd.ts";

const [storeUrl = "", effectsUrl = "", namespace = "", mutant = ""] = process.argv.slice(2);

/** Claims that anybody may take over once they lapsed, as in libraries that know only "in progress" and a deadline. */
const unsealed = (backend: Backend): Backend => ({
  ...backend,
  acquire: (request, options) => backend.acquire({ ...request, sealed: false }, options),
});
const changed = (backend: Backend): Backend => (mutant === "unsealed" ? unsealed(backend) : backend);

const coord = await openCoordinator(
  { url: storeUrl, namespace, cleanUp: false, holder: `process ${process.pid}` },
  {
    backends: {
      postgres: (url) => changed(postgresBackend({ url })),
      redis: (url) => changed(redisStreamsBackend({ url })),
    },
  },
);
const effects = new pg.Client({ connectionString: effectsUrl });
effects.on("error", () => {});
await effects.connect();

const say = (message: FromChild): void => {
  process.send?.(message);
};
const gates = new Map<string, () => void>();

/** Tells the parent where the function is, and waits for its word. */
async function gate(at: Ask["at"], key: string): Promise<void> {
  const passed = new Promise<void>((resolve) => gates.set(`${at} ${key}`, resolve));
  say({ ask: { at, key } });
  await passed;
}

async function work(input: { key: string }, execution: Execution): Promise<Receipt> {
  const { key } = input;
  await gate("before", key);
  execution.assertHeld();
  const nonce = `${process.pid} ${execution.fence}`;
  // Nothing protects this row but that the function runs once.
  await effects.query("INSERT INTO effect (key, nonce) VALUES ($1, $2)", [key, nonce]);
  await gate("after", key);
  return { key, nonce };
}

async function answer({ key, waitMs, ttlMs }: Call): Promise<Answer> {
  try {
    const result = await coord.once(key, { input: { key }, ttlMs, waitMs }, work);
    if (result.status === "completed")
      return { status: "completed", receipt: result.response, replayed: result.replayed };
    return { status: result.status };
  } catch (error) {
    return { status: "threw", what: isCoordError(error) ? error.code : String(error) };
  }
}

process.on("message", (told: Tell) => {
  if (told.do === "pass") {
    gates.get(`${told.at} ${told.key}`)?.();
    return;
  }
  const answers = Promise.all(Array.from({ length: told.callers }, () => answer(told)));
  void answers.then((all) => say({ id: told.id, answers: all }));
});
process.on("disconnect", () => process.exit());
say({ ready: true });
