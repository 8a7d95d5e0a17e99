import type { Backend, ReleaseRequest, ReleaseResult, RenewOutcome, Subscription } from "@coord/core";
import type { Core } from "./core.ts";
import type { SimProcess } from "./process.ts";
import { createRandom } from "./random.ts";
import type { Sender, Store } from "./store.ts";
import type { World } from "./world.ts";

/** How often what goes wrong, from 0 to 1, and how long a message takes. */
export interface NetworkFaults {
  loseRequest: number;
  loseReply: number;
  duplicate: number;
  /** A message takes up to five ttl. */
  delay: number;
  /** The connection breaks: the caller is told at once that the outcome is unknown. */
  break: number;
  /** Nobody answers the connection: the caller is told that nothing happened. */
  refuse: number;
  /** A batch of renewals is answered, and done, in part. */
  partial: number;
  loseWake: number;
  doubleWake: number;
  spuriousWake: number;
}

export interface NetworkOptions {
  readonly seed: number;
  readonly core: Core;
  readonly ttlMs: number;
  readonly latencyMs: number;
  readonly pollMs: number;
  readonly push: boolean;
  readonly faults: NetworkFaults;
  /** Nothing goes wrong any more from then on, in true time. */
  readonly calmAt: number;
  /** Messages that nothing happens to. */
  readonly spared: readonly string[];
  /** Told of each message to which something happens. */
  readonly onHit: (message: string) => void;
}

export interface Link {
  readonly backend: Backend;
  /** A transaction on a connection of its own: a message that is lost breaks it. */
  begin(): Session;
  /** Nothing gets through until then, in true time. */
  cutUntil: number;
  /** Every answer takes that much longer, in milliseconds. */
  lagMs: number;
  /** Tells the subscribers that their connection went down or came back. */
  wakeAll(): void;
}

/** A transaction as its client has it. */
export interface Session {
  release(request: ReleaseRequest): Promise<ReleaseResult>;
  /** Rejects where nobody knows whether it was committed; false if it was rolled back. */
  commit(onCommitted: () => void): Promise<boolean>;
  rollback(): void;
}

