/** The shop's side: an order is paid at most once, however often and from however many processes it is asked for. */
import type { Coordinator, OnceResult } from "@coord/core";

export interface Order {
  readonly id: string;
  readonly amount: number;
}
export interface Receipt {
  readonly charge: string;
  readonly amount: number;
}

async function ask(method: "GET" | "POST", url: string, query: Record<string, string>, signal: AbortSignal) {
  const response = await fetch(`${url}/charges?${new URLSearchParams(query).toString()}`, { method, signal });
  const body: unknown = await response.json();
  if (typeof body !== "object" || body === null || !("id" in body)) return undefined;
  return String(body.id);
}

/** `providerUrl` is who charges; `waitMs` is how long a second caller waits for the first. */
export function pay(
  coord: Coordinator,
  providerUrl: string,
  order: Order,
  { waitMs = 0, probing = false }: { waitMs?: number; probing?: boolean } = {},
): Promise<OnceResult<Receipt>> {
  return coord.once<Receipt, { id: string; amount: number }>(
    `charge:${order.id}`,
    {
      input: { id: order.id, amount: order.amount },
      ttlMs: 2000, // so short that you can watch it; 30 seconds is the default
      waitMs,
      ...(probing && {
        // Asked when a run began and nobody recorded its end: the provider knows.
        probe: async ({ idempotencyKey, input, signal }) => {
          const charge = await ask("GET", providerUrl, { key: idempotencyKey }, signal);
          if (charge === undefined) return { status: "not-done" };
          return { status: "completed", response: { charge, amount: input.amount } };
        },
      }),
    },
    async ({ id, amount }, { idempotencyKey, signal }) => {
      const query = { key: idempotencyKey, order: id, amount: String(amount) };
      const charge = await ask("POST", providerUrl, query, signal);
      if (charge === undefined) throw new Error("the provider answered with no charge");
      return { charge, amount };
    },
  );
}
