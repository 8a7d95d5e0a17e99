import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { ObserveOptions } from "@coord/metrics";
import { context, SpanKind, SpanStatusCode } from "@opentelemetry/api";
import type { Attributes, Span, Tracer } from "@opentelemetry/api";

/** What core's events have in common, and what some of them add. */
interface TracedEvent {
  readonly backend: string;
  readonly namespace: string;
  readonly kind: string;
  readonly key: string;
  readonly fence?: bigint;
  readonly outcome?: string;
  readonly reason?: string;
  readonly replayed?: boolean;
  readonly attempt?: number;
  readonly attempts?: number;
  readonly by?: string;
  readonly error?: unknown;
}

/** What a span of each is called. Renewals have none: they belong to nobody's request. */
const names = {
  acquire: "coord acquire",
  hold: "coord lease",
  once: "coord once",
  save: "coord checkpoint",
  break: "coord break",
  resolve: "coord resolve",
} as const;
const failed = new Set(["lost", "unavailable", "failed", "uncertain", "threw", "timeout"]);

function attributesOf(event: TracedEvent, { labelKey }: ObserveOptions): Attributes {
  const { backend, namespace, kind, key, fence, outcome, reason, replayed, attempt, attempts, by } = event;
  const given = {
    "coord.backend": backend,
    "coord.namespace": namespace,
    "coord.kind": kind,
    "coord.key": labelKey?.(key, kind),
    // A fence does not fit into a number.
    "coord.fence": fence?.toString(),
    "coord.outcome": outcome,
    "coord.reason": reason,
    "coord.replayed": replayed,
    "coord.attempt": attempt,
    "coord.attempts": attempts,
    "coord.by": by,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Attributes;
}

function finish(span: Span, event: TracedEvent, options: ObserveOptions): void {
  span.setAttributes(attributesOf(event, options));
  const { error, outcome = "" } = event;
  if (error instanceof Error) span.recordException(error);
  if (error !== undefined || failed.has(outcome)) {
    const message = error instanceof Error ? error.message : (event.reason ?? outcome);
    span.setStatus({ code: SpanStatusCode.ERROR, message });
  }
  span.end();
}

/** Makes a span for each wait, lease, execution and checkpoint until the function that it returns is called. */
export function makeSpans(tracer: Tracer, options: ObserveOptions): () => void {
  const spans = new Map<object, Span>();
  const listeners: (readonly [string, (message: unknown) => void])[] = [];
  const on = (channel: string, listener: (event: TracedEvent) => void): void => {
    // An error would come to the surface as an uncaught exception; a span is not worth that.
    const guarded = (message: unknown): void => {
      try {
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a channel has no types of its own
        listener(message as TracedEvent);
      } catch {}
    };
    listeners.push([channel, guarded]);
  };
  for (const [verb, name] of Object.entries(names)) {
    on(`tracing:coord:${verb}:start`, (event) => {
      // Published where the caller is, so that its span becomes the parent.
      const span = tracer.startSpan(
        name,
        { kind: SpanKind.CLIENT, attributes: attributesOf(event, options) },
        context.active(),
      );
      spans.set(event, span);
    });
    on(`tracing:coord:${verb}:asyncEnd`, (event) => {
      const span = spans.get(event);
      spans.delete(event);
      if (span !== undefined) finish(span, event, options);
    });
  }
  for (const [channel, listener] of listeners) subscribe(channel, listener);
  return () => {
    for (const [channel, listener] of listeners) unsubscribe(channel, listener);
    for (const span of spans.values()) span.end();
    spans.clear();
  };
}
