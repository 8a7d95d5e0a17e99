import { InvalidArgumentError } from "@coord/core";

/** The whole body, or nothing when it is longer than `maxBytes`; what is too long is not read to its end. */
export async function readBody(
  request: Request,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  if (Number(request.headers.get("content-length")) > maxBytes) return undefined;
  if (request.bodyUsed) {
    throw new InvalidArgumentError(
      "The body of the request was read before idempotent() could. Put the wrapper before whatever parses bodies.",
    );
  }
  if (request.body === null) return new Uint8Array();
  const reader = request.body.getReader();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes += value.byteLength;
    if (bytes > maxBytes) {
      await reader.cancel().catch(() => {});
      return undefined;
    }
    chunks.push(value);
  }
  const body = new Uint8Array(bytes);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.byteLength;
  }
  return body;
}

/** The request with a body that can be read again, and a signal that is not its client's. */
export function withBody(request: Request, body: Uint8Array<ArrayBuffer>, signal: AbortSignal): Request {
  const { method, url } = request;
  const headers = new Headers([...request.headers]);
  return new Request(url, { method, headers, signal, ...(body.length > 0 && { body }) });
}
