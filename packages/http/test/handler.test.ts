/** The wrapper as a function, with requests that no server has touched. */
import {
  type Backend,
  type Coordinator,
  createCoordinator,
  createMemoryStore,
  type Execution,
  memoryBackend,
  notDone,
  UnavailableError,
} from "@coord/core";
import { afterEach, beforeEach, describe, expect, it, type Mock, vi } from "vitest";
import {
  type Handler,
  type HttpProbeAnswer,
  idempotent,
  type IdempotentOptions,
  storeResponse,
} from "../src/index.ts";

let coord: Coordinator;
beforeEach(() => {
  coord = open();
});
afterEach(() => coord.close());

function open(change: (backend: Backend) => Backend = (backend) => backend): Coordinator {
  return createCoordinator({ backend: change(memoryBackend()), namespace: "api", cleanUp: false });
}

const charge = (key: string | undefined, body: string = '{"amount":5}', path = "/charges"): Request =>
  new Request(`http://api.example${path}`, {
    method: "POST",
    body,
    headers: { "content-type": "application/json", ...(key !== undefined && { "idempotency-key": key }) },
  });

function wrap(handler: Handler, options: Partial<IdempotentOptions> = {}) {
  return idempotent({ coord, scope: () => "customer 7", ...options }, handler);
}

/** A handler that counts, and says how often it ran. */
function counting(
  answer: (run: number) => Response = (run) => Response.json({ run }, { status: 201 }),
): Mock<Handler> {
  let runs = 0;
  return vi.fn<Handler>(() => answer((runs += 1)));
}
let counted: Mock<Handler>;
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null;
async function json(response: Response): Promise<Record<string, unknown>> {
  const body: unknown = await response.json();
  if (!isObject(body)) throw new Error("no object");
  return body;
}
const problem = async (response: Response): Promise<[number, unknown]> => {
  const body = await json(response);
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  expect(body.status).toBe(response.status);
  return [response.status, body.code];
};

describe("the header", () => {
  beforeEach(() => {
    counted = counting();
  });

  it("missing is 400 with a link to the documentation, and nothing runs", async () => {
    const documentation = "https://api.example/docs/idempotency";
    const response = await wrap(counted, { documentation })(charge(undefined));
    expect(response.headers.get("link")).toBe(`<${documentation}>; rel="describedby"; type="text/html"`);
    expect(await response.clone().json()).toMatchObject({
      type: `${documentation}#idempotency-key-missing`,
      title: "Idempotency-Key is missing",
      detail: expect.stringContaining("UUID"),
    });
    expect(await problem(response)).toEqual([400, "idempotency-key-missing"]);
    expect(counted).not.toHaveBeenCalled();
  });

  it("missing where it is not required, or with GET, goes straight to the handler, each time", async () => {
    const loose = wrap(counted, { required: false });
    await loose(charge(undefined));
    await loose(charge(undefined));
    await wrap(counted)(new Request("http://api.example/charges", { headers: { "idempotency-key": '"a"' } }));
    expect(counted).toHaveBeenCalledTimes(3);
    expect(counted.mock.calls.every((given) => given[1] === undefined)).toBe(true);
  });

  it.each([
    "",
    '""',
    '"a',
    '"a","b"',
    '"a", "b"',
    "a, b",
    "ä",
    '"ä"',
    '"a";x=1',
    "a b",
    `"${"k".repeat(256)}"`,
  ])("malformed is 400: %s", async (key) => {
    expect(await problem(await wrap(counted)(charge(key)))).toEqual([400, "idempotency-key-malformed"]);
    expect(counted).not.toHaveBeenCalled();
  });

  it("with quotes or without names the same key", async () => {
    const pay = wrap(counted);
    await pay(charge('"8e03978e-40d5"'));
    expect(await (await pay(charge("8e03978e-40d5"))).json()).toEqual({ run: 1 });
    await pay(charge(String.raw`"a\"b\\c"`));
    expect(await coord.executions.get('http:customer%207:a"b\\c')).toMatchObject({ status: "completed" });
  });
});

