import { ConfigurationError, CoordError, UnavailableError } from "@coord/core";

/** Redis refuses these before a script starts, so nothing happened. */
const notDone = new Set([
  "BUSY",
  "CLUSTERDOWN",
  "LOADING",
  "MASTERDOWN",
  "MISCONF",
  "NOREPLICAS",
  "NOSCRIPT",
  "OOM",
  "READONLY",
  "TRYAGAIN",
]);

const remedies: Readonly<Record<string, string>> = {
  ASK: "this is a node of a cluster: pass a Cluster client or a redis+cluster: URL",
  CROSSSLOT: "this is a node of a cluster: pass a Cluster client or a redis+cluster: URL",
  MOVED: "this is a node of a cluster: pass a Cluster client or a redis+cluster: URL",
  NOAUTH: "the server wants a password: give the client one",
  NOPERM: "the user lacks a permission: grant what the Redis page lists",
  WRONGPASS: "the server does not accept the user name or password: correct the client's",
  WRONGTYPE: "a key that begins with coord:{ was written by somebody else: remove it",
};

const connecting = new Set(["ASK", "CROSSSLOT", "MOVED", "NOAUTH", "NOPERM", "WRONGPASS"]);

/** The first word of an error that the server sent, which is its code; undefined for all others. */
function replyCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || error.name !== "ReplyError") return undefined;
  return /^[A-Z]+/.exec(error.message)?.[0] ?? "ERR";
}

export const isReply = (error: unknown, code: string): boolean => replyCode(error) === code;

/** The driver hangs the command on its errors, with arguments: a password, a payload. None of that goes out. */
function withoutArguments(error: unknown): unknown {
  if (error instanceof Error && "command" in error) delete error.command;
  return error;
}

/** What a cluster client wraps around the reason of the last node it tried. */
function lastNodeError(error: unknown): unknown {
  if (!(error instanceof Error) || !("lastNodeError" in error)) return error;
  return error.lastNodeError instanceof Error ? error.lastNodeError : error;
}

const explain = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** An error of a command that was sent. What the server did not answer may have happened. */
export function commandError(error: unknown): CoordError {
  if (error instanceof CoordError) return error;
  const cause = withoutArguments(error);
  const code = replyCode(error);
  if (code === undefined) {
    return new UnavailableError(`Redis gave no answer, so the step may have happened: ${explain(error)}`, {
      cause,
    });
  }
  if (notDone.has(code)) {
    return new UnavailableError(`Redis refused the step: ${explain(error)}`, { cause, notDone: true });
  }
  return new ConfigurationError(
    `Redis answered ${explain(error)}; ${remedies[code] ?? "repeating will not help"}`,
    { cause },
  );
}

/** An error on the way to a connection: nothing was sent yet. */
export function connectError(error: unknown): CoordError {
  if (error instanceof CoordError) return error;
  const reason = lastNodeError(error);
  const cause = withoutArguments(reason);
  const code = replyCode(reason);
  if (code !== undefined && connecting.has(code)) {
    return new ConfigurationError(`Redis answered ${explain(reason)}; ${remedies[code]}`, { cause });
  }
  return new UnavailableError(`no connection to Redis: ${explain(reason)}`, { cause, notDone: true });
}

/** An answer that no script of ours gives: a proxy or another program stands between. */
export function strangeReply(what: string): ConfigurationError {
  return new ConfigurationError(
    `Redis answered something that is not ${what}: is there a proxy in between that rewrites replies?`,
  );
}
