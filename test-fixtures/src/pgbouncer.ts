import { writeFileSync } from "node:fs";
import { kit } from "./kit.ts";
import { startProgram } from "./native.ts";
import { probePostgres } from "./postgres.ts";
import { withoutRoot } from "./privileges.ts";
import type { Server } from "./server.ts";

export interface PgBouncerOptions {
  /** When a server connection goes back to the pool. @default "transaction" */
  readonly poolMode?: "session" | "transaction" | "statement";
  /** Further lines of the `[pgbouncer]` section, such as `{ default_pool_size: "2" }`. @default {} */
  readonly settings?: Readonly<Record<string, string>>;
}

const quote = (value: string): string => `'${decodeURIComponent(value).replaceAll("'", "''")}'`;

/** Starts PgBouncer in front of a PostgreSQL; everybody comes in, and all log in below as the user of the URL. */
export async function startPgBouncer(postgresUrl: string, options: PgBouncerOptions = {}): Promise<Server> {
  const folder = await kit("pgbouncer");
  const program = `${folder}/usr/sbin/pgbouncer`;
  const below = new URL(postgresUrl);
  const login = [
    ["host", below.hostname],
    ["port", below.port || "5432"],
    ["user", below.username],
    ["password", below.password],
  ] as const;
  const target = login.filter(([, value]) => value !== "").map(([name, value]) => `${name}=${quote(value)}`);
  const { port, version, faults, stop } = await startProgram({
    name: "pgbouncer",
    runAs: (data) => withoutRoot(program, data),
    command: (data, portNumber) => {
      const settings = {
        listen_addr: "127.0.0.1",
        listen_port: String(portNumber),
        unix_socket_dir: "",
        auth_type: "any",
        pool_mode: options.poolMode ?? "transaction",
        ...options.settings,
      };
      const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
      const text = ["[databases]", `* = ${target.join(" ")}`, "[pgbouncer]", ...lines, ""].join("\n");
      writeFileSync(`${data}/pgbouncer.ini`, text);
      return [program, `${data}/pgbouncer.ini`];
    },
    probe: probePostgres,
  });
  below.hostname = "127.0.0.1";
  below.port = String(port);
  return { url: below.href, provider: "native", version, faults, capabilities: {}, stop };
}
