import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type FakeBucket, type FakeGcs, startFakeGcs } from "../src/gcs-fake.ts";

let fake: FakeGcs;
let bucket: FakeBucket;

beforeEach(async () => {
  fake = await startFakeGcs();
  bucket = fake.addBucket("b");
});

afterEach(() => fake.stop());

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** A field of the JSON body. */
  readonly get: (name: string) => unknown;
}

async function send(method: string, path: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(fake.url + path, { method, ...init });
  const text = await response.text();
  const get = (name: string): unknown => {
    const json: Record<string, unknown> = JSON.parse(text);
    return json[name];
  };
  return { status: response.status, headers: response.headers, text, get };
}

function upload(name: string, query: string, description: object = {}, content = "body"): Promise<Answer> {
  const json = JSON.stringify({ name, contentType: "text/plain", ...description });
  return send("POST", `/upload/storage/v1/b/b/o?uploadType=multipart&${query}`, {
    headers: { "content-type": "multipart/related; boundary=x1" },
    body: `--x1\r\ncontent-type: application/json\r\n\r\n${json}\r\n--x1\r\ncontent-type: text/plain\r\n\r\n${content}\r\n--x1--`,
  });
}

const objectPath = (name: string): string => `/storage/v1/b/b/o/${encodeURIComponent(name)}`;
const patch = (name: string, query: string, json: unknown): Promise<Answer> =>
  send("PATCH", `${objectPath(name)}?${query}`, { body: JSON.stringify(json) });
const reasonOf = (answer: Answer): unknown => /"reason":"(\w+)"/.exec(answer.text)?.[1];

async function created(name: string, description: object = {}, content?: string): Promise<string> {
  const answer = await upload(name, "ifGenerationMatch=0", description, content);
  expect(answer.status).toBe(200);
  return String(answer.get("generation"));
}

describe("preconditions", () => {
  test("an upload under generation 0 creates once", async () => {
    const first = await upload("a", "ifGenerationMatch=0");
    expect([first.status, first.get("metageneration")]).toEqual([200, "1"]);
    const second = await upload("a", "ifGenerationMatch=0");
    expect([second.status, reasonOf(second)]).toEqual([412, "conditionNotMet"]);
  });

  test("of 40 uploads at once one creates, of 40 patches under one version one is applied", async () => {
    const uploads = await Promise.all(Array.from({ length: 40 }, () => upload("a", "ifGenerationMatch=0")));
    const winners = uploads.filter(({ status }) => status === 200);
    expect(winners).toHaveLength(1);
    const version = `ifGenerationMatch=${String(winners[0]?.get("generation"))}&ifMetagenerationMatch=1`;
    const patches = await Promise.all(
      Array.from({ length: 40 }, () => patch("a", version, { metadata: {} })),
    );
    expect(patches.map(({ status }) => status).filter((status) => status === 200)).toHaveLength(1);
  });

  test("each of the four must hold on a GET", async () => {
    const generation = await created("a");
    const statuses = await Promise.all(
      [
        `ifGenerationMatch=${generation}&ifMetagenerationMatch=1`,
        "ifGenerationMatch=1",
        `ifGenerationNotMatch=${generation}`,
        "ifMetagenerationMatch=2",
        "ifMetagenerationNotMatch=1",
      ].map(async (query) => (await send("GET", `${objectPath("a")}?${query}`)).status),
    );
    expect(statuses).toEqual([200, 412, 412, 412, 412]);
  });

  test("an absent object has no metageneration for an upload, and is 404 for all else", async () => {
    expect((await upload("a", "ifGenerationMatch=0&ifMetagenerationMatch=1")).status).toBe(412);
    expect((await patch("a", "ifGenerationMatch=5", {})).status).toBe(404);
    expect((await send("DELETE", `${objectPath("a")}?ifGenerationMatch=5`)).status).toBe(404);
    expect((await send("GET", objectPath("a"))).status).toBe(404);
  });

  test("a mutation without a generation precondition is refused, unless the fake is not strict", async () => {
    expect((await upload("a", "")).text).toContain("strict fake: mutation without precondition");
    const generation = await created("a");
    expect((await patch("a", "ifMetagenerationMatch=1", {})).status).toBe(400);
    expect((await send("DELETE", objectPath("a"))).status).toBe(400);
    fake.strict = false;
    expect((await patch("a", "", {})).status).toBe(200);
    expect(String(fake.objects("b").get("a")?.generation)).toBe(generation);
  });
});

