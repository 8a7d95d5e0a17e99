import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { FixtureMissing } from "./server.ts";

/** What `install.sh` can install, each into a folder of its own. */
export type Piece = "redis" | "valkey" | "mysql" | "mariadb" | "pgbouncer" | "ferretdb";

const script = fileURLToPath(new URL("../install.sh", import.meta.url));
const installLimitMs = 600_000;
const installed = new Map<Piece, Promise<string>>();

async function install(piece: Piece): Promise<string> {
  if (process.platform !== "linux")
    throw new FixtureMissing(`${piece} is installed from Debian's packages only`);
  try {
    const { stdout } = await promisify(execFile)("sh", [script, piece], { timeout: installLimitMs });
    return stdout.trim();
  } catch (error) {
    const told = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : String(error);
    throw new FixtureMissing(told || `install.sh ${piece} took more than ${installLimitMs} ms`);
  }
}

/** The folder with this piece of the kit, installed on this machine first if need be; a lock makes others wait. */
export function kit(piece: Piece): Promise<string> {
  const folder = installed.get(piece) ?? install(piece);
  installed.set(piece, folder);
  return folder;
}
