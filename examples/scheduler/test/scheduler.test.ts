import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, it, onTestFailed, onTestFinished } from "vitest";

const root = join(import.meta.dirname, "../../..");
const main = join(import.meta.dirname, "../src/main.ts");

/** The example as `npm start` runs it, with what it has printed so far. */
function startExample() {
  const child = spawn(process.execPath, ["--conditions=source", "--import", "tsx", main], {
    cwd: root,
    env: { ...process.env, COORD_URL: undefined },
    stdio: ["pipe", "pipe", "inherit"],
  });
  onTestFinished(() => void child.kill("SIGTERM"));
  onTestFailed(() => console.error(lines.join("\n")));
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line);
    for (const look of waiting) look();
  });
  /** The first line from `from` on that matches. */
  const line = (pattern: RegExp, from = 0): Promise<{ at: number; name: string; pid: number }> =>
    new Promise((resolve) => {
      const look = (): void => {
        const at = lines.findIndex((each, i) => i >= from && pattern.test(each));
        if (at === -1) return;
        waiting.delete(look);
        const [name = "", pid] = lines[at]?.split(" ") ?? [];
        resolve({ at, name, pid: Number(pid) });
      };
      waiting.add(look);
      look();
    });
  return { child, lines, line, exited: once(child, "exit") };
}

it(
  "goes on in another process when the leader is killed, and when it is ended in order",
  {
    timeout: 40_000,
  },
  async () => {
    const { child, lines, line, exited } = startExample();
    const first = await line(/leads now/);
    for (const name of ["red", "green", "blue"]) await line(new RegExp(`^${name}.*stands by`));
    const ran = await line(/runs send the mails/, first.at);
    child.stdin.write("k\n");
    const second = await line(/leads now/, ran.at);
    // One that was started again may win as well.
    expect(second.pid).not.toBe(first.pid);
    const ranAgain = await line(/runs send the mails/, second.at);
    child.stdin.write("t\n");
    const third = await line(/leads now/, ranAgain.at);
    expect(third.pid).not.toBe(second.pid);
    await line(/runs send the mails/, third.at);
    await line(new RegExp(`^${first.name}.*stands by`), ran.at);
    child.stdin.write("q\n");
    expect(await exited).toEqual([0, null]);
    const numbers = lines
      .flatMap((each) => /runs send the mails, number (\d+)/.exec(each)?.[1] ?? [])
      .map(Number);
    expect(numbers).toEqual([...new Set(numbers)].toSorted((a, b) => a - b));
  },
);
