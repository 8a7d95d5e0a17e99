import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Account } from "./account.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import { serve } from "./remote.ts";
import { bold, green, red, shortFence, timeline, yellow } from "./timeline.ts";
import type { Timeline } from "./timeline.ts";

export interface Scene {
  /** Where the leases are; `memory:` = in this process. */
  readonly url: string;
  readonly namespace: string;
  readonly ttlMs: number;
  readonly account: Account;
  readonly targets: Readonly<Record<string, (...args: never[]) => Promise<unknown>>>;
  readonly print: (line: string) => void;
}

const wakeAfterMs = 500;

interface Worker {
  readonly name: string;
  readonly process: ChildProcess;
  /** Resolves with the next message of that kind that was not taken yet. */
  next<Say extends FromWorker["say"]>(say: Say): Promise<Extract<FromWorker, { say: Say }>>;
  tell(message: ToWorker): void;
}

/** `fences` are those that the account has let in, by worker. */
function tellStory(line: Timeline, fences: Map<string, string>, name: string, message: FromWorker): void {
  switch (message.say) {
    case "acquired":
      fences.set(name, message.fence);
      line.at(name, `has the lease, fence ${shortFence(message.fence)}`);
      break;
    case "read":
      line.at(name, `reads the balance: ${message.balance}`);
      break;
    case "wrote":
      line.at(name, `writes the balance: ${message.balance}`, yellow);
      break;
    case "refused":
      line.at(name, `its write is refused: fence ${comparison(fences, name)}`, green);
      line.at(name, `  (${message.error})`, green);
      break;
    case "lost":
      line.at(name, `its lease was lost: ${message.error}`, green);
      break;
    case "started":
    case "ready":
    case "done":
    case "call":
      break;
  }
}

function comparison(fences: Map<string, string>, name: string): string {
  const own = fences.get(name) ?? "0";
  const newest = [...fences.values()].reduce((a, b) => (BigInt(a) > BigInt(b) ? a : b), own);
  return `${shortFence(own)} < ${shortFence(newest)}`;
}

function startWorker(name: string, scene: Scene, line: Timeline, fences: Map<string, string>): Worker {
  const child = fork(
    fileURLToPath(new URL("worker.ts", import.meta.url)),
    [scene.url, scene.namespace, String(scene.ttlMs)],
    { execArgv: ["--conditions=source", "--import", "tsx"], stdio: ["ignore", "inherit", "inherit", "ipc"] },
  );
  const heard: FromWorker[] = [];
  let hearing: (() => void)[] = [];
  child.on("message", (message: FromWorker) => {
    if (message.say === "call") {
      const { id, target, args } = message;
      serve(scene.targets, target, args).then(
        (value) => child.send({ do: "answer", id, value }),
        (error: unknown) => child.send({ do: "answer", id, error: String(error) }),
      );
      return;
    }
    tellStory(line, fences, name, message);
    heard.push(message);
    wakeAll();
  });
  child.once("exit", wakeAll);
  function wakeAll(): void {
    for (const wake of hearing) wake();
    hearing = [];
  }
  return {
    name,
    process: child,
    async next(say) {
      for (;;) {
        for (const [at, message] of heard.entries()) {
          if (!isSaying(message, say)) continue;
          heard.splice(at, 1);
          return message;
        }
        if (child.exitCode !== null || child.signalCode !== null)
          throw new Error(`${name} ended by itself (${child.exitCode ?? child.signalCode})`);
        await new Promise<void>((resolve) => void hearing.push(resolve));
      }
    },
    tell: (message) => void child.send(message),
  };
}

function isSaying<Say extends FromWorker["say"]>(
  message: FromWorker,
  say: Say,
): message is Extract<FromWorker, { say: Say }> {
  return message.say === say;
}

/** One deposit by each of two processes; the first stands still between its read and its write. */
async function act(scene: Scene, fenced: boolean): Promise<number> {
  const names = ["process A: +50", "process B: +30"];
  const line = timeline(names, scene.print);
  const fences = new Map<string, string>();
  const workers = names.map((name) => startWorker(name, scene, line, fences));
  const [a, b] = workers;
  if (a === undefined || b === undefined) throw new Error("two workers were started");
  try {
    await Promise.all(workers.map((worker) => worker.next("started")));
    a.tell({ do: "deposit", amount: 50, fenced });
    await a.next("ready");
    a.process.kill("SIGSTOP");
    line.at(a.name, `is about to write, but stands still (SIGSTOP)`, red);
    a.tell({ do: "write" });
    b.tell({ do: "deposit", amount: 30, fenced });
    line.at(b.name, `waits: A's lease lasts ${scene.ttlMs} ms`);
    await b.next("ready");
    b.tell({ do: "write" });
    await b.next("done");
    await new Promise((resolve) => void setTimeout(resolve, wakeAfterMs));
    line.at(a.name, "wakes up (SIGCONT) and does what it was about to do", red);
    a.process.kill("SIGCONT");
    const again = a.next("ready").then(() => a.tell({ do: "write" }));
    await Promise.race([a.next("done"), again.then(() => a.next("done"))]);
    return await scene.account.read();
  } finally {
    for (const worker of workers) {
      worker.process.kill("SIGCONT");
      if (worker.process.connected) worker.process.disconnect();
    }
    await Promise.all(workers.map(({ process: child }) => ended(child)));
  }
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    const kill = setTimeout(() => child.kill("SIGKILL"), 5000);
    child.once("exit", () => {
      clearTimeout(kill);
      resolve();
    });
  });
}

/** The two acts; answers the two balances. `reset` puts the account back to its start. */
export async function tell(
  scene: Scene,
  reset: () => Promise<Account>,
): Promise<{ unfenced: number; fenced: number }> {
  const { print } = scene;
  print("An account holds 100. Process A deposits 50 and process B deposits 30, each under the same lease:");
  print("read the balance, add, write. It should hold 180 afterwards.");
  print("");
  print(bold("1. A lease alone. While A stands still, its lease runs out, as it must: A might be dead."));
  const unfenced = await act({ ...scene, account: await reset() }, false);
  print(
    unfenced === 180
      ? green(`   The balance is ${unfenced}.`)
      : red(
          `   The balance is ${unfenced} and should be 180: B's 30 are gone. No lock service could have prevented it.`,
        ),
  );
  print("");
  print(
    bold("2. The same with a fence: each write carries the number of its lease, and the account refuses"),
  );
  print(bold("   one that is older than the last it has seen: UPDATE … WHERE fence <= $2"));
  const fenced = await act({ ...scene, account: await reset() }, true);
  print(
    fenced === 180
      ? green(`   The balance is ${fenced}: A was refused, noticed, and did its deposit anew.`)
      : red(`   The balance is ${fenced} and should be 180.`),
  );
  return { unfenced, fenced };
}
