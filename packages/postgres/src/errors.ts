import {
  ConfigurationError,
  type CoordError,
  InvalidArgumentError,
  isCoordError,
  UnavailableError,
} from "@coord/core";

/** How far a call had got when it failed. */
export type Phase = "connecting" | "sent";

export function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/** A code that the server gave: five capitals or digits, unlike Node's `ECONNRESET`. */
function sqlStateOf(error: unknown): string | undefined {
  const code = codeOf(error);
  return code !== undefined && /^[0-9A-Z]{5}$/.test(code) && code !== "EPIPE" ? code : undefined;
}

/** Whether the connection is of no more use after this error, or leads to a server that can't write. */
export function endsConnection(error: unknown): boolean {
  const state = sqlStateOf(error);
  return state === undefined || /^(?:08|57P|25006|XX)/.test(state);
}

/** A named statement that the connection does not have, or has already: a pooler stands between. Nothing was done. */
export function isPoolersFault(error: unknown): boolean {
  const state = sqlStateOf(error);
  return state === "26000" || state === "42P05";
}

const setUp =
  "run `await coord.setup()` once, or the text of `schemaSql()` in your migrations, and check `schema` and `table`";

const remedies: Readonly<Record<string, string>> = {
  "28": "check user, password and pg_hba.conf",
  "3D": "check the database's name",
  "26": "pass `prepare: false`, as a pooler stands between",
  "42501": "give the role the rights that the package's README lists",
  "42703": "the table has another layout: check `schema` and `table`, and run `await coord.diagnose()`",
};

/** The server's words, without what follows the first line and cut, as they may repeat a value. */
const words = (error: unknown): string =>
  error instanceof Error ? (error.message.split("\n", 1)[0] ?? "").slice(0, 200) : "not an error object";

/** The error that core understands, by code and phase, never by text. */
export function toCoordError(error: unknown, phase: Phase): CoordError {
  if (isCoordError(error)) return error;
  const state = sqlStateOf(error);
  if (state === undefined) {
    const what = phase === "connecting" ? "can't be reached" : "connection failed before the answer came";
    const code = codeOf(error);
    return new UnavailableError(
      `PostgreSQL ${what}${code === undefined ? "" : ` (${code})`}: ${words(error)}`,
      {
        cause: error,
        notDone: phase === "connecting",
      },
    );
  }
  const text = `PostgreSQL answered ${state}: ${words(error)}`;
  const kind = state.slice(0, 2);
  if (state === "42P01" || state === "3F000") {
    return new ConfigurationError(`${text}; ${setUp}`, { cause: error, code: "COORD_NOT_SET_UP" });
  }
  // 22: a value that the store cannot hold; 54: a key too long for an index; 22P05: an encoding without that character.
  if (kind === "22" || kind === "54") return new InvalidArgumentError(text, { cause: error });
  if (["0A", "23", "26", "28", "3D", "42"].includes(kind)) {
    const remedy = remedies[state] ?? remedies[kind] ?? "run `await coord.diagnose()`";
    return new ConfigurationError(`${text}; ${remedy}`, { cause: error });
  }
  // An error as the answer to one autocommitted statement means that it did not commit, save where the session ended.
  const isUnknown =
    phase === "sent" && (kind === "08" || ["57P01", "57P02", "57P05", "40003"].includes(state));
  return new UnavailableError(text, { cause: error, notDone: !isUnknown });
}
