import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { createMemoryStore, InvalidArgumentError, memoryBackend } from "@coord/core";
import { type FakeFault, startFakeGcs } from "@coord/test-fixtures";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type GcsBucket, gcsBackend } from "../src/index.ts";
import {
  acquireRequest,
  bucketName,
  callOptions,
  type FakeStore,
  freshName,
  openFakeStore,
} from "./fake-store.ts";

// A busy machine may be slow.
vi.setConfig({ testTimeout: 60_000 });

let store: FakeStore;

beforeEach(async () => {
  store = await openFakeStore();
});

afterEach(() => store.close());

const options = callOptions();

test.each([
  ["https://bucket/x", "scheme"],
  ["gs://", "no bucket"],
  ["no url", "no URL at all"],
  ["gs://user:topsecret@bucket", "credentials"],
  ["gs://bucket?speed=1", "unknown parameter speed"],
  ["gs://bucket?endpoint=ftp://x", "endpoint"],
  ["gs://bucket/a//", "prefix"],
])("the url %s is refused before anything is sent", (url, fault) => {
  const make = (): unknown => gcsBackend({ url });
  expect(make).toThrow(InvalidArgumentError);
  expect(make).toThrow(fault);
  expect(make).not.toThrow("topsecret");
});

test.each(["/a", "a/", "a\nb", "x".repeat(201)])("the prefix %j is refused", (prefix) => {
  expect(() => gcsBackend({ url: "gs://bucket", prefix })).toThrow(InvalidArgumentError);
});

test("a client without the methods, or beside a url, is refused", () => {
  const client: GcsBucket = Object.create(null);
  expect(() => gcsBackend({ client })).toThrow("Bucket of @google-cloud/storage");
  expect(() => gcsBackend({ url: "gs://bucket/a", prefix: "b" })).toThrow("not in both");
});

test("a url with a prefix opens a client of its own, whose records lie there", async () => {
  const backend = gcsBackend({ url: `gs://${bucketName}/jobs/nightly?endpoint=${store.fake.url}` });
  await backend.setup(options);
  await backend.acquire(acquireRequest({ namespace: "ns", key: "k" }, "g"), options);
  expect([...store.fake.objects(bucketName).keys()]).toEqual(["jobs/nightly/ns/k"]);
  await backend.close();
});

test("any object with a name and a request will do for a bucket", async () => {
  const requests: string[] = [];
  const bucket: GcsBucket = {
    name: bucketName,
    storage: { apiEndpoint: store.fake.url },
    async request({ method, uri, headers, body }) {
      requests.push(method);
      const url = uri.startsWith("http") ? uri : `${store.fake.url}/storage/v1/b/${bucketName}${uri}`;
      const response = await fetch(url, { method, headers, ...(body !== undefined && { body }) });
      const text = await response.text();
      const answer = { statusCode: response.status, headers: Object.fromEntries(response.headers) };
      if (!response.ok) throw Object.assign(new Error(text), { code: response.status, response: answer });
      return [
        response.headers.get("content-type")?.startsWith("application/json") ? JSON.parse(text) : text,
        answer,
      ];
    },
  };
  const backend = gcsBackend({ client: bucket });
  const request = acquireRequest(freshName(), "g", { payload: '{"a":1}' });
  expect(await backend.acquire(request, options)).toMatchObject({ outcome: "granted" });
  expect((await gcsBackend({ client: bucket }).inspect(request.name, options))?.payload).toBe('{"a":1}');
  expect(requests).toEqual(["GET", "POST", "GET", "GET"]);
});

