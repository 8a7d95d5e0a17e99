/** What the backend relies on, checked on the live server. */
import type { CallOptions, Diagnosis, Finding } from "@coord/core";
import { integer } from "./driver.ts";
import { createTables } from "./schema.ts";
import type { RunStep, Session } from "./sessions.ts";
import { NOW_US } from "./statements.ts";
import type { Tables } from "./statements.ts";
import type { Wake } from "./wake.ts";

const VARIABLES = [
  "version",
  "innodb_flush_log_at_trx_commit",
  "log_bin",
  "sync_binlog",
  "binlog_format",
  "read_only",
  "wsrep_on",
  "wsrep_sync_wait",
  "max_allowed_packet",
  "innodb_lock_wait_timeout",
];

/** Twice the largest payload, as it travels in hexadecimal digits, and the rest of the statement. */
const MIN_PACKET_BYTES = 1024 * 1024;
const LONG_LOCK_WAIT_S = 5;

type Settings = ReadonlyMap<string, string>;

const ok = (message: string): Finding => ({ level: "ok", message });
const warning = (message: string, remedy: string): Finding => ({ level: "warning", message, remedy });
const error = (message: string, remedy: string): Finding => ({ level: "error", message, remedy });

export function createDiagnose(
  run: RunStep,
  tables: Tables,
  wake: Wake | undefined,
): (options: CallOptions) => Promise<Diagnosis> {
  const names = [tables.lease, tables.payload].map((table) => table.replaceAll("`", ""));

  return async (options) => {
    const { findings, clock } = await run(options, async (session) => {
      const clockFirst = await readClock(session);
      const settings = await readSettings(session);
      const found = [
        ...version(settings),
        ...durability(settings),
        ...replication(settings),
        ...limits(settings),
        ...(await checkTables(session, names, tables)),
        ...clockFirst.findings,
      ];
      return { findings: found, clock: clockFirst.clock };
    });
    return { findings: [...findings, await waking(wake)], clock };
  };
}

async function readClock(session: Session): Promise<Diagnosis> {
  const beforeMs = Date.now();
  const [row = {}] = await session.read(
    `SELECT ${NOW_US} AS now_us,TIMESTAMPDIFF(SECOND,NOW(6),SYSDATE(6)) AS behind`,
    [],
  );
  const afterMs = Date.now();
  const clock = { storeMs: Number(integer(row, "now_us") / 1000n), beforeMs, afterMs };
  const behind = Number(integer(row, "behind"));
  const frozen = error(
    `The session's clock is ${behind} s behind the server's: SET timestamp was used on a connection of the pool.`,
    "Don't set timestamp on connections that coord gets.",
  );
  return {
    clock,
    findings: Math.abs(behind) > 1 ? [frozen] : [ok("The clock of the sessions is the server's.")],
  };
}

async function readSettings(session: Session): Promise<Settings> {
  const rows = await session.read(
    `SHOW VARIABLES WHERE Variable_name IN (${VARIABLES.map((name) => `'${name}'`).join(",")})`,
    [],
  );
  return new Map(rows.map((row) => [String(row["Variable_name"]), String(row["Value"])]));
}

function version(settings: Settings): Finding[] {
  const text = settings.get("version") ?? "";
  const [major = 0, minor = 0] = text.split(".").map((part) => Number.parseInt(part, 10));
  const isMariadb = /mariadb/i.test(text);
  const isOld = isMariadb ? major < 10 || (major === 10 && minor < 6) : major < 8;
  if (!isOld) return [ok(`The server is ${isMariadb ? "MariaDB" : "MySQL"} ${text}.`)];
  return [error(`The server is ${text}, which has no SKIP LOCKED.`, "Use MySQL 8.0+ or MariaDB 10.6+.")];
}