/** The way between one process and the store, which loses, doubles, delays and reorders. */
export function createLink(
  world: World,
  store: Store,
  process: SimProcess,
  index: number,
  options: NetworkOptions,
): Link {
  const { core, faults, seed, ttlMs, latencyMs, calmAt, spared, onHit } = options;
  let messages = 0;
  const wakers = new Set<() => void>();
  const link = {
    cutUntil: -1,
    lagMs: 0,
    wakeAll() {
      for (const wake of wakers) process.deliver(wake);
    },
  };
  const trouble = (untilMs: number): void => {
    process.troubledAt = Math.max(process.troubledAt, untilMs);
  };

  /** One exchange with the store; `apply` may run not at all, once or twice, at once or much later. */
  function exchange<Result>(
    what: string,
    apply: (sender: Sender) => Promise<Result>,
    { once = false, duplicates = true }: { once?: boolean; duplicates?: boolean } = {},
  ): Promise<Result> {
    messages += 1;
    const message = messages;
    const random = createRandom(seed, "message", index * 1_000_000 + message);
    const sender = { name: process.name, sentAt: world.now() };
    const born = process.life;
    const id = `${process.name}#${message}`;
    const calm = world.now() >= calmAt || spared.includes(id);
    const hits = (probability: number): boolean => {
      const hit = random.chance(probability) && !calm;
      if (hit) onHit(id);
      return hit;
    };
    // Drawn in any case and in this order, so that one fault less does not change the others.
    const lost = { request: hits(faults.loseRequest), reply: hits(faults.loseReply) };
    const fate = {
      duplicate: hits(faults.duplicate),
      breaks: hits(faults.break),
      refused: hits(faults.refuse),
    };
    const late = (): number => (hits(faults.delay) ? random.next() ** 3 * 5 * ttlMs : 0);
    const [lateThere, lateBack, lateAgain] = [late(), late() + link.lagMs, random.next() * ttlMs];
    const latency = (): number => random.range(0.1, latencyMs);
    const [there, back, again] = [latency(), latency(), latency()];
    const name = `${process.name} ${what} #${message}`;

    return new Promise<Result>((resolve, reject) => {
      const answer = (delayMs: number, give: () => void): void =>
        world.after(delayMs, () => {
          if (process.life === born) process.deliver(give);
        });
      const fail = (text: string, notDone: boolean): void =>
        answer(back, () => {
          world.note(() => `${name}: ${text}`);
          reject(new core.UnavailableError(`${what}: ${text}`, { notDone }));
        });
      const arrive = (first: boolean): void => {
        if (world.now() < store.downUntil) {
          trouble(world.now() + latencyMs);
          if (first) fail("the store is down", true);
          return;
        }
        apply(sender).then(
          (result) => {
            if (!first) return;
            if (!once && (lost.reply || world.now() < link.cutUntil)) {
              trouble(world.now());
              world.note(() => `${name}: reply lost`);
            } else if (!once && fate.breaks) {
              trouble(world.now());
              fail("connection lost", false);
            } else {
              if (lateBack > 0) trouble(world.now() + lateBack);
              answer(back + lateBack, () => {
                world.note(() => `${name} -> ${shown(result)}`);
                resolve(result);
              });
            }
          },
          (error: unknown) => {
            if (first) answer(back, () => reject(error));
          },
        );
      };
      if (world.now() < store.downUntil || fate.refused) {
        trouble(world.now() + latencyMs);
        fail("connection refused", true);
        return;
      }
      if (lost.request || (once && lost.reply) || world.now() < link.cutUntil) {
        trouble(world.now());
        world.note(() => `${name}: request lost`);
        return;
      }
      if (lateThere > 0) trouble(world.now() + lateThere);
      world.after(there + lateThere, () => arrive(true));
      if (fate.duplicate && duplicates && !once) {
        trouble(world.now() + again + lateThere + lateAgain);
        world.after(again + lateThere + lateAgain, () => {
          world.note(() => `${name}: arrives again`);
          arrive(false);
        });
      }
    });
  }

  async function subscribe(
    watchStore: (onWake: () => void) => Promise<Subscription>,
    onWake: () => void,
    born: number,
  ): Promise<Subscription> {
    if (process.life !== born) throw new core.UnavailableError("watch: the process is dead");
    const random = createRandom(seed, "wake", (messages += 1));
    const brought = (delayMs: number): void =>
      world.after(delayMs, () => {
        if (process.life === born) process.deliver(onWake);
      });
    const wake = (): void => {
      const calm = world.now() >= calmAt;
      const dead = process.life !== born || world.now() < link.cutUntil || world.now() < store.downUntil;
      if (dead || (!calm && random.chance(faults.loseWake))) {
        trouble(world.now());
        return;
      }
      brought(random.range(0.1, latencyMs));
      if (!calm && random.chance(faults.doubleWake)) brought(random.range(0.1, ttlMs));
    };
    const subscription = await watchStore(wake);
    if (world.now() < calmAt && random.chance(faults.spuriousWake)) brought(random.range(0.1, ttlMs));
    wakers.add(onWake);
    const close = (): void => {
      wakers.delete(onWake);
      void subscription.close();
    };
    process.onDeath(close);
    return {
      get live() {
        return world.now() >= store.downUntil && world.now() >= link.cutUntil;
      },
      async close() {
        wakers.delete(onWake);
        world.after(random.range(0.1, latencyMs), close);
      },
    };
  }

  const backend: Backend = {
    info: { ...store.backend.info, pollMs: options.pollMs },
    acquire: (request) =>
      exchange(`acquire ${keyOf(request.name.key)} ${request.grantId}`, (sender) =>
        store.acquire(request, sender),
      ),
    renew(requests) {
      const random = createRandom(seed, "partial", index * 1_000_000 + messages);
      const partial = world.now() < calmAt && random.chance(faults.partial);
      if (partial) trouble(world.now());
      const what = requests.map((one) => `${keyOf(one.name.key)} ${one.grantId}`).join(", ");
      return exchange(`renew ${what}`, (sender) =>
        Promise.all(
          requests.map((request): Promise<RenewOutcome> => {
            if (!partial || random.chance(0.5)) return store.renew(request, sender);
            // Done, but not answered for; or not even that.
            return random.chance(0.5)
              ? store.renew(request, sender).then(() => "unknown")
              : Promise.resolve("unknown");
          }),
        ),
      );
    },
    release: (request) =>
      exchange(`release ${keyOf(request.name.key)} ${request.grantId}`, (sender) =>
        store.release(request, sender),
      ),
    inspect: (name, call) => exchange("inspect", () => store.backend.inspect(name, call)),
    overrule: (request) =>
      exchange(`overrule ${keyOf(request.name.key)}`, (sender) => store.overrule(request, sender)),
    list: (request, call) => exchange("list", () => store.backend.list(request, call)),
    prune: ({ limit }) => exchange("prune", (sender) => store.prune(limit, sender)),
    setup: (call) => exchange("setup", () => store.backend.setup(call)),
    async diagnose() {
      const beforeMs = process.machine.wallMs();
      const storeMs = await exchange("diagnose", async () => store.nowMs());
      return { findings: [], clock: { storeMs, beforeMs, afterMs: process.machine.wallMs() } };
    },
    close: async () => {},
    ...(options.push && {
      watch: (name, onWake) => {
        const born = process.life;
        return exchange(
          `watch ${keyOf(name.key)}`,
          () => subscribe((wake) => store.watch(name, wake), onWake, born),
          { once: true },
        );
      },
    }),
  };
  function begin(): Session {
    const transaction = store.begin({ name: process.name, sentAt: world.now() });
    const { life } = process;
    const random = createRandom(seed, "transaction", index * 1_000_000 + messages);
    const drop = (): void => world.after(random.next() * ttlMs, () => transaction.rollback());
    process.onDeath(drop);
    /** As drivers do: no answer in time, and the connection is given up. */
    async function answered<Result>(exchanged: Promise<Result>): Promise<Result> {
      const late = process.sleep(ttlMs / 2).then((): never => {
        throw new Error("connection lost");
      });
      try {
        return await Promise.race([exchanged, late]);
      } catch (error) {
        drop();
        throw error;
      }
    }
    return {
      release: (request) =>
        answered(
          exchange(
            `release ${keyOf(request.name.key)} in a transaction`,
            () => transaction.release(request),
            {
              duplicates: false,
            },
          ),
        ),
      commit: (onCommitted) =>
        answered(
          exchange(
            "commit",
            async () => {
              const committed = transaction.open;
              const done = transaction.commit();
              if (committed) onCommitted();
              return await done;
            },
            { duplicates: false },
          ),
        ),
      rollback() {
        if (process.life !== life) return;
        exchange("rollback", async () => transaction.rollback(), { duplicates: false }).catch(
          () => undefined,
        );
        drop();
      },
    };
  }

  return Object.assign(link, { backend, begin });
}

const keyOf = (stored: string): string => stored.slice(stored.indexOf("\u001F") + 1);

function shown(result: unknown): string {
  if (Array.isArray(result)) return result.map(shown).join(", ");
  if (typeof result !== "object" || result === null) return String(result);
  const parts = [];
  if ("outcome" in result) parts.push(String(result.outcome));
  if ("reason" in result) parts.push(String(result.reason));
  if ("fence" in result) parts.push(`fence ${String(result.fence)}`);
  if ("remainingMs" in result) parts.push(`${String(result.remainingMs)} ms left`);
  return parts.join(" ");
}
