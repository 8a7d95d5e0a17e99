/** One process of a cell that needs several: told by arguments what to do, it answers with one message. */
import { createCoordinator } from "@coord/core";
import { storeOf } from "./stores.ts";

const [role = "", storeName = "", url = "", namespace = "", rounds = "1"] = process.argv.slice(2);
const { backend, close } = await storeOf(storeName).backend(url, 2);
const coord = createCoordinator({ backend, namespace, cleanUp: false, defaults: { waitMs: 60_000 } });
const at = (): number => performance.timeOrigin + performance.now();
const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

await coord.tryAcquire(`warm:${process.pid}`).then((lease) => lease?.release());
process.send?.({ ready: true });
await new Promise<void>((resolve) => process.once("message", () => resolve()));

if (role === "relay") {
  // Two of these pass one lease to and fro: each holds it until the other waits, then notes the instant.
  const released: number[] = [];
  const granted: number[] = [];
  for (let i = 0; i < Number(rounds); i += 1) {
    const lease = await coord.acquire("relay");
    granted.push(at());
    await pause(15);
    released.push(at());
    await lease.release();
    await pause(1);
  }
  process.send?.({ granted, released });
} else {
  for (let i = 0; i < Number(rounds); i += 1) await coord.withLease("crowd", () => pause(10));
  process.send?.({ done: at() });
}
await coord.close();
await close();
process.disconnect();
