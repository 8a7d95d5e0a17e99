import { type CallOptions, UnavailableError } from "@coord/core";
import { type RedisClient, silentSocketMs, type Source } from "./client.ts";
import { commandError, connectError } from "./errors.ts";
import { type Argument, evaluate, evaluateReplicated, ownerOf, type Step } from "./evaluate.ts";
import { type Deferred, deferred, limited } from "./limit.ts";

/** The connection that all commands share, made at the first one. Every command has a time limit of its own. */
export interface Commands {
  /** Runs a script in one round trip (two when the server does not know it yet). */
  run(step: Step, options: CallOptions): Promise<unknown>;
  /** As `run`; then `minReplicas` replicas must have what was written, or the outcome is unknown. */
  runReplicated(step: Step, options: CallOptions): Promise<unknown>;
  /** Sends a plain command to each master; a node that can't be asked answers its error. */
  askMasters(command: readonly [string, ...string[]], options: CallOptions): Promise<unknown[]>;
  send(command: readonly [string, ...Argument[]], options: CallOptions): Promise<unknown>;
  /** The node that a blocked reader of this key connects to; undefined unless on a cluster. */
  masterOf(key: string, options: CallOptions): Promise<RedisClient | undefined>;
  close(): void;
}

/** A connection with what is waited for on it. */
interface Wire {
  readonly client: RedisClient;
  /** Resolves when commands can be sent; rejects when an attempt to connect fails. */
  ready(): Promise<void>;
  /** `performance.now()` of the first command since the last answer. */
  silentSince: number | undefined;
}

function wireOf(client: RedisClient): Wire {
  let waiting: Deferred<void> | undefined;
  const fail = (error: Error): void => {
    waiting?.reject(connectError(error));
    waiting = undefined;
  };
  client.on("error", fail);
  client.on("end", () => fail(new Error("the connection was closed")));
  client.on("ready", () => {
    waiting?.resolve();
    waiting = undefined;
  });
  return {
    client,
    silentSince: undefined,
    async ready() {
      if (client.status === "ready") return;
      waiting ??= deferred();
      const { promise } = waiting;
      if (client.status === "wait") client.connect().catch(() => {}); // the events above tell
      await promise;
    },
  };
}

const closedError = (): UnavailableError => new UnavailableError("the backend is closed", { notDone: true });

const ask = (node: RedisClient, command: readonly [string, ...string[]]): Promise<unknown> =>
  node.call(...command).catch((error: unknown) => commandError(error));

export function createCommands(source: Source, minReplicas: number): Commands {
  let opening: Promise<Wire> | undefined;
  let current: Wire | undefined;
  let closed = false;

  async function open(): Promise<Wire> {
    const client = await source.forCommands();
    if (closed) client.disconnect();
    current = wireOf(client);
    return current;
  }

  function wire(): Promise<Wire> {
    if (current?.client.status === "end") opening = undefined; // it gave up for good, as a Sentinel client may
    opening ??= open().catch((error: unknown) => {
      opening = undefined;
      throw error;
    });
    return opening;
  }

  /** A socket that never answers is dropped: half-open connections would otherwise eat every command. */
  function dropIfSilent(on: Wire): void {
    if (source.cluster || on.silentSince === undefined) return; // a cluster's nodes have `socketTimeout`
    if (performance.now() - on.silentSince < silentSocketMs) return;
    on.silentSince = undefined;
    on.client.disconnect(true);
  }

  /** Connects if needed, then sends, unless nobody waits any more. */
  async function step<T>(options: CallOptions, sendOn: (client: RedisClient) => Promise<T>): Promise<T> {
    let sent: Wire | undefined;
    let over = false;
    async function work(): Promise<T> {
      const on = await wire();
      await on.ready();
      if (over || closed) throw closedError();
      sent = on;
      on.silentSince ??= performance.now();
      try {
        return await sendOn(on.client);
      } catch (error) {
        throw commandError(error);
      } finally {
        on.silentSince = undefined;
      }
    }
    function givenUp(cause: unknown): UnavailableError {
      over = true;
      if (sent !== undefined) dropIfSilent(sent);
      const waited =
        cause === undefined ? `within ${options.timeoutMs} ms` : "before the caller stopped waiting";
      return sent === undefined
        ? new UnavailableError(`no connection to Redis ${waited}`, { cause, notDone: true })
        : new UnavailableError(`Redis did not answer ${waited}, so the step may have happened`, { cause });
    }
    if (closed) throw closedError();
    return await limited(work(), options, givenUp);
  }

  const run: Commands["run"] = (what, options) => step(options, (to) => evaluate(to, what));

  return {
    run,
    runReplicated(what, options) {
      if (minReplicas === 0) return run(what, options);
      const waitMs = Math.max(1, Math.floor(options.timeoutMs * 0.8)); // it answers before our own limit
      return step(options, (to) => evaluateReplicated(to, what, minReplicas, waitMs));
    },
    askMasters: (command, options) =>
      step(options, (to) => {
        const masters = to.isCluster ? (to.nodes?.("master") ?? []) : [to];
        return Promise.all(masters.map((node) => ask(node, command)));
      }),
    send: (command, options) => step(options, (to) => to.call(...command)),
    masterOf: (key, options) =>
      step(options, (to) => Promise.resolve(to.isCluster ? ownerOf(to, key) : undefined)),
    close() {
      closed = true;
      current?.client.disconnect();
    },
  };
}
