import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { startContainer } from "./containers.ts";
import { kit } from "./kit.ts";
import { startProgram } from "./native.ts";
import { exchange } from "./probe.ts";
import type { Server } from "./server.ts";

export interface MysqlOptions {
  /** @default "mysql" */
  readonly flavor?: "mysql" | "mariadb";
  /** Server settings, such as `{ innodb_lock_wait_timeout: "2" }`. @default {} */
  readonly settings?: Readonly<Record<string, string>>;
}

/** Reads the greeting, which a server sends first and only once it accepts sessions. */
async function probeMysql(port: number, host = "127.0.0.1"): Promise<string | undefined> {
  const greeting = await exchange({ host, port }, "", (bytes) => bytes.includes(0, 5));
  // MariaDB pretends to be 5.5.5 to old clients.
  return /^.{4}\n(?:5\.5\.5-)?([\d.]+)/s.exec(greeting?.toString("latin1") ?? "")?.[1];
}

const flavors = {
  mysql: {
    image: "mysql:9",
    environment: { MYSQL_ALLOW_EMPTY_PASSWORD: "yes", MYSQL_DATABASE: "coord" },
    program: "usr/sbin/mysqld",
    messages: "usr/share/mysql",
    settings: {
      "innodb-redo-log-capacity": "64M",
      mysqlx: "OFF",
      "skip-log-bin": "ON",
      "secure-file-priv": "NULL",
      "plugin-dir": "usr/lib/mysql/plugin",
    },
  },
  mariadb: {
    image: "mariadb:11.8",
    environment: { MARIADB_ALLOW_EMPTY_ROOT_PASSWORD: "yes", MARIADB_DATABASE: "coord" },
    program: "usr/sbin/mariadbd",
    messages: "usr/share/mariadb",
    settings: { "innodb-log-file-size": "16M", "plugin-dir": "usr/lib/mysql/plugin" },
  },
};

const commonSettings = {
  "skip-name-resolve": "ON",
  "performance-schema": "OFF",
  "innodb-buffer-pool-size": "32M",
  // 1 would wait for the disk at each commit; with 0, kill -9 would lose some.
  "innodb-flush-log-at-trx-commit": "2",
};

const settingWords = (settings: Readonly<Record<string, string>>): string[] =>
  Object.entries(settings).map(([name, value]) => `--${name}=${value}`);

const urlAt = (port: number | undefined): string => `mysql://root@127.0.0.1:${port}/coord`;

// No password, as in the other servers of the kit; names are not resolved, so the address has an account of its own.
const accounts = `
create database if not exists coord;
create user if not exists root@'127.0.0.1';
grant all privileges on *.* to root@'127.0.0.1' with grant option;
`;

/** Starts MySQL or MariaDB from the kit. */
export async function startNativeMysql({ flavor = "mysql", settings }: MysqlOptions): Promise<Server> {
  const folder = await kit(flavor);
  const { program, messages, settings: own } = flavors[flavor];
  const all: Record<string, string> = {
    ...commonSettings,
    basedir: `${folder}/usr`,
    "lc-messages-dir": `${folder}/${messages}`,
    "bind-address": "127.0.0.1",
    ...own,
    "plugin-dir": `${folder}/${own["plugin-dir"]}`,
    ...settings,
  };
  const { port, version, faults, stop } = await startProgram({
    name: flavor,
    prepare: async (data) => {
      await promisify(execFile)("cp", ["-a", `${folder}/data/${flavor}`, `${data}/data`]);
      writeFileSync(`${data}/accounts.sql`, accounts);
    },
    command: (data, portNumber) => [
      `${folder}/${program}`,
      "--no-defaults",
      ...(process.getuid?.() === 0 ? ["--user=root"] : []),
      `--port=${portNumber}`,
      `--datadir=${data}/data`,
      `--socket=${data}/socket`,
      `--pid-file=${data}/pid`,
      `--init-file=${data}/accounts.sql`,
      ...settingWords(all),
    ],
    probe: probeMysql,
  });
  return {
    url: urlAt(port),
    provider: "native",
    version,
    faults,
    capabilities: {},
    stop,
  };
}

/** Starts the official image. */
export function startContainerMysql({ flavor = "mysql", settings }: MysqlOptions): Promise<Server> {
  const { image, environment } = flavors[flavor];
  return startContainer({
    name: image,
    port: 3306,
    environment,
    command: () => settingWords({ ...commonSettings, ...settings }),
    probe: probeMysql,
    url: ([port]) => urlAt(port),
  });
}