describe("a repeat", () => {
  it("gets status, headers and body of the first response, marked as a replay", async () => {
    counted = counting(() =>
      Response.json({ id: "ch_1" }, { status: 201, headers: { location: "/charges/ch_1", "x-two": "a" } }),
    );
    const pay = wrap(counted);
    const first = await pay(charge('"k"'));
    const second = await pay(charge('"k"'));
    expect(counted).toHaveBeenCalledTimes(1);
    expect(first.headers.get("idempotent-replayed")).toBeNull();
    expect(second.headers.get("idempotent-replayed")).toBe("true");
    for (const response of [first, second]) {
      expect(response.status).toBe(201);
      expect(response.headers.get("location")).toBe("/charges/ch_1");
      expect(response.headers.get("content-type")).toBe("application/json");
      expect(await response.json()).toEqual({ id: "ch_1" });
    }
  });

  it.each([
    ["bytes that are no text", new Uint8Array([0, 255, 254, 10])],
    ["a text that begins with a byte order mark", new TextEncoder().encode("\uFEFFa\u0000b")],
    ["nothing", new Uint8Array()],
  ])("gets the same body to the byte: %s", async (_, bytes) => {
    const pay = wrap(() => new Response(bytes, { status: 200 }));
    await pay(charge('"k"'));
    expect(new Uint8Array(await (await pay(charge('"k"'))).arrayBuffer())).toEqual(bytes);
  });

  it("gets a response without a body as one", async () => {
    const pay = wrap(() => new Response(null, { status: 204 }));
    await pay(charge('"k"'));
    expect((await pay(charge('"k"'))).status).toBe(204);
  });

  it("gets no cookie and no header of the first connection; the first caller gets its cookies", async () => {
    const headers: [string, string][] = [
      ["set-cookie", "session=secret; HttpOnly"],
      ["set-cookie", "theme=dark"],
      ["connection", "close, x-trace"],
      ["x-trace", "1"],
      ["transfer-encoding", "chunked"],
      ["date", "Sat, 01 Jan 2000 00:00:00 GMT"],
      ["x-kept", "yes"],
    ];
    const pay = wrap(() => new Response("ok", { headers }));
    expect((await pay(charge('"k"'))).headers.getSetCookie()).toHaveLength(2);
    const second = await pay(charge('"k"'));
    expect([...second.headers.keys()]).toEqual(["content-type", "idempotent-replayed", "x-kept"]);
    const found = await coord.executions.get("http:customer%207:k");
    expect(JSON.stringify(found?.response)).not.toContain("secret");
  });

  it("with another body, path, query or method is 422, and gets nothing of the first response", async () => {
    counted = counting();
    const pay = wrap(counted);
    await pay(charge('"k"'));
    const patch = new Request(charge('"k"'), { method: "PATCH" });
    const others = [charge('"k"', '{"amount":6}'), charge('"k"', undefined, "/refunds"), patch];
    others.push(charge('"k"', undefined, "/charges?dry=1"));
    for (const other of others) expect(await problem(await pay(other))).toEqual([422, "input-differs"]);
    expect(counted).toHaveBeenCalledTimes(1);
  });

  it("is what the fingerprint of its owner says it is", async () => {
    counted = counting();
    const fingerprint = (_: Request, body: Uint8Array): string =>
      JSON.stringify(JSON.parse(Buffer.from(body).toString()));
    const pay = wrap(counted, { fingerprint });
    await pay(charge('"k"', '{"amount":5}'));
    expect((await pay(charge('"k"', '{ "amount": 5 }'))).status).toBe(201);
    expect(counted).toHaveBeenCalledTimes(1);
  });

  it("by another caller is another request", async () => {
    counted = counting();
    const pay = wrap(counted, { scope: (request) => request.headers.get("content-type") ?? "" });
    const text = (key: string) =>
      new Request(charge(key), { headers: { "idempotency-key": key, "content-type": "a:b" } });
    await pay(charge('"k"'));
    await pay(text('"k"'));
    expect(counted).toHaveBeenCalledTimes(2);
    // A colon in a scope does not make it another scope's key.
    await wrap(counted, { scope: () => "x" })(charge('"y:k"'));
    await wrap(counted, { scope: () => "x:y" })(charge('"k"'));
    expect(counted).toHaveBeenCalledTimes(4);
  });

  it.each(["", "ü".repeat(40), 7, "\uD800"])(
    "whose scope is no usable text fails, and nothing runs: %s",
    async (scope) => {
      counted = counting();
      // @ts-expect-error as JavaScript would
      const pay = wrap(counted, { scope: () => scope });
      await expect(pay(charge('"k"'))).rejects.toMatchObject({ code: "COORD_INVALID_ARGUMENT" });
      expect(counted).not.toHaveBeenCalled();
    },
  );
});

