/** A response as it stands in the record. */
export interface StoredResponse {
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Its body, where that is UTF-8. */
  readonly text?: string;
  /** Its body, where it is not. */
  readonly base64?: string;
}

/**
 * Fields of one connection (RFC 9110), and those that the server makes for each response. A cookie is a secret of
 * one moment: the first caller gets it, and it is neither kept in a store nor handed out again.
 */
const notStored = new Set([
  "connection",
  "content-length",
  "date",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "set-cookie",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

const withoutBody = (status: number): boolean => status === 204 || status === 205 || status === 304;

/** A response that was read, and can be sent. */
export interface ReadResponse {
  readonly stored: StoredResponse;
  readonly response: Response;
}

/** Reads a response to its end: what is to be stored of it, and a response like it to send. */
export async function readResponse(response: Response): Promise<ReadResponse> {
  const { status, statusText } = response;
  const bytes = new Uint8Array(await response.arrayBuffer());
  const named =
    response.headers
      .get("connection")
      ?.toLowerCase()
      .split(/\s*,\s*/) ?? [];
  const headers = [...response.headers];
  const kept = headers.filter(([name]) => !notStored.has(name) && !named.includes(name));
  const stored: StoredResponse = { status, headers: kept, ...bodyOf(bytes) };
  const body = withoutBody(status) ? null : bytes;
  return { stored, response: new Response(body, { status, statusText, headers }) };
}

function bodyOf(bytes: Uint8Array): Pick<StoredResponse, "text" | "base64"> {
  if (bytes.length === 0) return {};
  try {
    return { text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { base64: Buffer.from(bytes).toString("base64") };
  }
}

const isText = (value: unknown): boolean => value === undefined || typeof value === "string";

/** Whether it is what `readResponse` made, whose record may have been resolved by hand. */
export function isStored(value: unknown): value is StoredResponse {
  if (typeof value !== "object" || value === null || !("status" in value) || !("headers" in value))
    return false;
  const { status, headers } = value;
  if (typeof status !== "number" || !Number.isInteger(status) || status < 200 || status > 599) return false;
  if ("text" in value && !isText(value.text)) return false;
  if ("base64" in value && !isText(value.base64)) return false;
  return (
    Array.isArray(headers) &&
    headers.every((field: unknown) => Array.isArray(field) && field.length === 2 && field.every(isText))
  );
}

/** The response that was stored, marked as one that is sent again. */
export function replay({ status, headers, text, base64 }: StoredResponse, again: boolean): Response {
  const body = text === undefined ? Buffer.from(base64 ?? "", "base64") : Buffer.from(text);
  const fields = new Headers();
  for (const [name, value] of headers) fields.append(name, value);
  if (again) fields.set("idempotent-replayed", "true");
  return new Response(withoutBody(status) ? null : new Uint8Array(body), { status, headers: fields });
}

/**
 * A response in the form that `execution.complete` takes, to commit it with the handler's own transaction. Return the
 * same response from the handler afterwards. It is read from a copy.
 */
export async function storeResponse(response: Response): Promise<StoredResponse> {
  return (await readResponse(response.clone())).stored;
}
