import { createInterface } from "node:readline/promises";
import type { Writable } from "node:stream";
import { stripVTControlCharacters, styleText } from "node:util";
import { UsageError } from "./exit.ts";

type Style = "bold" | "dim" | "red" | "green" | "yellow" | "cyan";

/** Set by `--no-color`. */
let colorless = false;
export const noColors = (): void => {
  colorless = true;
};

/** Colours only on a terminal, and not where NO_COLOR, `--no-color` or a dumb terminal says otherwise. */
function hasColors(stream: NodeJS.WriteStream): boolean {
  const { NO_COLOR = "", TERM, FORCE_COLOR = "" } = process.env;
  if (colorless || NO_COLOR !== "" || TERM === "dumb") return false;
  return stream.isTTY || (FORCE_COLOR !== "" && FORCE_COLOR !== "0");
}

export function paint(style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return hasColors(stream) ? styleText(style, text, { validateStream: false }) : text;
}

/** Keys, holders and notes are other people's text: what would steer a terminal is shown as an escape. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what it looks for
  return text.replaceAll(/[\u0000-\u001F\u007F-\u009F\u202A-\u202E\u2066-\u2069]/g, (char) => {
    return `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`;
  });
}

export const print = (line: string): void => void process.stdout.write(`${line}\n`);

/** What is no result goes to standard error, with the name of the command, as mails of cron mix everything. */
export const say = (line: string): void => void process.stderr.write(`coord: ${line}\n`);

/** One value a line; a bigint as text, a date as ISO 8601. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => (typeof part === "bigint" ? String(part) : part));
}

export const printJson = (value: unknown): void => print(toJson(value));

const widthOf = (text: string): number => stripVTControlCharacters(text).length;

/** Columns as wide as their widest cell, two spaces between; never wider than `width`, where it is given. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  width: number = Number.POSITIVE_INFINITY,
): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => widthOf(row[column] ?? ""))));
  // The last column gives way first: it is the one for people.
  const fixed = widths.slice(0, -1).reduce((sum, each) => sum + each + 2, 0);
  const last = Math.max(8, Math.min(widths.at(-1) ?? 0, width - fixed));
  return all.map((row, index) => {
    const cells = row.map((cell, column) => {
      if (column === row.length - 1) return widthOf(cell) > last ? `${cell.slice(0, last - 1)}…` : cell;
      return cell + " ".repeat(Math.max(0, (widths[column] ?? 0) - widthOf(cell)));
    });
    const line = cells.join("  ").trimEnd();
    return index === 0 ? paint("bold", line) : line;
  });
}

/** Pairs under each other. */
export function pairs(entries: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...entries.map(([name]) => name.length));
  return entries.map(([name, value]) => `${paint("dim", name.padEnd(width))}  ${value}`);
}

/**
 * Asks on a terminal and goes on after a yes. Without a terminal there is nobody to ask, and what takes
 * something away is not done; `--yes` says it beforehand.
 */
export async function confirm(question: string, yes: boolean | undefined): Promise<void> {
  if (yes === true) return;
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UsageError(`${question} Nobody can be asked without a terminal: repeat it with --yes.`);
  }
  const ask = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await ask.question(`${question} [y/N] `);
    if (!/^y(es)?$/i.test(answer.trim())) throw new UsageError("Not confirmed: nothing was changed.");
  } finally {
    ask.close();
  }
}

export interface Progress {
  /** `done` of `total`, or only how many where the total is unknown. */
  at(done: number, total?: number): void;
  end(): void;
}

const redrawMs = 100;
const quietMs = 500;
const barWidth = 30;

/** A bar on standard error, only on a terminal and only for what lasts longer than half a second. */
export function progress(what: string, stream: Writable & { isTTY?: boolean } = process.stderr): Progress {
  const startedMs = performance.now();
  const shows = stream.isTTY === true && process.env["TERM"] !== "dumb";
  let shownMs = 0;
  return {
    at(done, total) {
      const nowMs = performance.now();
      if (!shows || nowMs - startedMs < quietMs || nowMs - shownMs < redrawMs) return;
      shownMs = nowMs;
      if (total === undefined) {
        stream.write(`\r\u001B[K${what} ${done}`);
        return;
      }
      const share = total === 0 ? 1 : Math.min(1, done / total);
      const full = Math.round(share * barWidth);
      const bar = "█".repeat(full) + "░".repeat(barWidth - full);
      stream.write(`\r\u001B[K${what} ${bar} ${Math.floor(share * 100)} %`);
    },
    end() {
      if (shownMs !== 0) stream.write("\r\u001B[K");
    },
  };
}