describe("while the first runs", () => {
  it("a repeat is 409 with Retry-After, or waits when it is told to", async () => {
    let finish = (): void => {};
    const finished = new Promise<void>((resolve) => (finish = resolve));
    const pay = wrap(async () => {
      await finished;
      return new Response("done");
    });
    const first = pay(charge('"k"'));
    const second = await pay(charge('"k"'));
    expect(second.headers.get("retry-after")).toBe("1");
    expect(await problem(second)).toEqual([409, "request-running"]);
    const waiting = wrap(() => new Response("never"), { waitMs: 10_000 })(charge('"k"'));
    finish();
    expect(await (await first).text()).toBe("done");
    expect(await (await waiting).text()).toBe("done");
  });

  it("a client that hangs up while it waits for the first ends its wait", async () => {
    let finish = (): void => {};
    const finished = new Promise<void>((resolve) => (finish = resolve));
    const first = wrap(async () => {
      await finished;
      return new Response("done");
    })(charge('"k"'));
    const client = new AbortController();
    const patient = wrap(() => new Response("never"), { waitMs: Infinity });
    const waiting = patient(new Request(charge('"k"'), { signal: client.signal }));
    client.abort(new Error("hung up"));
    await expect(waiting).rejects.toThrow("hung up");
    finish();
    expect((await first).status).toBe(200);
  });

  it("what a framework hands along reaches the handler, with and without a key", async () => {
    const pay = idempotent<[{ user: string }]>(
      { coord, scope: () => "customer 7", required: false },
      (_, execution, context) => new Response(`${context.user} ${execution?.attempt}`),
    );
    expect(await (await pay(charge('"k"'), { user: "ann" })).text()).toBe("ann 1");
    expect(await (await pay(charge(undefined), { user: "bob" })).text()).toBe("bob undefined");
  });

  it("a client that hangs up does not end what it began", async () => {
    const client = new AbortController();
    let seen: AbortSignal | undefined;
    const pay = wrap(async (request) => {
      client.abort();
      seen = request.signal;
      return new Response(String(request.signal.aborted));
    });
    const response = await pay(new Request(charge('"k"'), { signal: client.signal }));
    expect(await response.text()).toBe("false");
    expect(seen?.aborted).toBe(true); // over, now that the outcome is recorded
  });

  it("the handler gets the request as it was, and an execution with its idempotency key", async () => {
    let got: Execution | undefined;
    const pay = wrap(async (request, execution) => {
      got = execution;
      return Response.json([
        request.method,
        request.url,
        request.headers.get("content-type"),
        await request.json(),
      ]);
    });
    expect(await (await pay(charge('"k"'))).json()).toEqual([
      "POST",
      "http://api.example/charges",
      "application/json",
      { amount: 5 },
    ]);
    expect(got?.idempotencyKey).toHaveLength(43);
    expect(got?.attempt).toBe(1);
  });
});

