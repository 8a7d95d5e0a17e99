/** The shop's side: an order is paid at most once, however often and from however many processes it is asked for. */
import type { Coordinator, OnceResult, ProbeAnswer, UncertainExecution } from "@coord/core";

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

export interface PayOptions {
  /** How long a second caller waits for the first. @default 0 */
  readonly waitMs?: number;
  /** How soon a dead process shows. @default 30000 */
  readonly ttlMs?: number;
  /** Whether to ask the provider what became of a run that nobody recorded the end of. @default false */
  readonly probing?: boolean;
}

/** Charges an order at the provider, once. */
export function pay(
  coord: Coordinator,
  providerUrl: string,
  order: Order,
  { waitMs = 0, ttlMs = 30_000, probing = false }: PayOptions = {},
): Promise<OnceResult<Receipt>> {
  /** Asked when a run began and nobody recorded its end: the provider knows. */
  const probe = async ({
    idempotencyKey,
    signal,
  }: UncertainExecution<Order>): Promise<ProbeAnswer<Receipt>> => {
    const charge = await ask("GET", providerUrl, { key: idempotencyKey }, signal);
    if (charge === undefined) return { status: "not-done" };
    return { status: "completed", response: { charge, amount: order.amount } };
  };
  return coord.once(
    `charge:${order.id}`,
    { input: order, ttlMs, waitMs, probe: probing ? probe : undefined },
    async ({ id, amount }, { idempotencyKey, signal }) => {
      const query = { key: idempotencyKey, order: id, amount: String(amount) };
      const charge = await ask("POST", providerUrl, query, signal);
      if (charge === undefined) throw new Error("the provider answered with no charge");
      return { charge, amount };
    },
  );
}
