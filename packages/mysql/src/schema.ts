import { InvalidArgumentError } from "@coord/core";
import type { Tables } from "./statements.ts";

export interface SchemaOptions {
  /** The tables are `<tablePrefix>_lease` and `<tablePrefix>_payload`. @default 'coord' */
  tablePrefix?: string | undefined;
}

const PREFIX = /^[A-Za-z_][A-Za-z0-9_]{0,39}$/;

export function tablesOf(options: SchemaOptions): Tables {
  const { tablePrefix = "coord" } = options;
  if (!PREFIX.test(tablePrefix)) {
    throw new InvalidArgumentError(
      `tablePrefix must match ${PREFIX.source}, got ${JSON.stringify(tablePrefix)}: it becomes a part of two table names.`,
    );
  }
  return { lease: `\`${tablePrefix}_lease\``, payload: `\`${tablePrefix}_payload\`` };
}

/**
 * Names are VARBINARY, so that nothing is folded, padded or collated; 704 bytes stay under InnoDB's lowest
 * limit of an index, 767. `payload_at`: 0 = none, 1 = in the row, 2 = in the other table.
 */
export function createTables({ lease, payload }: Tables): readonly string[] {
  return [
    `CREATE TABLE IF NOT EXISTS ${lease} (
  ns VARBINARY(64) NOT NULL,
  k VARBINARY(640) NOT NULL,
  fence BIGINT NOT NULL,
  last_fence BIGINT NOT NULL,
  grant_id VARBINARY(64) NOT NULL,
  expires_ms BIGINT NOT NULL,
  sealed TINYINT NOT NULL,
  retain_ms BIGINT NULL,
  purge_ms BIGINT NULL,
  holder VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  payload_seq BIGINT NOT NULL,
  payload_at TINYINT NOT NULL,
  payload VARBINARY(1024) NULL,
  PRIMARY KEY (ns, k),
  KEY by_purge (purge_ms)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC COMMENT='coord 1'`,
    `CREATE TABLE IF NOT EXISTS ${payload} (
  ns VARBINARY(64) NOT NULL,
  k VARBINARY(640) NOT NULL,
  payload LONGBLOB NOT NULL,
  PRIMARY KEY (ns, k)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC COMMENT='coord 1'`,
  ];
}

/** What `setup()` creates, for those who keep their schema in migrations of their own. */
export function schemaSql(options: SchemaOptions = {}): string {
  return `${createTables(tablesOf(options)).join(";\n")};\n`;
}
