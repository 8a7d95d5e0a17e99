/** A payment provider to charge: a small server that remembers idempotency keys, as the real ones do. */
import { createServer } from "node:http";

export interface Charge {
  readonly id: string;
  readonly order: string;
  readonly amount: number;
}

export interface Provider {
  readonly url: string;
  /** All that was charged, in order. */
  readonly ledger: readonly Charge[];
  /** The next charge happens, and its answer is lost on the way. */
  loseNextAnswer(): void;
  close(): Promise<void>;
}

export async function startProvider(): Promise<Provider> {
  const ledger: Charge[] = [];
  const known = new Map<string, Charge>();
  let losing = false;
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://provider");
    const key = url.searchParams.get("key") ?? "";
    let charge = known.get(key);
    if (request.method === "POST" && charge === undefined) {
      const order = url.searchParams.get("order") ?? "";
      charge = { id: `ch_${ledger.length + 1}`, order, amount: Number(url.searchParams.get("amount")) };
      ledger.push(charge);
      known.set(key, charge);
      if (losing) {
        losing = false;
        response.destroy();
        return;
      }
    }
    response.writeHead(charge === undefined ? 404 : 200, { "content-type": "application/json" });
    response.end(JSON.stringify(charge ?? null));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the provider has no port");
  return {
    url: `http://127.0.0.1:${address.port}`,
    ledger,
    loseNextAnswer: () => (losing = true),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
