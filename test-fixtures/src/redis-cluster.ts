import { exchange, poll } from "./probe.ts";

const slots = 16_384;
const joinLimitMs = 60_000;

/** Sends one command; the reply of `CLUSTER` commands used here is complete in one piece. */
async function command(port: number, words: string): Promise<string> {
  const reply = await exchange({ host: "127.0.0.1", port }, `${words}\r\n`, (bytes) =>
    bytes.includes("\r\n"),
  );
  return reply?.toString() ?? "";
}

async function order(port: number, words: string): Promise<void> {
  const reply = await command(port, words);
  if (!reply.startsWith("+OK")) throw new Error(`${words} on 127.0.0.1:${port} answered: ${reply.trim()}`);
}

/** Resolves when every node sees all nodes and all slots. */
export async function waitForCluster(ports: readonly number[]): Promise<void> {
  const endMs = performance.now() + joinLimitMs;
  const expected = ["cluster_state:ok", `cluster_slots_ok:${slots}`, `cluster_known_nodes:${ports.length}\r`];
  for (const port of ports) {
    const isUp = await poll(
      async () => {
        const info = await command(port, "CLUSTER INFO");
        return expected.every((line) => info.includes(line)) ? true : undefined;
      },
      () => performance.now() > endMs,
      50,
    );
    if (!isUp)
      throw new Error(`the cluster node on 127.0.0.1:${port} found no full cluster in ${joinLimitMs} ms`);
  }
}

/** Makes one cluster of empty nodes, each with an equal share of the slots and no replica. */
export async function joinCluster(ports: readonly number[]): Promise<void> {
  const share = Math.ceil(slots / ports.length);
  for (const [index, port] of ports.entries()) {
    const last = Math.min(slots, (index + 1) * share) - 1;
    await order(port, `CLUSTER ADDSLOTSRANGE ${index * share} ${last}`);
    await order(port, `CLUSTER SET-CONFIG-EPOCH ${index + 1}`);
  }
  const [first, ...others] = ports;
  const reply = await exchange(
    { host: "127.0.0.1", port: first ?? 0 },
    "CONFIG GET cluster-port\r\n",
    (bytes) => /port\r\n\$\d+\r\n\d+\r\n/.test(bytes.toString()),
  );
  const bus = /(\d+)\r\n$/.exec(reply?.toString() ?? "")?.[1];
  for (const port of others) await order(port, `CLUSTER MEET 127.0.0.1 ${first} ${bus}`);
  await waitForCluster(ports);
}
