import type { CallOptions, Name, RenewOutcome, RenewRequest } from "@coord/core";

import type { Commands } from "./commands.ts";
import { strangeReply } from "./errors.ts";
import type { Argument, Step } from "./evaluate.ts";
import type { Partition } from "./keys.ts";
import { list } from "./replies.ts";
import type { Script } from "./scripts.ts";

/** How many records one script renews: 5 to 9 ms of the server's time. */
const leasesPerScript = 500;

interface Entry {
  readonly request: RenewRequest;
  /** Where in the batch it stands. */
  readonly position: number;
  readonly at: Partition;
}

/** Heartbeats of one partition go together; a request with a payload goes alone, so that it delays no others. */
function chunksOf(entries: readonly Entry[]): Entry[][] {
  const chunks: Entry[][] = [];
  const open = new Map<string, Entry[]>();
  for (const entry of entries) {
    const { records } = entry.at;
    const chunk = entry.request.payload === undefined ? open.get(records) : undefined;
    if (chunk !== undefined && chunk.length < leasesPerScript) {
      chunk.push(entry);
      continue;
    }
    const started = [entry];
    chunks.push(started);
    if (entry.request.payload === undefined) open.set(records, started);
  }
  return chunks;
}

const argumentsOf = ({ request }: Entry): Argument[] => [
  request.grantId,
  String(request.fence),
  request.ttlMs,
  request.payload === undefined ? "" : (request.payloadSeq ?? ""),
  request.payload ?? "",
];

/** What a failed script would have answered is `unknown`; only if all of them fail the call throws. */
export async function renewAll(
  commands: Commands,
  script: Script,
  place: (name: Name) => Partition,
  requests: readonly RenewRequest[],
  call: CallOptions,
): Promise<RenewOutcome[]> {
  const outcomes: RenewOutcome[] = requests.map(() => "unknown");
  const chunks = chunksOf(
    requests.map((request, position) => ({ request, position, at: place(request.name) })),
  );
  const answers = await Promise.allSettled(
    chunks.map(async (chunk) => {
      const [first, ...others] = chunk.map(({ at, request }) => at.records + request.name.key);
      if (first === undefined) return;
      const step = { script, keys: [first, ...others], args: chunk.flatMap(argumentsOf) } satisfies Step;
      const answer = list(await commands.runReplicated(step, call));
      if (answer.length !== chunk.length) throw strangeReply("one outcome for each lease");
      for (const [i, { position }] of chunk.entries())
        outcomes[position] = answer[i] === 1 ? "renewed" : "lost";
    }),
  );
  const failed = answers.filter((answer) => answer.status === "rejected");
  if (failed.length > 0 && failed.length === answers.length) throw failed[0]?.reason;
  return outcomes;
}
