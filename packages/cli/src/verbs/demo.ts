import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { setTimeout as sleep } from "node:timers/promises";
import { assertFenced, createCoordinator, createMemoryStore, isCoordError, memoryBackend } from "@coord/core";
import type { Lease } from "@coord/core";
import { paint, print } from "../terminal.ts";
import { verb } from "../verb.ts";

const ttlMs = 1000;
const startBalance = 100;
const firstDeposit = 50;
const secondDeposit = 30;
const key = "account:1";

/** What is protected: an account that keeps the fence of its last write, as a table's row would. */
interface Account {
  balance: number;
  fence: bigint;
}

/** `UPDATE account SET balance = …, fence = $fence WHERE fence <= $fence`: how many rows it changed. */
function write(account: Account, balance: number, fence: bigint): number {
  if (fence < account.fence) return 0;
  Object.assign(account, { balance, fence });
  return 1;
}

const short = ({ fence }: Lease): string => `…${String(fence).slice(-6)}`;

/** Two workers deposit; the first one stands still between its read and its write, for longer than its lease. */
async function scene(fenced: boolean): Promise<number> {
  const store = createMemoryStore();
  const worker = (holder: string) =>
    createCoordinator({ backend: memoryBackend({ store }), holder, defaults: { ttlMs }, cleanUp: false });
  const [first, second] = [worker("worker 1"), worker("worker 2")];
  const account: Account = { balance: startBalance, fence: 0n };
  const startedMs = performance.now();
  const at = (who: string, what: string): void =>
    print(`${`${((performance.now() - startedMs) / 1000).toFixed(1)} s`.padStart(7)}  ${who}  ${what}`);

  // Not renewed, as by a process that stands still.
  const stalled = await first.acquire(key, { renew: false });
  at("worker 1", `has the lease, fence ${short(stalled)}, and reads the balance: ${account.balance}`);
  const seen = account.balance;
  at("worker 1", paint("dim", "stands still: a paused machine, swap, a long garbage collection …"));
  await second.withLease(key, async (lease) => {
    at(
      "worker 2",
      `gets the lease when its ttl is over, fence ${short(lease)}, and reads ${account.balance}`,
    );
    await sleep(200);
    write(account, account.balance + firstDeposit, lease.fence);
    at("worker 2", `deposits ${firstDeposit}: the balance is ${account.balance}`);
  });
  const balance = seen + secondDeposit;
  if (!fenced) {
    account.balance = balance;
    at("worker 1", `goes on, and deposits ${secondDeposit} on what it read: the balance is ${balance}`);
  } else {
    try {
      assertFenced(stalled, write(account, balance, stalled.fence));
    } catch (error) {
      if (!isCoordError(error, "COORD_STALE_FENCE")) throw error;
      at("worker 1", paint("green", `goes on, and its write is refused: ${error.code}`));
    }
    await first.withLease(key, (lease) => void write(account, account.balance + secondDeposit, lease.fence));
    at(
      "worker 1",
      `takes the lease again, reads, and deposits ${secondDeposit}: the balance is ${account.balance}`,
    );
  }
  await stalled.release().catch(() => undefined);
  await Promise.all([first.close(), second.close()]);
  return account.balance;
}

export const demoVerb = (): CommandUnknownOpts =>
  verb("demo", "see why a lock needs a fence: a short story in this process, without a server", [
    "coord demo",
  ]).action(async ({ json }) => {
    const expected = startBalance + firstDeposit + secondDeposit;
    if (json !== true)
      print(
        `Two workers share an account of ${startBalance}, under leases of ${ttlMs / 1000} s. Deposits: ${firstDeposit} and ${secondDeposit}.\n`,
      );
    print(paint("bold", "A lock alone"));
    const unfenced = await scene(false);
    print(
      `         ${paint("red", `${unfenced} instead of ${expected}: a deposit is lost, though nobody did anything wrong.`)}\n`,
    );
    print(paint("bold", "The same with the fence in the write"));
    const fenced = await scene(true);
    print(`         ${paint("green", `${fenced}: nothing is lost.`)}\n`);
    print(
      "On a store of your own: export COORD_URL=postgres://…, coord setup, coord doctor, coord run KEY -- command",
    );
  });
