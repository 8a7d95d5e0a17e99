import { setImmediate as turn } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { mongodbBackend } from "../src/index.ts";
import { scriptedDatabase } from "./scripted-stream.ts";
import { codeOf, within } from "./calls.ts";

const one = { namespace: "n", key: "l\u001fone" };
const two = { namespace: "n", key: "l\u001ftwo" };

async function settled(): Promise<void> {
  for (let turns = 0; turns < 5; turns += 1) await turn();
}

function make() {
  const script = scriptedDatabase();
  const backend = mongodbBackend({ db: script.db });
  return { script, backend };
}

test("watch resolves when the server has opened the cursor, not before", async () => {
  const { script, backend } = make();
  let resolved = false;
  const watching = backend
    .watch?.(one, () => {}, within())
    .then((subscription) => {
      resolved = true;
      return subscription;
    });
  const stream = await script.opened(1);
  await settled();
  expect(resolved).toBe(false);
  stream.open();
  expect((await watching)?.live).toBe(true);
  await backend.close();
});

test("a change wakes those who wait for that name and nobody else, over one stream for all", async () => {
  const { script, backend } = make();
  const woken = { a: vi.fn<() => void>(), b: vi.fn<() => void>(), other: vi.fn<() => void>() };
  const first = backend.watch?.(one, woken.a, within());
  const second = backend.watch?.(one, woken.b, within());
  const stream = await script.opened(1);
  stream.open();
  await Promise.all([first, second]);
  await backend.watch?.(two, woken.other, within());
  stream.change("n:l\u001fone");
  await vi.waitFor(() => expect(woken.a).toHaveBeenCalledTimes(1));
  expect(woken.b).toHaveBeenCalledTimes(1);
  expect(woken.other).not.toHaveBeenCalled();
  expect(script.streams).toHaveLength(1);
  await (await first)?.close();
  stream.change("n:l\u001fone");
  await vi.waitFor(() => expect(woken.b).toHaveBeenCalledTimes(2));
  expect(woken.a).toHaveBeenCalledTimes(1);
  await backend.close();
});

test("the stream asks for writes that free or unseal a name, and not for heartbeats", async () => {
  const { script, backend } = make();
  const watching = backend.watch?.(one, () => {}, within());
  (await script.opened(1)).open();
  await watching;
  const zero = new Date(0);
  expect(script.pipelines[0]?.[0]).toEqual({
    $match: {
      operationType: { $in: ["update", "replace"] },
      $or: [
        { "updateDescription.updatedFields.expiresAt": zero },
        { "updateDescription.updatedFields.sealed": false },
        { "fullDocument.expiresAt": zero },
      ],
    },
  });
  await backend.close();
});

test("a stream that breaks is opened again; everybody is woken and sees that it was down", async () => {
  const { script, backend } = make();
  const seen: boolean[] = [];
  const watching = backend.watch?.(one, () => seen.push(subscription?.live === true), within());
  const stream = await script.opened(1);
  stream.open();
  const subscription = await watching;
  expect(seen).toEqual([]);
  stream.fail(Object.assign(new Error("gone"), { name: "MongoNetworkError" }));
  await vi.waitFor(() => expect(seen).toEqual([false]));
  expect(stream.isClosed).toBe(true);
  const again = await script.opened(2);
  again.open();
  await vi.waitFor(() => expect(seen).toEqual([false, true]));
  again.change("n:l\u001fone");
  await vi.waitFor(() => expect(seen).toEqual([false, true, true]));
  await backend.close();
});

test("while the driver resumes by itself the subscription is not live", async () => {
  const { script, backend } = make();
  const woken = vi.fn<() => void>();
  const watching = backend.watch?.(one, woken, within());
  const stream = await script.opened(1);
  stream.open();
  const subscription = await watching;
  stream.drop();
  expect(subscription?.live).toBe(false);
  expect(woken).toHaveBeenCalledTimes(1);
  stream.open();
  expect(subscription?.live).toBe(true);
  expect(woken).toHaveBeenCalledTimes(2);
  expect(script.streams).toHaveLength(1);
  await backend.close();
});

test.each([13, 115, 40573])(
  "a refusal (code %i) rejects watch and is not asked for again at once",
  async (code) => {
    const { script, backend } = make();
    const watching = backend.watch?.(one, () => {}, within());
    const refused = codeOf(watching);
    (await script.opened(1)).fail(Object.assign(new Error("no"), { name: "MongoServerError", code }));
    expect(await refused).toBe("COORD_CONFIGURATION");
    expect(await codeOf(backend.watch?.(one, () => {}, within()))).toBe("COORD_CONFIGURATION");
    expect(script.streams).toHaveLength(1);
    await backend.close();
  },
);

test("watch gives up with its caller, and the next one is served", async () => {
  const { script, backend } = make();
  const controller = new AbortController();
  const watching = backend.watch?.(one, () => {}, { signal: controller.signal, timeoutMs: 10_000 });
  const stream = await script.opened(1);
  controller.abort();
  expect(await codeOf(watching)).toBe("COORD_UNAVAILABLE");
  const next = backend.watch?.(one, () => {}, within());
  await settled();
  stream.open();
  expect((await next)?.live).toBe(true);
  await backend.close();
});

test("close ends the stream and rejects those who still wait for it", async () => {
  const { script, backend } = make();
  const waiting = backend.watch?.(one, () => {}, within());
  const stream = await script.opened(1);
  const rejected = codeOf(waiting);
  await backend.close();
  expect(await rejected).toBe("COORD_UNAVAILABLE");
  expect(stream.isClosed).toBe(true);
  expect(await codeOf(backend.watch?.(one, () => {}, within()))).toBe("COORD_UNAVAILABLE");
  expect(script.streams).toHaveLength(1);
});

test("an idle stream ends after a while, and a later waiter opens another", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    const { script, backend } = make();
    const watching = backend.watch?.(one, () => {}, within());
    const stream = await script.opened(1);
    stream.open();
    await (await watching)?.close();
    await vi.advanceTimersByTimeAsync(29_000);
    expect(stream.isClosed).toBe(false);
    await vi.advanceTimersByTimeAsync(2000);
    expect(stream.isClosed).toBe(true);
    await settled();
    const next = backend.watch?.(one, () => {}, within());
    (await script.opened(2)).open();
    expect((await next)?.live).toBe(true);
    await backend.close();
  } finally {
    vi.useRealTimers();
  }
});

test("on a standalone server watch rejects without asking, so that waiters poll", async () => {
  const script = scriptedDatabase({ hello: { setName: undefined } });
  const backend = mongodbBackend({ db: script.db });
  expect(await codeOf(backend.watch?.(one, () => {}, within()))).toBe("COORD_CONFIGURATION");
  expect(script.streams).toHaveLength(0);
  await backend.close();
});