describe("what is not known", () => {
  it("a 5xx response goes to the first caller, and later ones are told that it is uncertain", async () => {
    counted = counting(() => new Response("boom", { status: 502 }));
    const pay = wrap(counted);
    const first = await pay(charge('"k"'));
    expect([first.status, await first.text()]).toEqual([502, "boom"]);
    expect(await problem(await pay(charge('"k"')))).toEqual([500, "outcome-uncertain"]);
    expect(counted).toHaveBeenCalledTimes(1);
    const found = await coord.executions.get("http:customer%207:k");
    expect(found?.attempts.at(-1)).toMatchObject({ outcome: "uncertain", error: "Status502" });
  });

  it("a response that says that nothing happened lets the next one run", async () => {
    counted = counting((run) => new Response(String(run), { status: run === 1 ? 503 : 200 }));
    const pay = wrap(counted, { verdict: ({ status }) => (status === 503 ? "retryable" : "completed") });
    expect((await pay(charge('"k"'))).status).toBe(503);
    expect(await (await pay(charge('"k"'))).text()).toBe("2");
  });

  it("a thrown error reaches the framework, and is uncertain, or not done if it says so", async () => {
    const error = new Error("cable cut");
    const pay = wrap(() => Promise.reject(error));
    await expect(pay(charge('"k"'))).rejects.toBe(error);
    expect(await problem(await pay(charge('"k"')))).toEqual([500, "outcome-uncertain"]);
    const undone = wrap(() => Promise.reject(notDone(error)));
    await expect(undone(charge('"l"'))).rejects.toBe(error);
    expect((await wrap(() => new Response("ok"))(charge('"l"'))).status).toBe(200);
    const retryable = wrap(() => Promise.reject(error), { onError: "retryable" });
    await expect(retryable(charge('"m"'))).rejects.toBe(error);
    expect((await wrap(() => new Response("ok"))(charge('"m"'))).status).toBe(200);
  });

  it("an error of the handler that looks like one of the wrapper's is the handler's", async () => {
    const error = new UnavailableError("another store of the handler's");
    await expect(wrap(() => Promise.reject(error))(charge('"k"'))).rejects.toBe(error);
  });

  it("a probe settles it for the next one", async () => {
    await expect(wrap(() => Promise.reject(new Error("x")))(charge('"k"'))).rejects.toThrow("x");
    counted = counting();
    const probe = vi.fn<() => HttpProbeAnswer>(() => ({
      status: "completed",
      response: Response.json({ found: true }),
    }));
    const response = await wrap(counted, { probe })(charge('"k"'));
    expect(await response.json()).toEqual({ found: true });
    expect(response.headers.get("idempotent-replayed")).toBe("true");
    expect(counted).not.toHaveBeenCalled();
    expect(await (await wrap(counted)(charge('"k"'))).json()).toEqual({ found: true });
    expect(probe).toHaveBeenCalledTimes(1);
  });

  it("an operator settles it: with a response, with something else, as failed, or as not done", async () => {
    const pay = wrap(() => Promise.reject(new Error("x")));
    type How = { as: "completed"; response: unknown } | { as: "failed" | "not-done"; note?: string };
    const settled = async (key: string, how: How): Promise<Response> => {
      await expect(pay(charge(`"${key}"`))).rejects.toThrow("x");
      const found = await coord.executions.get(`http:customer%207:${key}`);
      if (found === null) throw new Error("nothing is recorded");
      await coord.executions.resolve(`http:customer%207:${key}`, { fence: found.fence, by: "ann", ...how });
      return wrap(() => new Response("ran"))(charge(`"${key}"`));
    };
    const stored = await storeResponse(Response.json({ id: 1 }, { status: 201 }));
    expect((await settled("a", { as: "completed", response: stored })).status).toBe(201);
    const other = await settled("b", { as: "completed", response: { charged: true } });
    expect(await problem(other)).toEqual([410, "response-not-stored"]);
    expect(await problem(await settled("c", { as: "failed", note: "secret note" }))).toEqual([
      500,
      "request-failed",
    ]);
    expect(await (await settled("d", { as: "not-done" })).text()).toBe("ran");
  });
});

