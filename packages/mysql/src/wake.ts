/** Wake-ups by named locks: the connections they take, whether they work here, and who waits for what. */
import { randomBytes } from "node:crypto";
import { UnavailableError } from "@coord/core";
import type { CallOptions, Name, Subscription } from "@coord/core";
import { integer } from "./driver.ts";
import { numberOf } from "./failures.ts";
import { createGate } from "./gate.ts";
import type { Gate } from "./gate.ts";
import { Turnstile } from "./turnstile.ts";
import { openLink } from "./wake-link.ts";
import type { Connect, Link } from "./wake-link.ts";

export interface Wake {
  readonly gate: Gate;
  readonly watch: (name: Name, onWake: () => void, options: CallOptions) => Promise<Subscription>;
  /** Whether somebody of this process waits for the name. */
  isWaitedFor(name: Name): boolean;
  /** Why named locks don't work here; `undefined` if they do. Rejects if that can't be found out now. */
  whyNot(): Promise<string | undefined>;
  close(): void;
}

export interface WakeSetup {
  readonly connect: Connect;
  readonly maxConnections: number;
  /** The lease table's name, a part of the locks' names. */
  readonly lease: string;
  readonly isFreeSql: string;
  readonly watchGateSql: string;
  /** Called when somebody is woken for a name. */
  readonly onTurn: (name: Name) => void;
}

/** A link that holds no lock is kept so long for the next who waits. */
const SPARE_MS = 5000;
/** A server that has no named locks is asked again after so long. */
const VERDICT_MS = 60_000;
const PROBE_MS = 5000;

const idOf = ({ namespace, key }: Name): string => `${namespace}\0${key}`;

export function createWake({
  connect,
  maxConnections,
  lease,
  isFreeSql,
  watchGateSql,
  onTurn,
}: WakeSetup): Wake {
  const turnstiles = new Map<string, Turnstile>();
  const spares = new Set<Link>();
  let verdict: Promise<string | undefined> | undefined;
  let closed = false;

  async function open(): Promise<Link> {
    if (closed) throw new Error("This backend is closed.");
    const link = await openLink(connect, lease);
    if (closed) link.hangUp();
    return link;
  }

  function giveBack(link: Link): void {
    if (closed || link.isDown()) return;
    if (spares.size + turnstiles.size >= maxConnections - 1) return link.hangUp();
    spares.add(link);
    const end = (): void => {
      if (spares.delete(link)) link.hangUp();
    };
    const timer = setTimeout(end, SPARE_MS).unref();
    link.onDown(() => {
      clearTimeout(timer);
      spares.delete(link);
    });
  }

  async function takeOrOpen(): Promise<Link> {
    for (const link of spares) {
      spares.delete(link);
      if (!link.isDown()) return link;
    }
    return open();
  }

  /**
   * A lock that one connection has must be refused to another, and both must see who has it: a cluster has
   * no locks in common, and a proxy may send the statements of one client to several connections.
   */
  async function probe(): Promise<string | undefined> {
    const links = await Promise.all([open(), takeOrOpen()]);
    const [one, two] = links;
    const lock = Buffer.from(`p_${randomBytes(20).toString("hex")}`);
    try {
      const [taken = {}] = await one.ask("SELECT GET_LOCK(?,0) AS answer", [lock], PROBE_MS);
      const [seen = {}] = await two.ask(
        "SELECT GET_LOCK(?,0) AS answer,COALESCE(IS_USED_LOCK(?),0) AS owner",
        [lock, lock],
        PROBE_MS,
      );
      const [ended = {}] = await one.ask("SELECT RELEASE_LOCK(?) AS answer", [lock], PROBE_MS);
      const answers = [taken["answer"], seen["answer"], ended["answer"]].join(",");
      if (answers === "1,0,1" && integer(seen, "owner") === one.id) return undefined;
      return "named locks of one connection are not seen by another, so a cluster or a proxy stands in between";
    } catch (error) {
      const errno = numberOf(error);
      if (errno === undefined) throw error;
      return `the server has no named locks for us (${errno})`;
    } finally {
      for (const link of links) giveBack(link);
    }
  }

  function whyNot(): Promise<string | undefined> {
    if (verdict === undefined) {
      const asked = probe();
      verdict = asked;
      const forget = (): void => {
        if (verdict === asked) verdict = undefined;
      };
      asked.then(
        (reason) => (reason === undefined ? undefined : setTimeout(forget, VERDICT_MS).unref()),
        forget,
      );
    }
    return verdict;
  }

  const gate = createGate(async () => {
    const reason = await whyNot();
    if (reason !== undefined) throw new Error(reason);
    return open();
  });

  function turnstileFor(name: Name): Turnstile {
    const id = idOf(name);
    const present = turnstiles.get(id);
    if (present !== undefined) return present;
    if (turnstiles.size >= maxConnections - 1) {
      throw new UnavailableError(
        `${turnstiles.size} names are waited for already, as many as wake.maxConnections (${maxConnections}) allows; this one is polled.`,
        { notDone: true },
      );
    }
    const turnstile = new Turnstile({
      name,
      isFreeSql,
      watchGateSql,
      open: takeOrOpen,
      giveBack,
      gateSettled: () => gate.settled(),
      onTurn: () => onTurn(name),
      onEmpty: () => {
        if (turnstiles.get(id) === turnstile) turnstiles.delete(id);
      },
    });
    turnstiles.set(id, turnstile);
    return turnstile;
  }

  async function watch(name: Name, onWake: () => void, options: CallOptions): Promise<Subscription> {
    const { signal } = options;
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(new Error("The call was aborted.")), { once: true });
    });
    aborted.catch(() => {});
    try {
      signal.throwIfAborted();
      const reason = await Promise.race([whyNot(), aborted]);
      if (reason !== undefined) throw new Error(reason);
      if (closed) throw new Error("This backend is closed.");
    } catch (error) {
      throw unavailable(error);
    }
    const turnstile = turnstileFor(name);
    const leave = turnstile.add(onWake);
    let left = false;
    const close = (): Promise<void> => {
      left = true;
      return leave();
    };
    try {
      await Promise.race([turnstile.ready, aborted]);
    } catch (error) {
      await close();
      throw unavailable(error);
    }
    return {
      get live() {
        return !left && turnstile.live;
      },
      close,
    };
  }

  return {
    gate,
    watch,
    isWaitedFor: (name) => turnstiles.has(idOf(name)),
    whyNot,
    close: () => {
      closed = true;
      gate.close();
      for (const turnstile of turnstiles.values()) turnstile.close();
      for (const link of spares) link.hangUp();
      turnstiles.clear();
    },
  };
}

function unavailable(error: unknown): UnavailableError {
  const why = error instanceof Error ? error.message : "it failed";
  return new UnavailableError(`No wake-ups by named locks: ${why}`, { cause: error, notDone: true });
}
