import { InvalidArgumentError } from "@coord/core";
import { type ClientOrUrl, sourceOf } from "../client.ts";
import { createCommands } from "../commands.ts";
import { within } from "../limit.ts";
import { list, text } from "../replies.ts";
import type { FormatOptions } from "./api.ts";
import { jsonCodec, unchecked, validated } from "./codec.ts";
import { checkedInteger, checkedName } from "./options.ts";
import { sentKey } from "./queue-keys.ts";
import { compileQueueScripts } from "./scripts.ts";

export type ProducerOptions<Body> = ClientOrUrl & FormatOptions<Body> & { stream: string };

export interface ProduceOptions {
  /** Sends at most one message for this text: a repeat answers the id of the first. 1 to 512 characters. */
  idempotencyKey?: string | undefined;
  /** For how long that is remembered, from 1000 ms on. @default 86400000 (a day) */
  rememberMs?: number | undefined;
}

export interface Produced {
  readonly id: string;
  /** Whether it had been sent before, under the same idempotency key. */
  readonly duplicate: boolean;
}

export interface Producer<Body> extends AsyncDisposable {
  /**
   * Adds a message to the stream.
   *
   * @throws {UnavailableError} unless `notDone` it may have been sent: repeat it with the same `idempotencyKey`.
   */
  produce(body: Body, options?: ProduceOptions): Promise<Produced>;
  close(): Promise<void>;
}

const callMs = 5000;
const dayMs = 86_400_000;
/** Lua's unpack ends near 8000 values. */
const mostFields = 3000;

/** Writes messages that a consumer with the same codec and schema reads. */
export function createProducer<Body = unknown>(options: ProducerOptions<Body>): Producer<Body> {
  const stream = checkedName("stream", options.stream);
  const commands = createCommands(sourceOf(options), 0);
  const scripts = compileQueueScripts();
  const codec = options.codec ?? jsonCodec();
  const schema = options.schema ?? unchecked<Body>();

  async function encoded(body: Body): Promise<readonly string[]> {
    try {
      await validated(schema, body);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new InvalidArgumentError(`body must match the schema: ${why}`, { cause });
    }
    const fields = codec.encode(body);
    if (fields.length > 0 && fields.length % 2 === 0 && fields.length <= 2 * mostFields) return fields;
    throw new InvalidArgumentError(
      `codec must encode into 1 to ${mostFields} fields with a value each, got ${fields.length} texts`,
    );
  }

  async function close(): Promise<void> {
    commands.close();
  }

  return {
    async produce(body, { idempotencyKey, rememberMs = dayMs } = {}) {
      const fields = await encoded(body);
      if (idempotencyKey === undefined) {
        const id = await commands.send(["xadd", stream, "*", ...fields], within(callMs));
        return { id: text(id), duplicate: false };
      }
      checkedName("idempotencyKey", idempotencyKey);
      const args = [checkedInteger("rememberMs", rememberMs, 1000, Number.MAX_SAFE_INTEGER), ...fields];
      const keys: [string, string] = [stream, sentKey(stream, idempotencyKey)];
      const [id, before] = list(await commands.run({ script: scripts.produce, keys, args }, within(callMs)));
      return { id: text(id), duplicate: before === 1 };
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
