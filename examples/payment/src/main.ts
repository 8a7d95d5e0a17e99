/** `npm start` tells what becomes of payments when everything goes wrong; `COORD_URL` says on which store. */
import { fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { fileURLToPath } from "node:url";
import { openCoordinator, type OnceResult } from "@coord/core";
import { idempotent } from "@coord/http";
import { startProvider } from "./provider.ts";
import { pay, type Receipt } from "./shop.ts";

// In a shop a missing URL must stop the program: memory excludes nobody outside of this process.
const store = process.env["COORD_URL"] ?? "memory:";
const coord = await openCoordinator({ url: store, namespace: "example_payment" });
await coord.setup();
const provider = await startProvider();
const run = randomUUID().slice(0, 8); // orders of its own, however often this runs on one store
const orders: string[] = [];
const order = (name: string): string => {
  orders.push(`${run}-${name}`);
  return `${run}-${name}`;
};
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const told = (result: OnceResult<Receipt>): string => {
  if (result.status !== "completed") return result.status;
  return `completed with ${result.response.charge}${result.replayed ? ", replayed" : ""}`;
};
const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

say(`1. Two clicks at once (on ${store.replace(/:.*/s, ":")})`);
const twice = { id: order("clicks"), amount: 500 };
const clicks = await Promise.all([
  pay(coord, provider.url, twice),
  pay(coord, provider.url, twice, { waitMs: 10_000 }),
]);
for (const click of clicks) say(`   ${told(click)}`);

say("2. The same order with another amount");
await pay(coord, provider.url, { ...twice, amount: 5000 }).catch((error: unknown) =>
  say(`   ${message(error)}`),
);

say("3. The provider charges, and its answer is lost");
const lost = { id: order("lost"), amount: 700 };
provider.loseNextAnswer();
await pay(coord, provider.url, lost).catch((error: unknown) =>
  say(`   the first caller gets: ${message(error)}`),
);
say(`   the next one is told: ${told(await pay(coord, provider.url, lost))}`);
say(`   and one that can ask the provider: ${told(await pay(coord, provider.url, lost, { probing: true }))}`);

if (store === "memory:") say("4. A process is killed after it charged: for that set COORD_URL to a database");
else {
  say("4. A process is killed after it charged");
  const killed = { id: order("killed"), amount: 900 };
  const path = fileURLToPath(new URL("dies.ts", import.meta.url));
  const child = fork(path, [store, provider.url, killed.id], { execArgv: process.execArgv });
  const signal = await new Promise((resolve) => child.once("exit", (_, by) => resolve(by)));
  say(`   it ended by ${String(signal)}`);
  const patient = { waitMs: 30_000, probing: true };
  say(
    `   the next caller waits for its claim to lapse: ${told(await pay(coord, provider.url, killed, patient))}`,
  );
}

say("5. At 3 a.m.");
const stuck = { id: order("stuck"), amount: 1100 };
provider.loseNextAnswer();
await pay(coord, provider.url, stuck).catch(() => {});
for await (const found of coord.executions.list({ prefix: `charge:${run}`, status: "uncertain" })) {
  const charge = provider.ledger.find((each) => `charge:${each.order}` === found.key);
  if (charge === undefined) continue;
  say(
    `   uncertain: ${found.key.slice(`charge:${run}-`.length)}, and the provider's list has ${charge.id} for it`,
  );
  const response = { charge: charge.id, amount: charge.amount };
  await coord.executions.resolve(found.key, { fence: found.fence, by: "ann", as: "completed", response });
}
say(`   callers get: ${told(await pay(coord, provider.url, stuck))}`);

say("6. Over HTTP, with the header Idempotency-Key");
const web = order("web");
const handle = idempotent({ coord, scope: () => `customer ${run}` }, async (request) => {
  const { amount } = Object(await request.json());
  const paid = await pay(coord, provider.url, { id: web, amount: Number(amount) }, { waitMs: 10_000 });
  // From 500 on it stays uncertain for this key too: the client must not take it for an answer.
  if (paid.status !== "completed") return Response.json({ status: paid.status }, { status: 503 });
  return Response.json(paid.response, { status: 201 });
});
const requests: readonly [string | undefined, number][] = [
  ['"first try"', 1300],
  ['"first try"', 1300],
  ['"first try"', 1],
  [undefined, 1300],
];
for (const [key, amount] of requests) {
  const headers: Record<string, string> = key === undefined ? {} : { "Idempotency-Key": key };
  const body = JSON.stringify({ amount });
  const response = await handle(new Request("http://shop/charges", { method: "POST", headers, body }));
  say(`   ${key ?? "no key"}, ${amount}: ${response.status} ${await response.text()}`);
}

const charged = orders.map((id) => provider.ledger.filter((each) => each.order === id).length);
say(`\n${orders.length} orders, charged ${charged.join(", ")} times`);
await coord.close();
await provider.close();
if (charged.some((times) => times !== 1)) process.exitCode = 1;
