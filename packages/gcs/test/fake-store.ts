import { randomUUID } from "node:crypto";
import { Storage } from "@google-cloud/storage";
import type { AcquireRequest, Backend, CallOptions, Name } from "@coord/core";
import { type FakeGcs, type FakeRequest, startFakeGcs } from "@coord/test-fixtures";
import { gcsBackend } from "../src/index.ts";
import type { GcsBucket } from "../src/index.ts";
import { objectName } from "../src/object-name.ts";

/** One bucket on a fake of its own, whose clock and ours move together. */
export interface FakeStore {
  readonly fake: FakeGcs;
  /** A backend on a client of its own. */
  open(options?: { readonly endpoint?: string; readonly wrap?: (bucket: GcsBucket) => GcsBucket }): Backend;
  /** A bucket as people configure it, with the client's own retries on. */
  bucket(endpoint?: string): ReturnType<Storage["bucket"]>;
  /** Lets time pass for the store and for the backends. */
  pass(ms: number): void;
  objectOf(name: Name): string;
  /** Forgets the requests so far. */
  clearLog(): void;
  /** The methods of the requests since then; an upload is a POST, a body's GET is a `BODY`. */
  methods(): string[];
  close(): Promise<void>;
}

export const bucketName = "leases";

/** With `startMs` all clocks stand still, from then on, but for `pass`. */
export async function openFakeStore(startMs?: number): Promise<FakeStore> {
  const fake = await startFakeGcs({ clockMs: startMs === undefined ? undefined : () => startMs });
  fake.addBucket(bucketName);
  let passedMs = 0;
  const monotonicMs = (): number => (startMs ?? performance.now()) + passedMs;
  const bucket = (endpoint = fake.url): ReturnType<Storage["bucket"]> =>
    new Storage({ apiEndpoint: endpoint, projectId: "p" }).bucket(bucketName);
  return {
    fake,
    bucket,
    open: ({ endpoint, wrap = (it: GcsBucket): GcsBucket => it } = {}) =>
      gcsBackend({ client: wrap(bucket(endpoint)), monotonicMs }),
    pass(ms) {
      passedMs += ms;
      fake.shiftMs += ms;
    },
    objectOf: (name) => objectName("coord/", name),
    clearLog: () => void fake.log.splice(0),
    methods: () => fake.log.map(methodOf),
    close: () => fake.stop(),
  };
}

function methodOf({ method, query }: FakeRequest): string {
  return query.get("alt") === "media" ? "BODY" : method;
}

let names = 0;

/** A name that nobody has used. */
export const freshName = (key = `name ${(names += 1)}`): Name => ({ namespace: "ns", key: `l\u001f${key}` });

export const callOptions = (timeoutMs = 5000): CallOptions => ({
  signal: new AbortController().signal,
  timeoutMs,
});

type Optional<Request> = Partial<Omit<Request, "name" | "grantId">>;

export function acquireRequest(
  name: Name,
  grantId: string,
  wishes: Optional<AcquireRequest> = {},
): AcquireRequest {
  return { name, grantId, holder: "h", ttlMs: 30_000, sealed: false, retainMs: 60_000, ...wishes };
}

export interface Granted {
  readonly name: Name;
  readonly grantId: string;
  readonly fence: bigint;
  readonly ttlMs: number;
  readonly sealed: boolean;
  readonly retainMs: number;
}

/** A grant, with all that its renewals and its release ask for. */
export async function granted(
  backend: Backend,
  name: Name,
  wishes: Optional<AcquireRequest> = {},
): Promise<Granted> {
  const request = acquireRequest(name, randomUUID(), wishes);
  const result = await backend.acquire(request, callOptions());
  if (result.outcome !== "granted") throw new Error(`refused: ${result.reason}`);
  const { grantId, ttlMs } = request;
  return { name, grantId, fence: result.fence, ttlMs, sealed: false, retainMs: 60_000 };
}
