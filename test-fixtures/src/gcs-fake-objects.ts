/**
 * The rules of the Cloud Storage JSON API that leases rest on, applied to buckets in memory. Each function
 * checks and applies without a pause in between, which is what makes a request atomic.
 */

export interface FakeObject {
  readonly name: string;
  generation: string;
  metageneration: string;
  body: Buffer;
  metadata: Record<string, string>;
  contentType: string | undefined;
  cacheControl: string | undefined;
  customTime: string | undefined;
  readonly timeCreated: string;
  updated: string;
}

export interface FakeBucket {
  readonly name: string;
  /** What `GET` on the bucket shows, such as `{ retentionPolicy: {…} }`. */
  readonly settings: Record<string, unknown>;
  readonly objects: Map<string, FakeObject>;
  /** IAM permissions that the caller lacks, such as `storage.objects.delete`. */
  readonly denied: Set<string>;
  readonly mutatedAtMs: Map<string, number>;
}

export interface FakeRequest {
  readonly method: string;
  /** As it was sent, percent-encoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

export interface FakeAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  readonly body?: Buffer;
}

/** How strict the server is; a careless emulator is played by turning rules off. */
export interface FakeRules {
  /** The server's clock, in milliseconds since 1970. */
  readonly nowMs: () => number;
  /** A mutation sooner after the last one of the same object is answered with 429. */
  readonly minGapMs: () => number;
  /** Whether a mutation without a generation precondition is refused. */
  readonly strict: () => boolean;
  /** Methods whose preconditions are ignored, as some emulators do. */
  readonly careless: () => ReadonlySet<string>;
}

export class Refusal extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message = reason) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

let insertions = 0n;

/** Unique and deliberately not rising: an odd factor permutes the numbers below 2^32. */
function nextGeneration(): string {
  insertions += 1n;
  return String(1_700_000_000_000_000n + ((insertions * 2_654_435_761n) % 4_294_967_296n));
}

/** Whether all preconditions of the request hold; on an upload an absent object has generation 0. */
function preconditionsHold(query: URLSearchParams, object: FakeObject | undefined): boolean {
  const { generation, metageneration } = object ?? { generation: "0", metageneration: undefined };
  const asked = (name: string): string | undefined => query.get(name) ?? undefined;
  const equals = (name: string, value: string | undefined): boolean =>
    asked(name) === undefined || asked(name) === value;
  const differs = (name: string, value: string | undefined): boolean =>
    asked(name) === undefined || asked(name) !== value;
  return (
    equals("ifGenerationMatch", generation) &&
    differs("ifGenerationNotMatch", generation) &&
    equals("ifMetagenerationMatch", metageneration) &&
    differs("ifMetagenerationNotMatch", metageneration)
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseJson(bytes: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch {
    throw new Refusal(400, "parseError", "the body is not JSON");
  }
  if (!isRecord(value)) throw new Refusal(400, "invalid", "the body is not a JSON object");
  return value;
}

/** The two parts of a `multipart/related` body, found by bytes as the second may hold anything. */
function parseMultipart(contentType: string, body: Buffer): { json: Buffer; content: Buffer } {
  const boundary = /^multipart\/related;\s*boundary="?([^";]+)"?/.exec(contentType)?.[1];
  if (boundary === undefined) throw new Refusal(400, "invalid", "not multipart/related with a boundary");
  const separator = Buffer.from(`\r\n--${boundary}`);
  const bytes = Buffer.concat([Buffer.from("\r\n"), body]);
  const parts: Buffer[] = [];
  let from = bytes.indexOf(separator);
  while (
    from >= 0 &&
    bytes.subarray(from + separator.length, from + separator.length + 2).toString() !== "--"
  ) {
    const next = bytes.indexOf(separator, from + separator.length);
    if (next < 0) break;
    const part = bytes.subarray(from + separator.length, next);
    const head = part.indexOf("\r\n\r\n");
    if (head < 0) throw new Refusal(400, "invalid", "a part without headers");
    parts.push(part.subarray(head + 4));
    from = next;
  }
  const [json, content] = parts;
  if (json === undefined || content === undefined || parts.length !== 2) {
    throw new Refusal(400, "invalid", `${parts.length} parts instead of 2`);
  }
  return { json, content };
}

function checkName(name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0 || bytes > 1024) throw new Refusal(400, "invalid", "a name has 1 to 1024 bytes");
  if (/[\r\n]/.test(name)) throw new Refusal(400, "invalid", "a name has no CR or LF");
  if (name === "." || name === "..") throw new Refusal(400, "invalid", "a name is not . or ..");
  if (name.startsWith(".well-known/acme-challenge/")) throw new Refusal(400, "invalid", "a reserved name");
}

function mergedMetadata(old: Record<string, string>, changes: unknown): Record<string, string> {
  if (changes === undefined) return old;
  if (!isRecord(changes)) throw new Refusal(400, "invalid", "metadata is not an object");
  const merged = { ...old };
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) delete merged[key];
    else if (typeof value === "string") merged[key] = value;
    else throw new Refusal(400, "invalid", `the metadata value of ${key} is not a string`);
  }
  const bytes = Object.entries(merged).reduce((sum, pair) => sum + Buffer.byteLength(pair.join("")), 0);
  if (bytes > 8192) throw new Refusal(400, "invalid", `${bytes} bytes of metadata, 8192 at the most`);
  return merged;
}

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

