/** The client's errors by status and code, never by message text. */
import { ConfigurationError, UnavailableError } from "@coord/core";
import { field } from "./field.ts";

/** Statuses that no repeat mends; all others leave the outcome unknown. */
const final = new Set([400, 401, 403, 404, 405, 411, 412, 413]);
const busyReasons = new Set(["rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"]);
/** The limit of one mutation a second for an object sets the least that is worth waiting. */
const busyMs = 1000;

export function statusOf(error: unknown): number | undefined {
  const response = field(error, "response");
  const candidates = [field(response, "statusCode"), field(response, "status"), field(error, "code")];
  return candidates.map(Number).find((status) => Number.isInteger(status) && status >= 100 && status < 600);
}

function reasonOf(error: unknown): string | undefined {
  const errors = field(error, "errors");
  const reason = Array.isArray(errors) ? field(errors[0], "reason") : undefined;
  return typeof reason === "string" ? reason : undefined;
}

function remedy(status: number, reason: string | undefined): string {
  if (status === 401) return "Give the client credentials that are valid for this project.";
  if (reason === "retentionPolicyNotMet") return "Use a bucket without retention policy or holds.";
  if (status === 403) {
    return "Grant storage.objects.get, create, update, delete and list on the bucket (roles/storage.objectUser).";
  }
  if (status === 404) return "Create the bucket, or correct its name.";
  return "See `cause` for the store's words.";
}

/** What a failed request means for the step. */
export function mapError(error: unknown, what: string): ConfigurationError | UnavailableError {
  const status = statusOf(error);
  const reason = reasonOf(error);
  if (status === 429 || (status === 403 && reason !== undefined && busyReasons.has(reason))) {
    return new UnavailableError(`gcs: ${what} was refused as too frequent (${status}); nothing happened.`, {
      cause: error,
      notDone: true,
      retryAfterMs: Math.max(busyMs, retryAfterMs(error) ?? 0),
    });
  }
  const found = `${status ?? ""} ${reason ?? ""}`.trim();
  if (status !== undefined && final.has(status)) {
    return new ConfigurationError(`gcs: ${what} was refused (${found}). ${remedy(status, reason)}`, {
      cause: error,
    });
  }
  if (status !== undefined) {
    const askedMs = retryAfterMs(error) ?? (status === 503 ? busyMs : undefined);
    return new UnavailableError(`gcs: ${what} failed (${found}); it may or may not have happened.`, {
      cause: error,
      ...(askedMs !== undefined && { retryAfterMs: askedMs }),
    });
  }
  return withoutStatus(error, what);
}

function withoutStatus(error: unknown, what: string): ConfigurationError | UnavailableError {
  const code = field(error, "code");
  const found = typeof code === "string" ? code : "no answer";
  if (found === "ENOENT" || found === "EACCES") {
    return new ConfigurationError(`gcs: the client can't read its credentials (${found}); see \`cause\`.`, {
      cause: error,
    });
  }
  return new UnavailableError(
    `gcs: ${what} failed (${found}); see \`cause\`. It may or may not have happened.`,
    {
      cause: error,
      // The connection was never made.
      notDone: ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"].includes(found),
    },
  );
}

function retryAfterMs(error: unknown): number | undefined {
  const seconds = Number(field(field(field(error, "response"), "headers"), "retry-after") ?? Number.NaN);
  return seconds >= 0 ? Math.ceil(seconds * 1000) : undefined;
}
