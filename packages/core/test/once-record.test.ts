import { describe, expect, it } from "vitest";
import type { RecordView } from "../src/backend.ts";
import {
  claim,
  complete,
  decode,
  encode,
  inputDiffers,
  rerun,
  settle,
  standingOf,
} from "../src/once-record.ts";
import type { ExecutionPayload, Standing } from "../src/once-record.ts";

const writer = { at: 1000, by: "host:1" };
const spec = { fingerprint: "f", ttlMs: 3000, retainMs: 7000 };
const fence = 41n;

function view(payload: ExecutionPayload | string | undefined, change: Partial<RecordView> = {}): RecordView {
  return {
    namespace: "n",
    key: "x",
    fence,
    grantId: "g",
    holder: "host:1",
    expiresAt: 0,
    sealed: true,
    payload: typeof payload === "object" ? encode(payload) : payload,
    payloadSeq: 0,
    retainMs: 1,
    purgeAt: 1,
    state: "free",
    remainingMs: 0,
    ...change,
  };
}

const first = claim(undefined, spec, writer);
const held = { state: "held", expiresAt: 9, remainingMs: 9 } as const;
const lapsed = { state: "lapsed", expiresAt: 9 } as const;
const open = { sealed: false } as const;
const done = complete(first, fence, { value: 7 }, writer);
const unsure = settle(first, fence, "uncertain", writer, { thrown: new Error("x") });
const undone = settle(first, fence, "not-done", writer, { thrown: new Error("x") });
const failed = settle(first, fence, "failed", writer, { thrown: new TypeError("no") });
const reopened = rerun(unsure, fence, writer);
const after = (payload: ExecutionPayload, change: Partial<RecordView> = {}): Standing =>
  standingOf(view(payload, change));

describe("a record is read as", () => {
  it.each<[string, ExecutionPayload | string | undefined, Partial<RecordView>, Standing["status"], number]>([
    ["running while the claim is held", first, held, "running", 1],
    ["uncertain when the claim lapsed", first, lapsed, "uncertain", 1],
    ["uncertain when it was released without a word and sealed", first, {}, "uncertain", 1],
    ["not done when the claim was given back", first, open, "not-done", 0],
    ["completed", done, {}, "completed", 1],
    ["failed", failed, {}, "failed", 1],
    ["uncertain when its function threw", unsure, {}, "uncertain", 1],
    ["not done when its function said so", undone, open, "not-done", 1],
    [
      "not done when a person said so and the old claim lapsed",
      undone,
      { ...open, ...lapsed },
      "not-done",
      1,
    ],
    ["running when a person said so and the old claim is held", undone, { ...open, ...held }, "running", 1],
    ["uncertain to others when it was opened for a rerun", reopened, open, "uncertain", 1],
    [
      "uncertain when the claim of a rerun was given back",
      claim(after(reopened, open), spec, writer),
      open,
      "uncertain",
      1,
    ],
    [
      "not done when the claim of a retry was given back",
      claim(after(undone, open), spec, writer),
      open,
      "not-done",
      1,
    ],
    ["not done when nobody ever ran it", undefined, open, "not-done", 0],
    ["uncertain when it can't be read", "}", {}, "uncertain", 0],
    ["uncertain when it can't be read and is not sealed", "[]", open, "uncertain", 0],
    ["uncertain when it is sealed without a word", undefined, {}, "uncertain", 0],
    ["running when it is held and can't be read", "x", held, "running", 0],
  ])("%s", (_, payload, change, status, attempt) => {
    const standing = standingOf(view(payload, change));
    expect([standing.status, standing.payload.attempt]).toEqual([status, attempt]);
  });
});

describe("a transition", () => {
  it("begins with attempt 1 and counts on, keeping the first start and the progress", () => {
    expect(first).toMatchObject({ state: "executing", attempt: 1, startedAt: 1000, before: "not-done" });
    const saved = settle({ ...first, progress: { page: 2 } }, fence, "not-done", writer);
    const second = claim(after(saved, open), spec, { ...writer, at: 5000 });
    expect(second).toMatchObject({ attempt: 2, startedAt: 1000, progress: { page: 2 } });
    expect(second.log.map(({ outcome }) => outcome)).toEqual(["started", "not-done", "started"]);
  });

  it("counts a claim that was given back as no attempt and leaves no trace of it in the log", () => {
    const again = claim(after(first, open), spec, writer);
    expect(again.attempt).toBe(1);
    expect(again.log).toHaveLength(1);
  });

  it("logs who, when, the fence that it ended, and an error's name but not its message", () => {
    const thrown = Object.assign(new TypeError("password=hunter2"), { code: "E1" });
    expect(settle(first, fence, "uncertain", { ...writer, note: "n" }, { thrown }).log.at(-1)).toEqual({
      at: 1000,
      by: "host:1",
      note: "n",
      fence: "41",
      outcome: "uncertain",
      error: "TypeError",
    });
    expect(JSON.stringify(settle(first, fence, "uncertain", writer, { thrown }))).not.toContain("hunter2");
    expect(settle(first, fence, "failed", writer, { thrown }).failure).toEqual({
      name: "TypeError",
      message: "password=hunter2",
      code: "E1",
    });
  });

  it("drops the progress with the answer, and tells no response from one that could not be stored", () => {
    const saved = { ...first, progress: 1 };
    expect(complete(saved, fence, { value: undefined }, writer)).toMatchObject({ response: {} });
    expect(complete(saved, fence, { value: 0 }, writer)).toMatchObject({ response: { value: 0 } });
    const without = complete(saved, fence, { notStored: "too large" }, writer);
    expect(without.response).toBeUndefined();
    expect(without.notStored).toBe("too large");
    expect(without.progress).toBeUndefined();
  });

  it("keeps 50 entries of the log, fewer when they are long, so that core's part stays under 64 KiB", () => {
    let payload = first;
    const long = { at: 1, by: "\u0001".repeat(255), note: "\u0001".repeat(1000) };
    for (let i = 0; i < 60; i += 1) payload = settle(payload, fence, "not-done", writer);
    expect(payload.log).toHaveLength(50);
    for (let i = 0; i < 60; i += 1) {
      payload = settle(payload, fence, "failed", long, { thrown: new Error("\u0001".repeat(9999)) });
    }
    expect(Buffer.byteLength(encode(payload))).toBeLessThan(65_536);
  });

  it("survives the store", () => {
    for (const payload of [first, done, unsure, undone, failed, reopened]) {
      expect(encode(decode(encode(payload)) ?? first)).toBe(encode(payload));
    }
  });
});

describe("an input", () => {
  it.each([
    ["differs from that of a run", done, {}, true],
    ["differs from that of a claim that is held", first, held, true],
    ["differs from that of a run that was not done", undone, open, true],
    ["is free where nothing ever ran", first, open, false],
  ])("%s", (_, payload, change, differs) => {
    expect(inputDiffers(after(payload, change), "other")).toBe(differs);
    expect(inputDiffers(after(payload, change), "f")).toBe(false);
  });
});
