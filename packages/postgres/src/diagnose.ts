import type { Diagnosis, Finding } from "@coord/core";
import type { Row } from "./rows.ts";
import { layout, type Table } from "./schema.ts";
import { named, type Statement } from "./statements.ts";

const rights = ["SELECT", "INSERT", "UPDATE", "DELETE"];
const settings = [
  "server_version_num",
  "server_encoding",
  "transaction_isolation",
  "transaction_read_only",
  "synchronous_commit",
  "fsync",
  "full_page_writes",
];

/** $1 the table. One row; where the table is missing its columns are null. */
export function diagnoseStatement(): Statement {
  const text = `SELECT date_part('epoch', clock_timestamp()) * 1e6 AS now_us, pg_is_in_recovery() AS in_recovery,
  ${settings.map((name) => `current_setting('${name}', true) AS ${name}`).join(", ")},
  c.oid IS NOT NULL AS found, c.relpersistence::text AS persistence, obj_description(c.oid, 'pg_class') AS layout,
  ${rights.map((right) => `has_table_privilege(c.oid, '${right}') AS may_${right.toLowerCase()}`).join(", ")},
  (SELECT string_agg(a.attname, ', ') FROM pg_attribute a JOIN pg_collation k ON k.oid = a.attcollation
    WHERE a.attrelid = c.oid AND a.attname IN ('namespace', 'key', 'grant_id') AND k.collname <> 'C') AS folded
FROM (SELECT to_regclass($1::text) AS oid) r LEFT JOIN pg_class c ON c.oid = r.oid`;
  return named("diagnose", text);
}

/** What each observation means; push is told by the caller, who tried it. */
function findingsOf({ quoted }: Table, row: Row, push: Finding): Finding[] {
  const findings: Finding[] = [];
  const say = (level: Finding["level"], message: string, remedy?: string): void => {
    findings.push({ level, message, ...(remedy !== undefined && { remedy }) });
  };
  const check = (
    isFine: boolean,
    level: "warning" | "error",
    fine: string,
    bad: string,
    remedy: string,
  ): void => (isFine ? say("ok", fine) : say(level, bad, remedy));

  const version = Number(row["server_version_num"]);
  check(
    version >= 140_000,
    "error",
    `server version ${version}`,
    `server version ${version} is older than 14`,
    "use PostgreSQL 14 or later",
  );
  check(
    row["in_recovery"] === false,
    "error",
    "the server is a primary",
    "the server is a standby: it lags and can't write",
    "connect to the primary (`target_session_attrs=read-write` or its own address)",
  );
  check(
    row["transaction_read_only"] === "off",
    "error",
    "transactions may write",
    "transactions are read-only",
    "set default_transaction_read_only = off for this role or connect to the primary",
  );
  check(
    row["transaction_isolation"] === "read committed",
    "warning",
    "isolation is read committed",
    `the default isolation is ${String(row["transaction_isolation"])}: a lost race becomes an error that is tried again`,
    "ALTER ROLE … SET default_transaction_isolation = 'read committed'",
  );
  check(
    row["server_encoding"] === "UTF8",
    "error",
    "the encoding is UTF8",
    `the encoding is ${String(row["server_encoding"])}: it can't hold every key and payload`,
    "use a database with ENCODING 'UTF8'",
  );
  check(
    row["fsync"] === "on" && row["full_page_writes"] === "on",
    "warning",
    "fsync and full_page_writes are on",
    "fsync or full_page_writes is off: a crash of the machine can lose grants and fences",
    "set fsync = on and full_page_writes = on",
  );
  check(
    row["synchronous_commit"] !== "off",
    "error",
    `synchronous_commit is ${String(row["synchronous_commit"])}`,
    "synchronous_commit is off: a crash of the server can lose a grant that was answered",
    "ALTER ROLE … SET synchronous_commit = on",
  );
  if (row["found"] !== true) {
    say(
      "error",
      `the table ${quoted} does not exist`,
      "run `await coord.setup()` or the text of `schemaSql()`",
    );
    return [...findings, push];
  }
  check(
    row["layout"] === layout,
    "error",
    `the table is "${layout}"`,
    `the comment of ${quoted} is ${JSON.stringify(row["layout"])}, not "${layout}"`,
    `if the table is ours and only lost its comment: COMMENT ON TABLE ${quoted} IS '${layout}'`,
  );
  check(
    row["persistence"] === "p",
    "error",
    "the table is logged",
    `${quoted} is UNLOGGED or temporary: a crash empties it, and every lease is granted again`,
    `ALTER TABLE ${quoted} SET LOGGED`,
  );
  check(
    row["folded"] === null,
    "error",
    "names are compared by bytes",
    `columns with another collation than "C": ${String(row["folded"])}; names may be folded or ordered otherwise`,
    `ALTER TABLE ${quoted} ALTER COLUMN … TYPE text COLLATE "C"`,
  );
  const missing = rights.filter((right) => row[`may_${right.toLowerCase()}`] !== true);
  const needed = missing.filter((right) => right !== "DELETE");
  check(
    missing.length === 0,
    needed.length > 0 ? "error" : "warning",
    "the role has the rights it needs",
    `the role may not ${missing.join(", ")} on ${quoted}${needed.length === 0 ? ", which only clean-up needs" : ""}`,
    `GRANT ${missing.join(", ")} ON ${quoted} TO …`,
  );
  return [...findings, push];
}

/** The diagnosis of one row, read between two looks at this host's clock. */
export function diagnosisOf(
  table: Table,
  row: Row,
  push: Finding,
  clock: { readonly beforeMs: number; readonly afterMs: number },
): Diagnosis {
  return {
    findings: findingsOf(table, row, push),
    clock: { storeMs: Number(row["now_us"]) / 1000, ...clock },
  };
}