describe("objects", () => {
  test("an upload replaces all, and generations do not rise", async () => {
    const generations = [await created("a", { metadata: { kept: "no" } }, "one")];
    for (let i = 0; i < 8; i += 1) {
      const answer = await upload("a", `ifGenerationMatch=${generations.at(-1)}`, {}, "two");
      expect([answer.get("metageneration"), answer.get("metadata")]).toEqual(["1", undefined]);
      generations.push(String(answer.get("generation")));
    }
    expect(new Set(generations).size).toBe(9);
    expect(generations.toSorted()).not.toEqual(generations);
  });

  test("a patch merges metadata, raises the metageneration and leaves body and generation", async () => {
    const generation = await created("a", { metadata: { a: "1", b: "2" } }, "text");
    const answer = await patch("a", `ifGenerationMatch=${generation}`, { metadata: { b: null, c: "3" } });
    expect(answer.get("metadata")).toEqual({ a: "1", c: "3" });
    expect([answer.get("generation"), answer.get("metageneration")]).toEqual([generation, "2"]);
    const body = await send("GET", `${objectPath("a")}?alt=media&generation=${generation}`);
    expect([body.status, body.text, body.headers.get("x-goog-metageneration")]).toEqual([200, "text", "2"]);
    expect([...body.headers.keys()].filter((key) => key.startsWith("x-goog-meta-"))).toEqual([]);
  });

  test("the body of a generation that was replaced is gone", async () => {
    const generation = await created("a");
    await upload("a", `ifGenerationMatch=${generation}`);
    expect((await send("GET", `${objectPath("a")}?alt=media&generation=${generation}`)).status).toBe(404);
  });

  test("a body may hold line ends, the boundary's beginning and every plane", async () => {
    const content = "\r\n--x\r\n\r\n--\u{1f600}\r\n";
    await created("a", {}, content);
    expect((await send("GET", `${objectPath("a")}?alt=media`)).text).toBe(content);
  });

  test("only the fields that were asked for are answered", async () => {
    await created("a", { metadata: { a: "1" } });
    const answer = await send("GET", `${objectPath("a")}?fields=name,metadata`);
    expect(JSON.parse(answer.text)).toEqual({ name: "a", metadata: { a: "1" } });
    const list = await send("GET", "/storage/v1/b/b/o?fields=items(name),nextPageToken");
    expect(JSON.parse(list.text)).toEqual({ items: [{ name: "a" }] });
  });

  test.each([
    ["a value that is no string", "a", { metadata: { a: 1 } }],
    ["over 8192 bytes of metadata", "a", { metadata: { a: "x".repeat(8192) } }],
    ["an empty name", "", {}],
    ["a name over 1024 bytes", "x".repeat(1025), {}],
    ["a line end in the name", "a\nb", {}],
    ["the name ..", "..", {}],
    ["a reserved name", ".well-known/acme-challenge/a", {}],
  ])("%s is 400", async (_, name, description) => {
    expect((await upload(name, "ifGenerationMatch=0", description)).status).toBe(400);
  });

  test("customTime moves only forward", async () => {
    const generation = await created("a", { customTime: "2030-01-01T00:00:00Z" });
    const version = `ifGenerationMatch=${generation}`;
    expect((await patch("a", version, { customTime: "2029-01-01T00:00:00Z" })).status).toBe(400);
    expect((await patch("a", version, { customTime: null })).status).toBe(400);
    expect((await patch("a", version, { customTime: "2031-01-01T00:00:00Z" })).status).toBe(200);
  });

  test("under a retention policy nothing is replaced or deleted, and a patch works", async () => {
    bucket.settings["retentionPolicy"] = { retentionPeriod: "60" };
    const version = `ifGenerationMatch=${await created("a")}`;
    expect(reasonOf(await upload("a", version))).toBe("retentionPolicyNotMet");
    expect((await send("DELETE", `${objectPath("a")}?${version}`)).status).toBe(403);
    expect((await patch("a", version, { metadata: { a: "1" } })).status).toBe(200);
  });

  test("a delete is 204 and empty", async () => {
    const answer = await send("DELETE", `${objectPath("a")}?ifGenerationMatch=${await created("a")}`);
    expect([answer.status, answer.text, fake.objects("b").size]).toEqual([204, "", 0]);
  });
});

test("a list is in byte order, from startOffset to before endOffset, in pages", async () => {
  const names = ["p/~", "p/Z", "p/\u{ff61}", "p/\u{1f600}", "p/..", "q"];
  for (const name of names) await created(name);
  const seen: unknown[] = [];
  let token: unknown;
  do {
    const query = `prefix=p/&maxResults=2${typeof token === "string" ? `&pageToken=${token}` : ""}`;
    const answer = await send("GET", `/storage/v1/b/b/o?${query}&fields=items(name),nextPageToken`);
    const items = answer.get("items");
    if (Array.isArray(items)) seen.push(...items.map((item: { name?: unknown }) => item.name));
    token = answer.get("nextPageToken");
  } while (token !== undefined);
  expect(seen).toEqual(["p/..", "p/Z", "p/~", "p/\u{ff61}", "p/\u{1f600}"]);
  const part = await send("GET", "/storage/v1/b/b/o?startOffset=p/Z&endOffset=p/~&fields=items(name)");
  expect(JSON.parse(part.text)).toEqual({ items: [{ name: "p/Z" }] });
  expect((await send("GET", "/storage/v1/b/b/o?prefix=none")).get("items")).toBeUndefined();
});

