/** Real requests to real servers: what a client sees, in each framework alike. */
import { request as send } from "node:http";
import { type Coordinator, createCoordinator, type Execution, memoryBackend } from "@coord/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { idempotent } from "../src/index.ts";
import { type Serving, servers } from "./servers.ts";

describe.each(Object.entries(servers))("in %s", (_, serve) => {
  let coord: Coordinator;
  let serving: Serving;
  let runs: unknown[];
  let executions: (Execution | undefined)[];
  let finish: () => void;
  let held: Promise<void> | undefined;
  let begun: () => void;

  beforeEach(async () => {
    coord = createCoordinator({ backend: memoryBackend(), namespace: "api", cleanUp: false });
    runs = [];
    executions = [];
    held = undefined;
    begun = () => {};
    const charge = idempotent(
      {
        coord,
        scope: (request) => request.headers.get("authorization") ?? "nobody",
        maxRequestBytes: 100_000,
        documentation: "https://api.example/docs",
      },
      async (request, execution) => {
        const body: unknown = await request.json();
        runs.push(body);
        executions.push(execution);
        begun();
        await held;
        if (JSON.stringify(body).includes("break")) throw new Error("broken");
        const headers = { location: "/charges/ch_1", "set-cookie": "a=1" };
        return Response.json({ charged: body, run: runs.length }, { status: 201, headers });
      },
    );
    serving = await serve(charge);
  });
  afterEach(async () => {
    await serving.close();
    await coord.close();
  });

  const post = (
    key: string | undefined,
    body: object,
    more: Record<string, string> = {},
  ): Promise<Response> =>
    fetch(`${serving.url}/charges`, {
      method: "POST",
      body: JSON.stringify(body),
      headers: {
        "content-type": "application/json",
        ...(key !== undefined && { "idempotency-key": key }),
        ...more,
      },
    });
  const codeOf = async (response: Response): Promise<unknown> => {
    const body: unknown = await response.json();
    return typeof body === "object" && body !== null && "code" in body ? body.code : undefined;
  };

  it("the first request runs, and its repeats get its status, headers and body", async () => {
    const first = await post('"k"', { amount: 5 });
    expect(first.status).toBe(201);
    expect(first.headers.get("location")).toBe("/charges/ch_1");
    expect(first.headers.getSetCookie()).toEqual(["a=1"]);
    const text = await first.text();
    expect(JSON.parse(text)).toEqual({ charged: { amount: 5 }, run: 1 });
    for (const repeat of await Promise.all([post('"k"', { amount: 5 }), post("k", { amount: 5 })])) {
      expect(repeat.status).toBe(201);
      expect(repeat.headers.get("location")).toBe("/charges/ch_1");
      expect(repeat.headers.get("idempotent-replayed")).toBe("true");
      expect(repeat.headers.get("content-type")).toContain("application/json");
      expect(repeat.headers.getSetCookie()).toEqual([]);
      expect(await repeat.text()).toBe(text);
    }
    expect(runs).toEqual([{ amount: 5 }]);
    expect(executions[0]?.idempotencyKey).toHaveLength(43);
  });

  it("without the header 400, with another body 422, while it runs 409, too large 413", async () => {
    const missing = await post(undefined, { amount: 5 });
    expect(missing.status).toBe(400);
    expect(missing.headers.get("content-type")).toContain("application/problem+json");
    expect(missing.headers.get("link")).toContain('rel="describedby"');
    expect(await codeOf(missing)).toBe("idempotency-key-missing");
    held = new Promise((resolve) => (finish = resolve));
    const began = new Promise<void>((resolve) => (begun = resolve));
    const first = post('"k"', { amount: 5 });
    await began;
    const second = await post('"k"', { amount: 5 });
    expect([second.status, second.headers.get("retry-after")]).toEqual([409, "1"]);
    const other = await post('"k"', { amount: 6 });
    expect([other.status, await codeOf(other)]).toEqual([422, "input-differs"]);
    finish();
    expect((await first).status).toBe(201);
    const large = await post('"l"', { note: "x".repeat(100_000) });
    expect([large.status, await codeOf(large)]).toEqual([413, "request-too-large"]);
    expect(runs).toHaveLength(1);
  });

  it("of 50 at once one runs, and the others get its answer or 409", async () => {
    const responses = await Promise.all(Array.from({ length: 50 }, () => post('"k"', { amount: 5 })));
    const statuses = new Set(responses.map(({ status }) => status));
    expect([...statuses].filter((status) => status !== 201 && status !== 409)).toEqual([]);
    expect(responses.filter(({ status }) => status === 201).length).toBeGreaterThan(0);
    expect(runs).toHaveLength(1);
  });

  it("another caller's key is another request", async () => {
    await post('"k"', { amount: 5 }, { authorization: "ann" });
    await post('"k"', { amount: 5 }, { authorization: "bob" });
    expect(runs).toHaveLength(2);
  });

  it("an error of the handler is the framework's 500, and then uncertain", async () => {
    const broken = await post('"k"', { break: true });
    expect(broken.status).toBe(500);
    expect(await broken.text()).not.toContain("idempotency");
    const repeat = await post('"k"', { break: true });
    expect([repeat.status, await codeOf(repeat)]).toEqual([500, "outcome-uncertain"]);
    expect(runs).toHaveLength(1);
  });

  it("a client that hangs up and comes back gets the answer of what it began", async () => {
    held = new Promise((resolve) => (finish = resolve));
    const began = new Promise<void>((resolve) => (begun = resolve));
    const headers = { "content-type": "application/json", "idempotency-key": '"k"' };
    const impatient = send(`${serving.url}/charges`, { method: "POST", headers });
    impatient.on("error", () => {});
    impatient.end('{"amount":5}');
    await began;
    impatient.destroy();
    await new Promise((resolve) => impatient.once("close", resolve));
    finish();
    await expect.poll(async () => (await post('"k"', { amount: 5 })).status, { timeout: 10_000 }).toBe(201);
    expect(runs).toHaveLength(1);
  });

  it("other routes of the server have their bodies as ever", async () => {
    const echoed = await fetch(`${serving.url}/echo`, {
      method: "POST",
      body: '{"a":1}',
      headers: { "content-type": "application/json" },
    });
    expect(await echoed.json()).toEqual({ a: 1 });
  });
});
