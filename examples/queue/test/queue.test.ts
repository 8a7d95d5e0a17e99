import { execFile } from "node:child_process";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { whyMissing } from "@coord/test-fixtures";
import { expect, test } from "vitest";

const missing = (await whyMissing("redis")) ?? (await whyMissing("postgres"));

test.skipIf(missing !== undefined)(
  `every payment is booked once, whoever is killed${missing ? `: ${missing}` : ""}`,
  { timeout: 120_000 },
  async () => {
    const args = ["--conditions=source", "--import", "tsx", "src/main.ts"];
    const { stdout } = await promisify(execFile)(process.execPath, args, {
      cwd: dirname(import.meta.dirname),
    });
    expect(stdout.match(/SIGKILL to worker/g)).toHaveLength(2);
    expect(stdout).toContain("300 payments sum up to 45150, the account holds 45150");
    expect(stdout).toContain(
      'a dead letter: {"account":"closed","cents":1}, handler: Error: this account is closed',
    );
    expect(stdout).toContain('a dead letter: {"account":"shop","cents":"a lot"}, malformed: MalformedError');
  },
);
