/** The addresses of the Cloud Storage JSON API, as far as leases use them, over the rules of the fake. */
import {
  type FakeAnswer,
  type FakeBucket,
  type FakeObject,
  type FakeRequest,
  type FakeRules,
  find,
  insert,
  page,
  patch,
  Refusal,
  remove,
} from "./gcs-fake-objects.ts";

function shown(bucket: FakeBucket, object: FakeObject): Record<string, unknown> {
  const { body, metadata, ...rest } = object;
  return {
    kind: "storage#object",
    id: `${bucket.name}/${object.name}/${object.generation}`,
    bucket: bucket.name,
    ...rest,
    size: String(body.length),
    metadata: Object.keys(metadata).length > 0 ? metadata : undefined,
  };
}

/** Splits `a,items(b,c)` at the commas outside parentheses. */
function fieldNames(fields: string): string[] {
  return fields.match(/[^,(]+(\([^)]*\))?/g) ?? [];
}

/** Only the fields that were asked for: a field that a client forgot is not there. */
function selected(json: Record<string, unknown>, fields: string | null): Record<string, unknown> {
  if (fields === null) return json;
  const picked: Record<string, unknown> = {};
  for (const field of fieldNames(fields)) {
    const [, name = field, inner] = /^([^(]+)\((.*)\)$/.exec(field) ?? [];
    const value = json[name];
    picked[name] =
      inner !== undefined && Array.isArray(value)
        ? value.map((item: Record<string, unknown>) => selected(item, inner))
        : value;
  }
  return picked;
}

function media(object: FakeObject): FakeAnswer {
  return {
    status: 200,
    headers: {
      "content-type": object.contentType ?? "application/octet-stream",
      "x-goog-generation": object.generation,
      "x-goog-metageneration": object.metageneration,
      "x-goog-stored-content-length": String(object.body.length),
      ...(object.cacheControl !== undefined && { "cache-control": object.cacheControl }),
    },
    body: object.body,
  };
}

function onBucket(bucket: FakeBucket, request: FakeRequest): FakeAnswer {
  if (bucket.denied.has("storage.buckets.get")) {
    throw new Refusal(403, "forbidden", "lacks storage.buckets.get");
  }
  return {
    status: 200,
    json: selected({ name: bucket.name, ...bucket.settings }, request.query.get("fields")),
  };
}

function onObject(bucket: FakeBucket, name: string, request: FakeRequest, rules: FakeRules): FakeAnswer {
  const json = (object: FakeObject): FakeAnswer => ({
    status: 200,
    json: selected(shown(bucket, object), request.query.get("fields")),
  });
  switch (request.method) {
    case "GET": {
      const object = find(bucket, name, request, rules);
      return request.query.get("alt") === "media" ? media(object) : json(object);
    }
    case "PATCH":
      return json(patch(bucket, name, request, rules));
    case "DELETE":
      remove(bucket, name, request, rules);
      return { status: 204 };
    default:
      throw new Refusal(400, "invalid", `unknown endpoint: ${request.method} on an object`);
  }
}

function onObjects(bucket: FakeBucket, request: FakeRequest): FakeAnswer {
  const { items, next } = page(bucket, request.query);
  const list = {
    kind: "storage#objects",
    items: items.length > 0 ? items.map((object) => shown(bucket, object)) : undefined,
    nextPageToken: next,
  };
  return { status: 200, json: selected(list, request.query.get("fields")) };
}

/** Executes one request; throws a `Refusal` for what the service refuses. */
export function execute(
  buckets: ReadonlyMap<string, FakeBucket>,
  request: FakeRequest,
  rules: FakeRules,
): FakeAnswer {
  const { method, path, query } = request;
  const [, upload, bucketName = "", rest] =
    /^(\/upload)?\/storage\/v1\/b\/([^/]+)(?:\/(.*))?$/.exec(path) ?? [];
  const bucket = buckets.get(decodeURIComponent(bucketName));
  if (bucket === undefined) throw new Refusal(404, "notFound", "The specified bucket does not exist.");
  const [kind, encoded, ...more] = rest?.split("/") ?? [];
  if (upload !== undefined) {
    if (method !== "POST" || rest !== "o" || query.get("uploadType") !== "multipart") {
      throw new Refusal(400, "invalid", `unknown endpoint: ${method} ${path}`);
    }
    const object = insert(bucket, request, rules);
    return { status: 200, json: selected(shown(bucket, object), query.get("fields")) };
  }
  if (kind === undefined && method === "GET") return onBucket(bucket, request);
  if (rest === "iam/testPermissions" && method === "GET") {
    const permissions = query.getAll("permissions").filter((permission) => !bucket.denied.has(permission));
    return { status: 200, json: { permissions: permissions.length > 0 ? permissions : undefined } };
  }
  if (kind === "o" && encoded === undefined && method === "GET") return onObjects(bucket, request);
  if (kind === "o" && encoded !== undefined && more.length === 0) {
    return onObject(bucket, decodeURIComponent(encoded), request, rules);
  }
  throw new Refusal(400, "invalid", `unknown endpoint: ${method} ${path}`);
}

/** An error as the service words it. */
export function refused(status: number, reason: string, message: string): FakeAnswer {
  return {
    status,
    json: { error: { code: status, message, errors: [{ domain: "global", reason, message }] } },
  };
}
