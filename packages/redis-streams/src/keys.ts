import type { Name } from "@coord/core";

/** The keys of one partition of one namespace; they share a hash tag, hence a slot of a cluster. */
export interface Partition {
  readonly namespace: string;
  readonly index: number;
  /** What every record's key starts with; the name's key follows as it is. */
  readonly records: string;
  readonly names: string;
  waiters(key: string): string;
  reader(id: string): string;
}

/** FNV-1a, 32 bits, of the UTF-8 bytes. Part of the layout: another hash would find other records. */
export function partitionOf(key: string, partitions: number): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(key)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0) % partitions;
}

/** The braces of the tag come first, so braces in a name's key do no harm. */
export function partition(namespace: string, index: number): Partition {
  const tag = `coord:{${namespace}:${index}}:`;
  return {
    namespace,
    index,
    records: `${tag}l:`,
    names: `${tag}idx`,
    waiters: (key) => `${tag}w:${key}`,
    reader: (id) => `${tag}r:${id}`,
  };
}

/** Where a namespace says how it is laid out. */
export function layoutKey(namespace: string): string {
  return `coord:{${namespace}:meta}`;
}

export function partitionOfName(name: Name, partitions: number): Partition {
  return partition(name.namespace, partitionOf(name.key, partitions));
}

/** The slot of a cluster that a key belongs to: CRC16 (XMODEM) of its hash tag, else of all of it, of 16384. */
export function slotOfKey(key: string): number {
  const open = key.indexOf("{");
  const close = open < 0 ? -1 : key.indexOf("}", open);
  let crc = 0;
  for (const byte of Buffer.from(close > open + 1 ? key.slice(open + 1, close) : key)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  }
  return crc & 0x3fff;
}
