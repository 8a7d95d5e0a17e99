import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "../..");
const run = (...args: string[]): Promise<{ stdout: string }> =>
  promisify(execFile)(
    process.execPath,
    ["--conditions=source", "--import", "tsx", "demo/src/main.ts", ...args],
    {
      cwd: root,
      env: { ...process.env, COORD_URL: undefined },
    },
  );

describe.each(["memory", "postgres"])("the demo on %s", (backend) => {
  it("loses money without a fence, and none with one", { timeout: 60_000 }, async () => {
    const { stdout } = await run("--backend", backend);
    expect(stdout).toMatch(/The balance is 150 and should be 180/);
    expect(stdout).toMatch(/its write is refused: fence …\d{7} < …\d{7}/);
    expect(stdout).toMatch(/its lease was lost: LeaseLostError/);
    expect(stdout).toMatch(/The balance is 180: A was refused, noticed, and did its deposit anew/);
  });
});

it("says which backends there are when it is given another", async () => {
  await expect(run("--backend", "etcd")).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining("--backend must be one of memory, postgres"),
  });
});
