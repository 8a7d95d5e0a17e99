/**
 * 200 callers of one key from 8 processes, some of which are killed (-9) or stopped on the way. The effect is an
 * insert that nothing else protects. `COORD_ONCE_ROUNDS=200` runs more rounds of random trouble.
 */
import { type Coordinator, createCoordinator, openCoordinator } from "@coord/core";
import { redisStreamsBackend } from "@coord/redis-streams";
import { start } from "@coord/test-fixtures";
import pg from "pg";
import { afterAll, expect, test } from "vitest";
import { postgresBackend } from "../src/index.ts";
import { freshName } from "./harness.ts";
import { type Crowd, startCrowd } from "./once-crowd.ts";
import {
  anyTrouble,
  effectTable,
  runnerKilled,
  runnerReplaced,
  runnerStopped,
  type Scene,
  waitersKilled,
} from "./once-processes.ts";
import { seeded } from "./once-random.ts";

const rounds = Number(process.env["COORD_ONCE_ROUNDS"] ?? 2);
const [server, redis] = await Promise.all([start("postgres"), start("redis")]);
const effects = new pg.Pool({ connectionString: server.url });
effects.on("error", () => {});
await effects.query(effectTable);
const { namespace } = freshName();
const coord = createCoordinator({ backend: postgresBackend({ client: effects }), namespace, cleanUp: false });
await coord.setup();

const opened: Crowd[] = [];
const coords: Coordinator[] = [coord];
afterAll(async () => {
  await Promise.all(opened.map((crowd) => crowd.close()));
  await Promise.all(coords.map((each) => each.close()));
  await effects.end();
  await Promise.all([server.stop(), redis.stop()]);
});

async function sceneOf(
  storeUrl: string,
  operator: Coordinator,
  size: number,
  mutant?: string,
): Promise<Scene> {
  const more = mutant === undefined ? {} : { mutant };
  const crowd = await startCrowd({ storeUrl, effectsUrl: server.url, namespace, size, ...more });
  opened.push(crowd);
  return { crowd, coord: operator, effects };
}

const onPostgres = await sceneOf(server.url, coord, 8);
let keys = 0;
const freshKey = (): string => `payment ${++keys}`;

test("processes that wait are killed and stopped, and all others get the one answer", async () => {
  await expect(waitersKilled(onPostgres, freshKey())).resolves.toBeUndefined();
});

test("the process that runs it is killed after the effect: all others are told that it is uncertain, one of two operators decides, and all get that answer", async () => {
  await expect(runnerKilled(onPostgres, freshKey())).resolves.toBeUndefined();
});

test("the process that runs it is stopped past its deadline: uncertain meanwhile, and then its own late answer for all", async () => {
  await expect(runnerStopped(onPostgres, freshKey())).resolves.toBeUndefined();
});

test("a process that is stopped before the effect, declared not done and replaced, does not do it when it continues", async () => {
  await expect(runnerReplaced(onPostgres, freshKey())).resolves.toBeUndefined();
});

test(
  `in ${rounds} rounds of random kills and stops the effect happens at most once, and no answer is untrue`,
  async () => {
    const seed = Number(process.env["COORD_ONCE_SEED"] ?? Date.now() % 1_000_000);
    const random = seeded(seed);
    const seen = new Map<string, number>();
    for (let round = 0; round < rounds; round += 1) {
      await onPostgres.crowd.fill();
      const statuses = await anyTrouble(onPostgres, freshKey(), random).catch((cause: unknown) => {
        throw new Error(`round ${round} with COORD_ONCE_SEED=${seed}`, { cause });
      });
      for (const status of statuses) seen.set(status, (seen.get(status) ?? 0) + 1);
    }
    process.stdout.write(
      `once: ${rounds} rounds, seed ${seed}, answers in rounds ${JSON.stringify([...seen])}\n`,
    );
  },
  60_000 + rounds * 30_000,
);

test("on Redis as on PostgreSQL the runner may be killed, or replaced and continued", async () => {
  const operator = await openCoordinator(
    { url: redis.url, namespace, cleanUp: false },
    { backends: { redis: (url) => redisStreamsBackend({ url }) } },
  );
  coords.push(operator);
  const scene = await sceneOf(redis.url, operator, 4);
  await expect(runnerKilled(scene, `redis ${freshKey()}`)).resolves.toBeUndefined();
  await expect(runnerReplaced(scene, `redis ${freshKey()}`)).resolves.toBeUndefined();
  await scene.crowd.close();
});

test("with claims that are not sealed the same rounds find two effects, so they can find them", async () => {
  const scene = await sceneOf(server.url, coord, 2, "unsealed");
  await expect(runnerKilled(scene, freshKey())).rejects.toThrow();
  const { rows } = await effects.query("SELECT FROM effect WHERE key = $1", [`payment ${keys}`]);
  expect(rows.length).toBeGreaterThan(1);
});
