import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import type { LeaseInfo } from "@coord/core";
import { isCoordError } from "@coord/core";
import { setTimeout as sleep } from "node:timers/promises";
import { durationMs } from "../duration.ts";
import { onInterrupt } from "../interrupt.ts";
import { leaseHead, leaseRow } from "../lease-text.ts";
import type { Store } from "../store.ts";
import { paint, print, printJson, table } from "../terminal.ts";
import { storeVerb, withStore } from "../verb.ts";
import { kindOption, type kinds } from "./ls.ts";

const minIntervalMs = 100;
const defaultIntervalMs = 1000;
/** The alternate screen, so that the terminal looks as before when it is left; no cursor meanwhile. */
const enter = "\u001B[?1049h\u001B[?25l";
const leave = "\u001B[?25h\u001B[?1049l";

interface WatchOptions {
  readonly prefix: string;
  readonly kind: (typeof kinds)[number];
  readonly all?: boolean | undefined;
  readonly json?: boolean | undefined;
}

async function read({ coord }: Store, { prefix, kind, all }: WatchOptions): Promise<LeaseInfo[]> {
  const found: LeaseInfo[] = [];
  for await (const lease of coord.list({ prefix, kind, state: all === true ? undefined : "held" }))
    found.push(lease);
  return found;
}

function draw(store: Store, leases: readonly LeaseInfo[], problem: string | undefined): void {
  // A terminal that does not know its size says 0.
  const columns = process.stdout.columns || 80;
  const rows = process.stdout.rows || 24;
  const title = `${paint("bold", "coord watch")}  ${store.coord.namespace} on ${store.url}  ${new Date().toISOString().slice(11, 19)} UTC`;
  const lines = table(leaseHead, leases.map(leaseRow), columns);
  const room = Math.max(1, rows - 4);
  const shown = lines.slice(0, room);
  if (lines.length > room) shown.push(paint("dim", `… and ${lines.length - room} more`));
  if (leases.length === 0 && problem === undefined) shown.push(paint("dim", "nothing is held"));
  if (problem !== undefined) shown.push(paint("red", problem.slice(0, columns)));
  // Each line is cleared to its end, so that the screen does not flicker.
  const screen = [title, "", ...shown].map((line) => `${line}\u001B[K`).join("\r\n");
  process.stdout.write(`\u001B[H${screen}\u001B[J`);
}

/** Without a terminal: a line for each change, as a log wants it. */
function changes(before: ReadonlyMap<string, LeaseInfo>, now: readonly LeaseInfo[], json: boolean): void {
  const at = new Date().toISOString();
  const tell = (change: "held" | "ended", { key, fence, holder }: LeaseInfo): void => {
    if (json) printJson({ at, change, key, fence, holder });
    else print(`${at} ${change} ${key} fence ${fence} ${holder}`);
  };
  for (const lease of now) if (before.get(lease.key)?.fence !== lease.fence) tell("held", lease);
  const keys = new Set(now.map(({ key }) => key));
  for (const lease of before.values()) if (!keys.has(lease.key)) tell("ended", lease);
}

async function watch(store: Store, options: WatchOptions, intervalMs: number): Promise<void> {
  const live = process.stdout.isTTY && options.json !== true;
  const interrupt = onInterrupt();
  let quit = false;
  const onKey = (key: Buffer): void => {
    quit = key.includes("q") || key.includes("\u0003");
    if (quit) pause.abort();
  };
  let pause = new AbortController();
  let before: ReadonlyMap<string, LeaseInfo> = new Map();
  let leases: LeaseInfo[] = [];
  if (live) {
    process.stdout.write(enter);
    process.stdin.setRawMode?.(true);
    process.stdin.on("data", onKey);
  }
  try {
    for (;;) {
      let problem: string | undefined;
      try {
        leases = await read(store, options);
        if (!live) {
          changes(before, leases, options.json === true);
          before = new Map(leases.map((lease) => [lease.key, lease]));
        }
      } catch (error) {
        // The store may come back; what was seen last stays on the screen.
        if (!live || !isCoordError(error, "COORD_UNAVAILABLE")) throw error;
        problem = `The store can't be reached: ${error.message}`;
      }
      if (live) draw(store, leases, problem);
      if (quit || interrupt.signal.aborted) return;
      pause = new AbortController();
      const signal = AbortSignal.any([pause.signal, interrupt.signal]);
      await sleep(intervalMs, undefined, { signal }).catch(() => undefined);
      if (quit || interrupt.signal.aborted) return;
    }
  } finally {
    interrupt.dispose();
    if (live) {
      process.stdin.off("data", onKey);
      process.stdin.setRawMode?.(false);
      process.stdin.pause();
      process.stdout.write(leave);
    }
  }
}

export const watchVerb = (): CommandUnknownOpts =>
  storeVerb("watch", "a live table of what is held", [
    "coord watch                         # q ends it",
    "coord watch --prefix invoice: --interval 500ms",
    "coord watch --json >> leases.log    # without a terminal, or with --json: a line for each change",
  ])
    .option("--prefix <text>", "keys that begin with it", "")
    .option("--all", "free and lapsed ones too")
    .option("--interval <time>", "how often it looks, from 100ms (default: 1s)", durationMs)
    .addOption(kindOption)
    .action(async (options) => {
      const intervalMs = Math.max(minIntervalMs, options.interval ?? defaultIntervalMs);
      await withStore(options, (store) => watch(store, options, intervalMs));
    });
