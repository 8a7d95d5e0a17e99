import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { startContainer } from "./containers.ts";
import { kit } from "./kit.ts";
import { type RunningProgram, startProgram } from "./native.ts";
import { postgresCommand, probePostgres } from "./postgres.ts";
import { withoutRoot } from "./privileges.ts";
import { exchange } from "./probe.ts";
import type { Server } from "./server.ts";

/** MongoDB has nothing to choose yet. */
export type MongodbOptions = Readonly<Record<string, never>>;

/** `{ buildInfo: 1, $db: "admin" }` as an OP_MSG. */
const buildInfo = ((): Buffer => {
  const fields = Buffer.from("\u0010buildInfo\0\u0001\0\0\0\u0002$db\0\u0006\0\0\0admin\0\0", "latin1");
  const message = Buffer.alloc(25 + fields.length);
  message.writeInt32LE(message.length, 0);
  message.writeInt32LE(2013, 12);
  message.writeInt32LE(4 + fields.length, 21);
  fields.copy(message, 25);
  return message;
})();

const isWhole = (bytes: Buffer): boolean => bytes.length >= 4 && bytes.length >= bytes.readInt32LE(0);

/** Asks for the version of MongoDB that the server is, or stands in for. */
async function probeMongodb(port: number, host = "127.0.0.1"): Promise<string | undefined> {
  const reply = await exchange({ host, port }, buildInfo, isWhole);
  return /version\0.{4}([\d.]+)/s.exec(reply?.toString("latin1") ?? "")?.[1];
}

const settings = {
  "cron.database_name": "postgres",
  // Its jobs, the TTL sweeper among them, would dial the port that the data folder was made with.
  "cron.use_background_workers": "on",
  shared_preload_libraries: "pg_cron,pg_documentdb_core,pg_documentdb",
};

const startDocumentdb = (folder: string): Promise<RunningProgram> => {
  const postgres = `${folder}/usr/lib/postgresql/18/bin/postgres`;
  return startProgram({
    name: "documentdb",
    runAs: (data) => withoutRoot(postgres, data),
    prepare: async (data, runAs) => {
      const [command, ...args] = [...runAs, "cp"];
      await promisify(execFile)(command, [
        ...args,
        "-r",
        "--preserve=mode",
        `${folder}/data/documentdb`,
        `${data}/data`,
      ]);
    },
    command: (data, port) => postgresCommand(postgres, data, port, settings),
    probe: probePostgres,
    stopSignal: "SIGQUIT",
  });
};

const startFerretdb = (folder: string, documentdbPort: number): Promise<RunningProgram> =>
  startProgram({
    name: "ferretdb",
    command: (data, port) => [
      `${folder}/ferretdb`,
      `--listen-addr=127.0.0.1:${port}`,
      `--postgresql-url=postgres://postgres@127.0.0.1:${documentdbPort}/postgres`,
      `--state-dir=${data}`,
      "--no-auth",
      "--telemetry=disable",
      "--debug-addr=-",
    ],
    probe: probeMongodb,
  });

/** Starts FerretDB over DocumentDB from the kit: the protocol and the commands, but neither replica set nor clock of one. */
export async function startNativeMongodb(): Promise<Server> {
  const folder = await kit("ferretdb");
  const below = await startDocumentdb(folder);
  const front = await startFerretdb(folder, below.port).catch(async (error: unknown) => {
    await below.stop();
    throw error;
  });
  const kill = async (): Promise<void> => {
    await front.faults.kill();
    await below.faults.kill();
  };
  return {
    url: `mongodb://127.0.0.1:${front.port}/coord`,
    provider: "native",
    version: front.version,
    faults: {
      pause: async () => {
        await front.faults.pause();
        await below.faults.pause();
      },
      resume: async () => {
        await below.faults.resume();
        await front.faults.resume();
      },
      kill,
      restart: async () => {
        await kill();
        await below.faults.restart();
        await front.faults.restart();
      },
    },
    capabilities: { replicaSet: false },
    stop: async () => {
      await front.stop();
      await below.stop();
    },
  };
}

/** Starts the official image as a replica set of one; its port is the same inside, for it tells clients its address. */
export function startContainerMongodb(): Promise<Server> {
  return startContainer({
    name: "mongo:8",
    command: ([port]) => ["mongod", "--replSet", "rs0", "--bind_ip_all", "--port", String(port)],
    probe: probeMongodb,
    prepare: async (container, [port]) => {
      const members = `[{ _id: 0, host: "127.0.0.1:${port}" }]`;
      const orders = `rs.initiate({ _id: "rs0", members: ${members} }); while (!db.hello().isWritablePrimary) sleep(50);`;
      const { exitCode, output } = await container.exec([
        "mongosh",
        "--quiet",
        "--port",
        String(port),
        "--eval",
        orders,
      ]);
      if (exitCode !== 0) throw new Error(`the replica set could not be initiated: ${output}`);
    },
    url: ([port]) => `mongodb://127.0.0.1:${port}/coord?replicaSet=rs0`,
    capabilities: { replicaSet: true },
  });
}