describe("errors of the store", () => {
  const cases: readonly (readonly [FakeFault, string, string])[] = [
    [{ status: 400, reason: "invalid" }, "COORD_CONFIGURATION", "(400 invalid)"],
    [{ status: 401, reason: "authError" }, "COORD_CONFIGURATION", "credentials"],
    [{ status: 403, reason: "forbidden" }, "COORD_CONFIGURATION", "roles/storage.objectUser"],
    [{ status: 403, reason: "retentionPolicyNotMet" }, "COORD_CONFIGURATION", "without retention policy"],
    [{ status: 403, reason: "quotaExceeded" }, "COORD_UNAVAILABLE", "too frequent"],
    [{ status: 502 }, "COORD_UNAVAILABLE", "may or may not have happened"],
  ];
  test.each(cases)("%j is %s", async (fault, code, words) => {
    store.fake.faults.push({ ...fault, times: 1 });
    const failed = store.open().acquire(acquireRequest(freshName(), "g"), options);
    await expect(failed).rejects.toMatchObject({ code, cause: { response: expect.anything() } });
    store.fake.faults.push({ ...fault, times: 1 });
    await expect(store.open().inspect(freshName(), options)).rejects.toThrow(words);
  });

  test("Retry-After is handed on, 503 asks for a second, and other faults leave the pace to core", async () => {
    const waits: unknown[] = [];
    for (const fault of [
      { status: 503, headers: { "retry-after": "7" } },
      { status: 503 },
      { status: 500 },
    ]) {
      store.fake.faults.push({ ...fault, times: 1 });
      const error: unknown = await store
        .open()
        .inspect(freshName(), options)
        .catch((it: unknown) => it);
      if (error instanceof Error && "retryAfterMs" in error) waits.push(error.retryAfterMs);
    }
    expect(waits).toEqual([7000, 1000, undefined]);
  });

  test("a bucket that does not exist is a configuration error of every call", async () => {
    store.fake.removeBucket(bucketName);
    const backend = store.open();
    const missing = { code: "COORD_CONFIGURATION" };
    await expect(backend.setup(options)).rejects.toThrow("Create the bucket");
    await expect(backend.acquire(acquireRequest(freshName(), "g"), options)).rejects.toMatchObject(missing);
    await expect(backend.list({ namespace: "ns", prefix: "", limit: 1 }, options)).rejects.toMatchObject(
      missing,
    );
    await expect(backend.prune({ limit: 1 }, options)).rejects.toMatchObject(missing);
    expect((await backend.diagnose(options)).findings).toMatchObject([{ level: "error" }]);
  });

  test("a server that is not there is unknown, and surely not done", async () => {
    await store.fake.serverFaults.kill();
    const failed = store.open().acquire(acquireRequest(freshName(), "g"), options);
    await expect(failed).rejects.toMatchObject({ code: "COORD_UNAVAILABLE", notDone: true });
  });

  test("an answer without a Date is no answer", async () => {
    store.fake.faults.push({ headers: { date: "" } });
    await expect(store.open().inspect(freshName(), options)).rejects.toThrow("has no Date header");
  });
});

describe("diagnose", () => {
  const levels = async (): Promise<string[]> =>
    (await store.open().diagnose(options)).findings.map(({ level, message }) => `${level}: ${message}`);

  test("finds nothing on a bucket as it should be, leaves nothing behind, and reads the clock", async () => {
    store.fake.shiftMs = 3_600_000;
    const { findings, clock } = await store.open().diagnose(options);
    expect(findings.map(({ level }) => level)).toEqual(["ok", "ok", "ok"]);
    expect(store.fake.objects(bucketName).size).toBe(0);
    expect(Math.abs(clock.storeMs - clock.beforeMs - 3_600_000)).toBeLessThan(2000);
  });

  test.each([
    [{ retentionPolicy: { retentionPeriod: "60" } }, "error: The bucket has a retention policy"],
    [{ defaultEventBasedHold: true }, "error: New objects get a hold"],
    [{ versioning: { enabled: true } }, "warning: Versioning keeps"],
    [{ softDeletePolicy: { retentionDurationSeconds: "604800" } }, "warning: Soft delete keeps"],
    [{ billing: { requesterPays: true } }, "error: The requester pays"],
    [{ hierarchicalNamespace: { enabled: true } }, "warning: Leases are not tested"],
    [
      { lifecycle: { rule: [{ action: { type: "Delete" }, condition: { age: 1 } }] } },
      "error: A lifecycle rule",
    ],
  ])("%j is reported", async (settings, finding) => {
    store.fake.addBucket(bucketName, settings);
    expect((await levels()).some((it) => it.startsWith(finding))).toBe(true);
  });

  test("a lifecycle rule for other objects is none of our business", async () => {
    const condition = { age: 1, matchesPrefix: ["backups/"] };
    store.fake.addBucket(bucketName, { lifecycle: { rule: [{ action: { type: "Delete" }, condition }] } });
    expect((await levels()).filter((it) => !it.startsWith("ok"))).toEqual([]);
  });

  test("missing permissions are named, and settings that may not be read are a warning", async () => {
    const { denied } = store.fake.addBucket(bucketName);
    denied.add("storage.objects.delete").add("storage.buckets.get");
    const found = await levels();
    expect(found).toContain("error: Permissions are missing: storage.objects.delete.");
    expect(found.some((it) => it.startsWith("warning: The bucket's settings (storage.buckets.get)"))).toBe(
      true,
    );
  });

  test.each(["PATCH", "POST"])("a server that ignores preconditions of %s is found out", async (method) => {
    store.fake.careless = new Set([method]);
    expect((await levels()).some((it) => it.startsWith("error:"))).toBe(true);
  });
});

test("after close nothing keeps the process", async () => {
  const fake = await startFakeGcs();
  fake.addBucket(bucketName);
  const program = fileURLToPath(new URL("child.ts", import.meta.url));
  const args = ["--conditions=source", "--import", "tsx", program, `gs://${bucketName}?endpoint=${fake.url}`];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 30_000 });
  expect(stdout).toMatch(/^renewed, exits after \d+ ms\n$/);
  await fake.stop();
}, 40_000);

test("the memory backend and this one are the same type to core", () => {
  expect(Object.keys(store.open()).toSorted()).toEqual(
    Object.keys(memoryBackend({ store: createMemoryStore() }))
      .filter((key) => key !== "watch")
      .toSorted(),
  );
});