function durability(settings: Settings): Finding[] {
  const findings: Finding[] = [];
  const flush = settings.get("innodb_flush_log_at_trx_commit");
  if (flush !== "1") {
    findings.push(
      warning(
        `innodb_flush_log_at_trx_commit is ${flush}: a crash of the machine may forget the last second of grants.`,
        "Set it to 1.",
      ),
    );
  }
  if (settings.get("log_bin") === "ON" && settings.get("sync_binlog") !== "1") {
    findings.push(
      warning(
        `sync_binlog is ${settings.get("sync_binlog")}: after a crash the binary log may lack grants that were answered.`,
        "Set it to 1 (the default of MySQL, not of MariaDB).",
      ),
    );
  }
  return findings.length > 0 ? findings : [ok("Commits are flushed before they are answered.")];
}

function replication(settings: Settings): Finding[] {
  const findings: Finding[] = [];
  const readOnly = settings.get("read_only") ?? "OFF";
  if (readOnly !== "OFF" && readOnly !== "0") {
    findings.push(
      error("The server is read-only: it is a replica, or being failed over.", "Use the primary."),
    );
  }
  if (settings.get("log_bin") === "ON" && settings.get("binlog_format") === "STATEMENT") {
    findings.push(
      error("binlog_format is STATEMENT, which can't carry these steps.", "Set it to ROW or MIXED."),
    );
  }
  if (settings.get("wsrep_on") === "ON" && (Number(settings.get("wsrep_sync_wait")) & 1) === 0) {
    findings.push(
      error(
        "This is a Galera cluster and wsrep_sync_wait is off, so another node's answer may be old.",
        "Send coord to one node, or set wsrep_sync_wait to 1.",
      ),
    );
  }
  return findings;
}

function limits(settings: Settings): Finding[] {
  const findings: Finding[] = [];
  const packet = Number(settings.get("max_allowed_packet"));
  if (packet < MIN_PACKET_BYTES) {
    findings.push(
      warning(
        `max_allowed_packet is ${packet} bytes: large payloads will be refused.`,
        `Set it to ${MIN_PACKET_BYTES} or more.`,
      ),
    );
  }
  const wait = Number(settings.get("innodb_lock_wait_timeout"));
  if (wait > LONG_LOCK_WAIT_S) {
    findings.push(
      warning(
        `innodb_lock_wait_timeout is ${wait} s in the pool's sessions: a step that meets a locked record keeps its connection that long.`,
        "Set it to 1 to 5 s for the sessions of the pool, or give coord a pool of its own.",
      ),
    );
  }
  return findings;
}

async function checkTables(session: Session, names: readonly string[], tables: Tables): Promise<Finding[]> {
  const rows = await session.read(
    "SELECT TABLE_NAME AS name,ENGINE AS engine,TABLE_COMMENT AS comment FROM information_schema.TABLES WHERE TABLE_SCHEMA=DATABASE() AND TABLE_NAME IN (?,?)",
    names.map((name) => Buffer.from(name)),
  );
  const found = new Map(rows.map((row) => [String(row["name"]), row]));
  return names.map((name) => {
    const row = found.get(name);
    if (row === undefined) return error(`The table ${name} is missing.`, "Run `await coord.setup()`.");
    if (String(row["engine"]) !== "InnoDB") {
      return error(
        `The table ${name} has the engine ${String(row["engine"])}, which has no transactions.`,
        `ALTER TABLE ${name} ENGINE=InnoDB`,
      );
    }
    return createTables(tables).some((ddl) => ddl.includes(`COMMENT='${String(row["comment"])}'`))
      ? ok(`The table ${name} is there.`)
      : warning(`The table ${name} was not made by this version of coord.`, "Compare it with schemaSql().");
  });
}

async function waking(wake: Wake | undefined): Promise<Finding> {
  if (wake === undefined) {
    return warning("Wake-ups are turned off: waiters poll.", "Leave out `wake: false` for wake-ups.");
  }
  const why = await wake
    .whyNot()
    .catch((reason: unknown) =>
      reason instanceof Error ? `they could not be tried (${reason.message})` : "they could not be tried",
    );
  if (why === undefined) return ok("Named locks work: a release wakes a waiter.");
  return warning(
    `No wake-ups by named locks: ${why}. Waiters poll.`,
    "Connect coord to one server directly, give `wake: { connect }`, or accept polling.",
  );
}