describe("bucket and permissions", () => {
  test("only an existing bucket answers, with its settings", async () => {
    bucket.settings["versioning"] = { enabled: true };
    expect((await send("GET", "/storage/v1/b/b")).get("versioning")).toEqual({ enabled: true });
    expect(reasonOf(await send("GET", "/storage/v1/b/other"))).toBe("notFound");
    expect((await send("GET", "/storage/v1/b/b/acl")).status).toBe(400);
  });

  test("a denied permission is 403, and overwriting needs the one to delete", async () => {
    bucket.denied.add("storage.objects.delete");
    const version = `ifGenerationMatch=${await created("a")}`;
    expect(reasonOf(await upload("a", version))).toBe("forbidden");
    const query = "permissions=storage.objects.delete&permissions=storage.objects.get";
    const asked = await send("GET", `/storage/v1/b/b/iam/testPermissions?${query}`);
    expect(asked.get("permissions")).toEqual(["storage.objects.get"]);
  });
});

describe("knobs", () => {
  const dateOf = (answer: Answer): number => Date.parse(answer.headers.get("date") ?? "");

  test("one clock feeds Date, also of errors, and the times of objects", async () => {
    fake.shiftMs = 3_600_000;
    const answer = await upload("a", "ifGenerationMatch=0");
    const missing = await send("GET", objectPath("none"));
    for (const ms of [dateOf(answer), dateOf(missing), Date.parse(String(answer.get("updated")))]) {
      expect(Math.abs(ms - Date.now() - 3_600_000)).toBeLessThan(10_000);
    }
  });

  test("a mutation too soon after the last one is 429, and nothing is applied", async () => {
    fake.minGapMs = 1000;
    const version = `ifGenerationMatch=${await created("a")}`;
    expect(reasonOf(await patch("a", version, { metadata: { a: "1" } }))).toBe("rateLimitExceeded");
    fake.shiftMs += 1000;
    expect((await patch("a", version, { metadata: { a: "1" } })).get("metageneration")).toBe("2");
  });

  test("a fault strikes what matches, as often as it says", async () => {
    const isUpload = ({ method }: { method: string }): boolean => method === "POST";
    fake.faults.push({ match: isUpload, times: 1, status: 503, headers: { "retry-after": "7" } });
    expect((await send("GET", objectPath("a"))).status).toBe(404);
    const answer = await upload("a", "ifGenerationMatch=0");
    expect([answer.status, reasonOf(answer), answer.headers.get("retry-after")]).toEqual([
      503,
      "backendError",
      "7",
    ]);
    await created("a");
  });

  test("a swallowed request is executed, a dropped one is not", async () => {
    fake.faults.push({ times: 1, drop: true });
    await expect(upload("a", "ifGenerationMatch=0")).rejects.toThrow();
    expect(fake.objects("b").size).toBe(0);
    fake.faults.push({ times: 1, swallow: true });
    await expect(upload("a", "ifGenerationMatch=0")).rejects.toThrow();
    expect(fake.objects("b").size).toBe(1);
  });

  test("a late packet is executed late, a late answer at once", async () => {
    fake.faults.push({ times: 1, beforeMs: 300 }, { times: 1, afterMs: 300 });
    const packet = upload("a", "ifGenerationMatch=0");
    await expect.poll(() => fake.log.length).toBe(1);
    const answer = upload("b", "ifGenerationMatch=0");
    await expect.poll(() => fake.objects("b").has("b")).toBe(true);
    expect(fake.objects("b").has("a")).toBe(false);
    expect([(await packet).status, (await answer).status]).toEqual([200, 200]);
  });

  test("the Date of one answer can be off", async () => {
    fake.faults.push({ times: 1, dateSkewMs: -60_000 });
    const skewed = dateOf(await send("GET", objectPath("a")));
    expect(dateOf(await send("GET", objectPath("a"))) - skewed).toBeGreaterThan(50_000);
  });

  test("a careless server ignores preconditions where it is told to", async () => {
    fake.careless = new Set(["PATCH"]);
    await created("a");
    expect((await patch("a", "ifGenerationMatch=1", {})).get("metageneration")).toBe("1");
  });

  test("the log has every request", async () => {
    await send("GET", `${objectPath("ä b")}?fields=name`);
    expect(fake.log.map(({ method, path, query }) => [method, path, query.get("fields")])).toEqual([
      ["GET", "/storage/v1/b/b/o/%C3%A4%20b", "name"],
    ]);
  });
});

describe("the server as a whole", () => {
  test("answers nobody while paused, and executes what arrived when it resumes", async () => {
    await fake.serverFaults.pause();
    const answer = upload("a", "ifGenerationMatch=0");
    await expect.poll(() => fake.log.length).toBe(1);
    expect(fake.objects("b").size).toBe(0);
    await fake.serverFaults.resume();
    expect((await answer).status).toBe(200);
  });

  test("keeps address and objects over a restart; what a killed server had received is gone", async () => {
    await created("a");
    await fake.serverFaults.pause();
    const lost = upload("b", "ifGenerationMatch=0");
    await expect.poll(() => fake.log.length).toBe(2);
    await fake.serverFaults.kill();
    await expect(lost).rejects.toThrow();
    await expect(send("GET", objectPath("a"))).rejects.toThrow();
    await fake.serverFaults.restart();
    expect((await send("GET", objectPath("a"))).status).toBe(200);
    expect(fake.objects("b").has("b")).toBe(false);
  });
});