describe("limits", () => {
  it("a request over the limit is 413 before it is read to its end, with or without its length", async () => {
    counted = counting();
    const pay = wrap(counted, { maxRequestBytes: 10 });
    expect(await problem(await pay(charge('"k"', "x".repeat(11))))).toEqual([413, "request-too-large"]);
    let pulled = 0;
    const endless = new ReadableStream({
      pull: (controller) => {
        pulled += 1;
        controller.enqueue(new Uint8Array(4));
      },
    });
    const headers = { "idempotency-key": '"k"' };
    const init = { method: "POST", headers, body: endless, duplex: "half" };
    const request = new Request("http://api.example/charges", init);
    expect(await problem(await pay(request))).toEqual([413, "request-too-large"]);
    expect(pulled).toBeLessThan(10);
    expect((await pay(charge('"k"', "x".repeat(10)))).status).toBe(201);
  });

  it("a response over the limit of a record reaches the first caller, and later ones learn that it is done", async () => {
    counted = counting(() => new Response("x".repeat(300_000), { status: 201 }));
    const pay = wrap(counted);
    const first = await pay(charge('"k"'));
    expect([first.status, (await first.text()).length]).toEqual([201, 300_000]);
    expect(await problem(await pay(charge('"k"')))).toEqual([410, "response-not-stored"]);
    expect(counted).toHaveBeenCalledTimes(1);
  });

  it("a store that does not answer is 503, and nothing runs", async () => {
    counted = counting();
    const down = open((backend) => ({
      ...backend,
      acquire: () => Promise.reject(new UnavailableError("down", { notDone: true })),
    }));
    const response = await wrap(counted, { coord: down, ttlMs: 1000 })(charge('"k"'));
    expect(await problem(response)).toEqual([503, "store-unavailable"]);
    await down.close();
    expect(await problem(await wrap(counted, { coord: down })(charge('"k"')))).toEqual([
      503,
      "store-unavailable",
    ]);
    expect(counted).not.toHaveBeenCalled();
  });

  it("a body that somebody has read already is an error that says what to do", async () => {
    const request = charge('"k"');
    await request.text();
    await expect(wrap(counting())(request)).rejects.toThrow("before whatever parses bodies");
  });

  it("problems take the form that their owner gives them", async () => {
    const pay = wrap(counting(), {
      problem: ({ code, status }) => Response.json({ error: code }, { status }),
    });
    const response = await pay(charge(undefined));
    expect([response.status, await response.json()]).toEqual([400, { error: "idempotency-key-missing" }]);
  });

  it.each([
    [{ scope: undefined }, "scope must be a function"],
    [{ coord: {} }, "coord must be a coordinator"],
    [{ maxRequestBytes: -1 }, "maxRequestBytes must be an integer from 0, got -1"],
    [{ documentaton: "x" }, 'no option "documentaton"'],
  ])("wrong options are refused when it is made: %o", (options, message) => {
    // @ts-expect-error as JavaScript would
    expect(() => wrap(counting(), options)).toThrow(message);
  });
});

describe("committed with the handler's own writes", () => {
  it("the response that was completed within a transaction is replayed, also when the handler throws after it", async () => {
    const store = createMemoryStore();
    const backend = memoryBackend({ store });
    const within = {
      release: (request: Parameters<Backend["release"]>[0]) =>
        backend.release(request, { signal: AbortSignal.timeout(1000), timeoutMs: 1000 }),
    };
    const own = createCoordinator({ backend, namespace: "api", cleanUp: false });
    const pay = wrap(
      async (_, execution) => {
        const response = Response.json({ id: 1 }, { status: 201 });
        await execution?.complete(await storeResponse(response), { within });
        throw new Error("after the commit");
      },
      { coord: own },
    );
    for (const replayed of [null, "true"]) {
      const response = await pay(charge('"k"'));
      expect([response.status, await response.json()]).toEqual([201, { id: 1 }]);
      expect(response.headers.get("idempotent-replayed")).toBe(replayed);
    }
    await own.close();
  });
});
