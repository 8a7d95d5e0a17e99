import type { LeaseState, RecordView } from "./backend.ts";
import { ask, longestCallMs } from "./call.ts";
import type { Runtime } from "./call.ts";

const pageSize = 500;

/** Records without payloads whose stored keys begin with `prefix`, in byte order, read in pages while asked for. */
export async function* pages(
  runtime: Runtime,
  what: string,
  prefix: string,
  state?: LeaseState,
): AsyncGenerator<readonly RecordView[], void, undefined> {
  const { backend, namespace } = runtime;
  let after: string | undefined;
  for (;;) {
    const request = { namespace, prefix, state, after, limit: pageSize };
    const page: RecordView[] = await ask(runtime, what, longestCallMs, (o) => backend.list(request, o));
    yield page;
    after = page.at(-1)?.key;
    if (page.length < pageSize) return;
  }
}
