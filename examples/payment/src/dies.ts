/** A process of the shop that charges, and is killed before it can record that. Arguments: store, provider, order. */
import { openCoordinator } from "@coord/core";
import { pay } from "./shop.ts";

const [store = "", provider = "", id = ""] = process.argv.slice(2);
const coord = await openCoordinator({ url: store, namespace: "example_payment" });
const real = globalThis.fetch;
globalThis.fetch = async (...request) => {
  const response = await real(...request);
  process.kill(process.pid, "SIGKILL"); // charged, and not recorded
  return response;
};
await pay(coord, provider, { id, amount: 900 }, { ttlMs: 2000 }); // so short that you can watch it