function checkMutation(bucket: FakeBucket, name: string, query: URLSearchParams, rules: FakeRules): void {
  if (rules.strict() && !query.has("ifGenerationMatch")) {
    throw new Refusal(400, "invalid", "strict fake: mutation without precondition");
  }
  const last = bucket.mutatedAtMs.get(name);
  if (last !== undefined && Math.abs(rules.nowMs() - last) < rules.minGapMs()) {
    throw new Refusal(429, "rateLimitExceeded", "one mutation a second for the same object");
  }
}

function demand(bucket: FakeBucket, permission: string): void {
  if (bucket.denied.has(permission)) throw new Refusal(403, "forbidden", `lacks ${permission}`);
}

function checkPreconditions(request: FakeRequest, object: FakeObject | undefined, rules: FakeRules): void {
  if (rules.careless().has(request.method) || preconditionsHold(request.query, object)) return;
  throw new Refusal(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.");
}

export function insert(bucket: FakeBucket, request: FakeRequest, rules: FakeRules): FakeObject {
  const { json, content } = parseMultipart(String(request.headers["content-type"]), request.body);
  const wanted = parseJson(json);
  const name = request.query.get("name") ?? text(wanted["name"]) ?? "";
  checkName(name);
  const old = bucket.objects.get(name);
  demand(bucket, "storage.objects.create");
  checkMutation(bucket, name, request.query, rules);
  checkPreconditions(request, old, rules);
  if (old !== undefined) {
    demand(bucket, "storage.objects.delete");
    checkRetention(bucket);
  }
  const metadata = mergedMetadata({}, wanted["metadata"]);
  const now = new Date(rules.nowMs()).toISOString();
  const object: FakeObject = {
    name,
    generation: nextGeneration(),
    metageneration: "1",
    body: content,
    metadata,
    contentType: text(wanted["contentType"]),
    cacheControl: text(wanted["cacheControl"]),
    customTime: text(wanted["customTime"]),
    timeCreated: now,
    updated: now,
  };
  bucket.objects.set(name, object);
  bucket.mutatedAtMs.set(name, rules.nowMs());
  return object;
}

function checkRetention(bucket: FakeBucket): void {
  if (bucket.settings["retentionPolicy"] === undefined) return;
  throw new Refusal(403, "retentionPolicyNotMet", "the object is under a retention policy");
}

export function find(bucket: FakeBucket, name: string, request: FakeRequest, rules: FakeRules): FakeObject {
  demand(bucket, "storage.objects.get");
  const object = existing(bucket, name);
  checkPreconditions(request, object, rules);
  const generation = request.query.get("generation");
  if (generation !== null && generation !== object.generation) throw new Refusal(404, "notFound");
  return object;
}

function existing(bucket: FakeBucket, name: string): FakeObject {
  const object = bucket.objects.get(name);
  if (object === undefined) throw new Refusal(404, "notFound", `No such object: ${bucket.name}/${name}`);
  return object;
}

export function patch(bucket: FakeBucket, name: string, request: FakeRequest, rules: FakeRules): FakeObject {
  demand(bucket, "storage.objects.update");
  const object = existing(bucket, name);
  checkMutation(bucket, name, request.query, rules);
  checkPreconditions(request, object, rules);
  const changes = parseJson(request.body);
  const customTime = "customTime" in changes ? text(changes["customTime"]) : object.customTime;
  if (object.customTime !== undefined && (customTime === undefined || customTime < object.customTime)) {
    throw new Refusal(400, "invalid", "customTime moves only forward");
  }
  object.metadata = mergedMetadata(object.metadata, changes["metadata"]);
  object.customTime = customTime;
  // A careless emulator keeps the number, and with it every later precondition.
  if (!rules.careless().has("PATCH")) object.metageneration = String(Number(object.metageneration) + 1);
  object.updated = new Date(rules.nowMs()).toISOString();
  bucket.mutatedAtMs.set(name, rules.nowMs());
  return object;
}

export function remove(bucket: FakeBucket, name: string, request: FakeRequest, rules: FakeRules): void {
  demand(bucket, "storage.objects.delete");
  const object = existing(bucket, name);
  checkMutation(bucket, name, request.query, rules);
  checkPreconditions(request, object, rules);
  checkRetention(bucket);
  bucket.objects.delete(name);
  bucket.mutatedAtMs.set(name, rules.nowMs());
}

const bytes = (name: string): Buffer => Buffer.from(name);

/** One page in the order of the names' bytes. */
export function page(bucket: FakeBucket, query: URLSearchParams): { items: FakeObject[]; next?: string } {
  demand(bucket, "storage.objects.list");
  const prefix = query.get("prefix") ?? "";
  const token = query.get("pageToken");
  const from = token === null ? query.get("startOffset") : Buffer.from(token, "base64url").toString();
  const end = query.get("endOffset");
  const asked = Number(query.get("maxResults") ?? 1000);
  const limit = Math.min(1000, asked > 0 ? asked : 1000);
  const found = [...bucket.objects.values()]
    .filter(({ name }) => name.startsWith(prefix))
    .filter(({ name }) => from === null || Buffer.compare(bytes(name), bytes(from)) >= 0)
    .filter(({ name }) => end === null || Buffer.compare(bytes(name), bytes(end)) < 0)
    .toSorted((a, b) => Buffer.compare(bytes(a.name), bytes(b.name)));
  const items = found.slice(0, limit);
  const next = found[limit];
  return next === undefined ? { items } : { items, next: bytes(next.name).toString("base64url") };
}
