/**
 * Starts three schedulers and keeps them up, as a process manager would. Commands: `k` kills the leader (-9),
 * `s` stops it for ten seconds, `t` ends it in order (SIGTERM), `q` quits.
 */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { openCoordinator } from "@coord/core";
import { start } from "@coord/test-fixtures";
import pg from "pg";

const restartMs = 5000;
const stopMs = 10_000;
const table = `
  CREATE TABLE IF NOT EXISTS job (
    name text PRIMARY KEY, every interval NOT NULL, next_at timestamptz NOT NULL DEFAULT now(),
    runs int NOT NULL DEFAULT 0, fence bigint NOT NULL DEFAULT 0
  );
  INSERT INTO job (name, every) VALUES ('send the mails', '1 second'), ('tidy up', '3 seconds')
    ON CONFLICT DO NOTHING`;

const server = process.env["COORD_URL"] === undefined ? await start("postgres") : undefined;
const url = server?.url ?? process.env["COORD_URL"];
const print = (who: string, text: string): void => console.log(`${who.padEnd(12)} ${text}`);

const client = new pg.Client({ connectionString: url });
await client.connect();
await client.query(table);
await client.end();
const coord = await openCoordinator({ url, namespace: "scheduler_example" });
await coord.setup();
const office = coord.elect("scheduler"); // Never started: it only looks on.

const processes = new Map<string, ChildProcess>();
let quitting = false;

function launch(name: string): void {
  const child = fork(fileURLToPath(new URL("scheduler.ts", import.meta.url)), [], {
    execArgv: ["--conditions=source", "--import", "tsx"],
    env: { ...process.env, COORD_URL: url },
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  processes.set(name, child);
  const { stdout } = child;
  if (stdout !== null)
    createInterface({ input: stdout }).on("line", (line) => print(`${name} ${child.pid}`, line));
  child.once("exit", (code, signal) => {
    print(`${name} ${child.pid}`, `is gone: ${signal ?? code}`);
    if (!quitting) setTimeout(() => quitting || launch(name), restartMs);
  });
}

/** The process that leads: of all that stand, the one whose lease is the election's. */
async function leader(): Promise<ChildProcess | undefined> {
  const leading = (await office.candidates()).find(({ state }) => state === "leader");
  return [...processes.values()].find(({ pid }) => pid === leading?.pid);
}

async function command(line: string): Promise<void> {
  if (line === "q") return quit();
  const signal = ({ k: "SIGKILL", s: "SIGSTOP", t: "SIGTERM" } as const)[line.trim()];
  const child = await leader();
  if (signal === undefined || child === undefined)
    return print("", child === undefined ? "nobody leads now" : "k, s, t or q");
  print("", `${signal} to ${child.pid}`);
  child.kill(signal);
  if (signal === "SIGSTOP") setTimeout(() => child.kill("SIGCONT"), stopMs).unref();
}

async function quit(): Promise<void> {
  if (quitting) return;
  quitting = true;
  input.close();
  process.stdin.destroy();
  const running = [...processes.values()].filter(
    ({ exitCode, signalCode }) => exitCode === null && signalCode === null,
  );
  const gone = running.map((child) => once(child, "exit"));
  for (const child of running) {
    child.kill("SIGCONT");
    child.kill("SIGTERM");
  }
  await Promise.all(gone);
  await coord.close();
  await server?.stop();
}

for (const name of ["red", "green", "blue"]) launch(name);
print("", "k = kill the leader, s = stop it for ten seconds, t = end it in order, q = quit");
const input = createInterface({ input: process.stdin });
input.on("line", (line) => void command(line).catch((error: unknown) => print("", String(error))));
input.on("close", () => void quit());
process.once("SIGINT", () => void quit());
process.once("SIGTERM", () => void quit());
