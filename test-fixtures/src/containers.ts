import { hostname } from "node:os";
import type { ContainerRuntimeClient, StartedTestContainer, WaitStrategy } from "testcontainers";
import { isAlive } from "./data-folder.ts";
import { freePort, poll } from "./probe.ts";
import { type Faults, FixtureMissing, type Server, type ServerNode } from "./server.ts";

const pullLimitMs = 180_000;
const startLimitMs = 120_000;
const ownerLabel = "coord-fixtures.owner";
const ryuk = process.env["RYUK_CONTAINER_IMAGE"] ?? "testcontainers/ryuk:0.14.0";

/** How to run one server in a container. */
export interface Image {
  readonly name: string;
  /** The port in the container; the same as outside if not given, for a server that tells clients its address. */
  readonly port?: number;
  /** How many ports, each the same inside and outside, a server of several processes needs. @default 1 */
  readonly ports?: number;
  readonly environment?: Readonly<Record<string, string>>;
  command?(ports: readonly number[]): string[];
  /** Called once, when the server answers for the first time. */
  prepare?(container: StartedTestContainer, ports: readonly number[]): Promise<void>;
  /** The server's version once it serves requests, undefined before. */
  probe(port: number): Promise<string | undefined>;
  /** Called after the probe has succeeded again. */
  recovered?(ports: readonly number[]): Promise<void>;
  url(ports: readonly number[]): string;
  nodes?(ports: readonly number[]): readonly ServerNode[];
  readonly capabilities?: Readonly<Record<string, boolean>>;
}

/** The probe waits instead, at a restart too. */
const noWait: WaitStrategy = {
  waitUntilReady: async () => {},
  withStartupTimeout: () => noWait,
  isStartupTimeoutSet: () => false,
  getStartupTimeout: () => startLimitMs,
};

let engine: Promise<ContainerRuntimeClient> | undefined;

async function findEngine(): Promise<ContainerRuntimeClient> {
  const { getContainerRuntimeClient } = await import("testcontainers");
  const client = await getContainerRuntimeClient().catch((error: unknown) => {
    throw new FixtureMissing(
      `no container engine answers (${error instanceof Error ? error.message : String(error)})`,
    );
  });
  // The reaper is an image too, and a start fails without it; the sweep stands in for it.
  const hasReaper = await obtain(client, ryuk).then(
    () => true,
    () => false,
  );
  if (!hasReaper) process.env["TESTCONTAINERS_RYUK_DISABLED"] = "true";
  await sweep(client);
  return client;
}

/** Makes sure that the image is on this machine. */
async function obtain(client: ContainerRuntimeClient, name: string): Promise<void> {
  const { ImageName } = await import("testcontainers");
  const image = ImageName.fromString(name);
  if (await client.image.exists(image)) return;
  const why = await new Promise<string | undefined>((resolve) => {
    const timer = setTimeout(resolve, pullLimitMs, `no end after ${pullLimitMs} ms`);
    client.image
      .pull(image)
      .then(
        () => resolve(undefined),
        (error: unknown) => resolve(error instanceof Error ? error.message : "no reason given"),
      )
      .finally(() => clearTimeout(timer));
  });
  if (why === undefined) return;
  throw new FixtureMissing(`the image ${name} is not here and cannot be pulled (${why})`);
}

/** Removes the containers of test processes of this machine that no longer live. */
async function sweep(client: ContainerRuntimeClient): Promise<void> {
  const { dockerode } = client.container;
  for (const { Id, Labels } of await dockerode.listContainers({
    all: true,
    filters: { label: [ownerLabel] },
  })) {
    const [host, pid] = (Labels[ownerLabel] ?? "").split(" ");
    if (host !== hostname() || isAlive(Number(pid))) continue;
    await dockerode
      .getContainer(Id)
      .remove({ force: true, v: true })
      .catch(() => {}); // Another test process was quicker.
  }
}

/** Starts the image on ports of our choice: ports that the engine chooses would change at a restart. */
export async function startContainer(image: Image): Promise<Server> {
  engine ??= findEngine();
  const client = await engine;
  await obtain(client, image.name);
  const { GenericContainer } = await import("testcontainers");
  const ports = await Promise.all(Array.from({ length: image.ports ?? 1 }, () => freePort()));
  const [port = 0] = ports;
  const container = await new GenericContainer(image.name)
    .withEnvironment({ ...image.environment })
    .withCommand(image.command?.(ports) ?? [])
    .withLabels({ [ownerLabel]: `${hostname()} ${process.pid}` })
    .withExposedPorts(...ports.map((host) => ({ container: image.port ?? host, host })))
    .withWaitStrategy(noWait)
    .start();

  let isPaused = false;
  let isRunning = true;
  const handle = client.container.dockerode.getContainer(container.getId());
  const ready = async (): Promise<string> => {
    const endMs = performance.now() + startLimitMs;
    let hasEnded = false;
    const version = await poll(
      async () => {
        hasEnded = !(await handle.inspect()).State.Running;
        return hasEnded ? undefined : image.probe(port);
      },
      () => hasEnded || performance.now() > endMs,
      50,
    );
    if (version !== undefined) return version;
    const words = await handle.logs({ stdout: true, stderr: true, tail: 20 });
    throw new Error(
      `${image.name} did not start on 127.0.0.1:${port}; its last words were:\n${words.toString().replaceAll(/[^\n -~]/g, "")}`,
    );
  };
  const resume = async (): Promise<void> => {
    if (isPaused) await handle.unpause();
    isPaused = false;
  };
  const kill = async (): Promise<void> => {
    await resume(); // A paused container cannot be killed.
    if (isRunning) await handle.kill();
    isRunning = false;
  };
  const faults: Faults = {
    pause: async () => {
      if (!isPaused && isRunning) await handle.pause();
      isPaused = isRunning;
    },
    resume,
    kill,
    restart: async () => {
      await kill();
      await handle.start();
      isRunning = true;
      await ready();
      await image.recovered?.(ports);
    },
  };
  let stopping: Promise<unknown> | undefined;
  const stop = async (): Promise<void> => {
    stopping ??= handle.remove({ force: true, v: true });
    await stopping;
  };
  try {
    const version = await ready();
    await image.prepare?.(container, ports);
    const nodes = image.nodes?.(ports);
    return {
      url: image.url(ports),
      ...(nodes && { nodes }),
      provider: "containers",
      version,
      faults,
      capabilities: image.capabilities ?? {},
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
