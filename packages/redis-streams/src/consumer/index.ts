export type { ClientOrUrl, RedisClient } from "../client.ts";
export type {
  Backoff,
  Consumer,
  ConsumerOptions,
  Failure,
  FormatOptions,
  Message,
  NextOptions,
  RunOptions,
  Session,
  StopOptions,
} from "./api.ts";
export { createConsumer } from "./consumer.ts";
export { fieldsCodec, jsonCodec, MalformedError } from "./codec.ts";
export type { Codec, Fields, StandardSchema } from "./codec.ts";
export type { DeadReason, QueueEvent } from "./events.ts";
export { MessageLostError } from "./lost.ts";
export type { MessageLostReason } from "./lost.ts";
export { createProducer } from "./produce.ts";
export type { Produced, ProduceOptions, Producer, ProducerOptions } from "./produce.ts";
