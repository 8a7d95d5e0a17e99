import { InvalidArgumentError } from "@coord/core";

export interface TableOptions {
  /** Schema of the table; `setup` makes it if it is missing. 1 to 63 bytes. @default 'coord' */
  readonly schema?: string | undefined;
  /** The table's name. 1 to 63 bytes. @default 'lease' */
  readonly table?: string | undefined;
}

export interface Table {
  readonly schema: string;
  readonly table: string;
  /** Quoted and qualified, as it stands in statements. */
  readonly quoted: string;
}

/** The table's comment: it tells our table from another one, and this layout from a later one. */
export const layout = "coord lease table, layout 1";

/** Text as a literal that holds whatever `standard_conforming_strings` says. */
const literal = (text: string): string =>
  `${text.includes("\\") ? " E" : ""}'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
const identifier = (text: string): string => `"${text.replaceAll('"', '""')}"`;

function checkIdentifier(option: string, value: unknown): string {
  const isName = typeof value === "string" && value !== "" && Buffer.byteLength(value) <= 63;
  // Quotes are fine, they are doubled; PostgreSQL would cut a longer name and cannot store U+0000.
  if (isName && !/[\0\p{Surrogate}]/u.test(value)) return value;
  const shown = JSON.stringify(value)?.slice(0, 100);
  throw new InvalidArgumentError(
    `${option} must be a PostgreSQL name of 1 to 63 bytes without U+0000, got ${shown}; leave it out for the default`,
  );
}

export function tableOf(options: TableOptions): Table {
  const schema = checkIdentifier("schema", options.schema ?? "coord");
  const table = checkIdentifier("table", options.table ?? "lease");
  return { schema, table, quoted: `${identifier(schema)}.${identifier(table)}` };
}

const createTable = ({ quoted }: Table): string => `CREATE TABLE ${quoted} (
  namespace text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  fence bigint NOT NULL,
  expires_at timestamptz NOT NULL, -- 'epoch' = released
  retain_ms bigint, -- NULL = keep for ever
  purge_at timestamptz, -- NULL = never
  purge_hour timestamptz GENERATED ALWAYS AS (date_bin('1 hour', purge_at, timestamptz 'epoch')) STORED,
  wanted_until timestamptz, -- somebody waits: a release notifies
  payload_seq bigint NOT NULL,
  sealed boolean NOT NULL,
  grant_id text COLLATE "C" NOT NULL, -- kept after release: tells a repeat
  holder text NOT NULL,
  payload text,
  PRIMARY KEY (namespace, key)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01)`;
// No index on a column that a renewal changes, else updates would not stay in their page (HOT); hence the hour.
const createIndex = ({ quoted }: Table): string =>
  `CREATE INDEX ON ${quoted} (purge_hour) WHERE purge_hour IS NOT NULL`;
const comment = ({ quoted }: Table): string => `COMMENT ON TABLE ${quoted} IS ${literal(layout)}`;

/** The table's DDL for your own migrations; `setup()` does the same. Throws `InvalidArgumentError` for a bad name. */
export function schemaSql(options: TableOptions = {}): string {
  const table = tableOf(options);
  const createSchema = `CREATE SCHEMA IF NOT EXISTS ${identifier(table.schema)}`;
  return [createSchema, createTable(table), createIndex(table), comment(table), ""].join(";\n");
}

/** One statement, so one transaction and good for any driver; 20 at once queue at the lock and find it done. */
export function setupSql(table: Table): string {
  const body = `BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(${literal(`coord ${table.quoted}`)}, 0));
  IF to_regnamespace(${literal(identifier(table.schema))}) IS NULL THEN
    CREATE SCHEMA ${identifier(table.schema)};
  END IF;
  IF to_regclass(${literal(table.quoted)}) IS NULL THEN
    ${createTable(table)};
    ${createIndex(table)};
    ${comment(table)};
  END IF;
END`;
  // A literal, for a name may contain whatever closes a dollar quote.
  return `DO ${literal(body)}`;
}
