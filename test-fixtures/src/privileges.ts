import { spawnSync } from "node:child_process";
import { chownSync } from "node:fs";
import { FixtureMissing } from "./server.ts";

const nobody = 65_534;
const isRoot = process.getuid?.() === 0;

const works = (command: string, ...args: string[]): boolean =>
  spawnSync(command, args, { stdio: "ignore" }).status === 0;

let tiesToParent: boolean | undefined;

/** Has the kernel kill the server when the thread that spawned it ends, however it ends; Linux only. */
export function tiedToParent(): string[] {
  tiesToParent ??= process.platform === "linux" && works("setpriv", "--pdeathsig", "KILL", "true");
  return tiesToParent ? ["setpriv", "--pdeathsig", "KILL"] : [];
}

/**
 * The words to put before a program that refuses to run as root; none for an ordinary user.
 *
 * `nobody` serves where it can enter both the program's folder and the data folder, which then belongs to it. Where
 * it cannot, such as below root's home, a user namespace lets the program see itself as `nobody` on root's files.
 */
export function withoutRoot(program: string, folder: string): string[] {
  if (!isRoot) return [];
  const drop = ["setpriv", `--reuid=${nobody}`, `--regid=${nobody}`, "--clear-groups"];
  const [command = "", ...args] = drop;
  if (works(command, ...args, "test", "-x", program, "-a", "-x", folder)) {
    chownSync(folder, nobody, nobody);
    return drop;
  }
  const namespace = ["--user", `--map-user=${nobody}`, `--map-group=${nobody}`];
  if (works("unshare", ...namespace, "true")) return ["unshare", ...namespace];
  throw new FixtureMissing(
    `${program} refuses to run as root, nobody cannot enter its folder, and user namespaces are off; ` +
      "run the tests as an ordinary user or move the checkout out of root's home",
  );
}
