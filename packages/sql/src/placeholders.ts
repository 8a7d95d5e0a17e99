/** Finds the parameters in a statement's text, and nothing else: what is quoted or a comment stays as it is. */
import type { Dialect } from "./types.ts";

/** A parameter in a text. */
export interface Placeholder {
  /** A name without its colon, or a place counted from 0. */
  readonly key: string | number;
  readonly start: number;
  readonly end: number;
}

/** Which placeholders count: `:name`, or `$1` and `?`. The others are left alone, as they may be operators. */
export type Style = "named" | "positional";

// Each is sticky: it matches where the scan stands, or not at all.
const word = /[\p{L}\p{N}_$\u0080-\uffff]+/uy;
const name = /:([A-Za-z_][A-Za-z0-9_]*)/y;
const number = /\$(\d+)/y;
const doubleColon = /::/y;
/** Quotes end where the quote is not doubled. */
const plainString = /'(?:[^']|'')*(?:'|$)/y;
const plainIdentifier = /"(?:[^"]|"")*(?:"|$)/y;
const backticks = /`(?:[^`]|``)*(?:`|$)/y;
/** Quotes in which a backslash escapes: all of MySQL's, and PostgreSQL's `E'…'`. */
const escapedString = /'(?:[^'\\]|\\[^]|'')*(?:'|\\?$)/y;
const escapedDouble = /"(?:[^"\\]|\\[^]|"")*(?:"|\\?$)/y;
const dollarTag = /\$(?:[A-Za-z_\u0080-\uffff][A-Za-z0-9_\u0080-\uffff]*)?\$/y;
const lineComment = /--[^\n]*/y;
/** MySQL's needs white space behind it, for `5--3` is eight. */
const mysqlLineComment = /--(?=[\s\p{Cc}]|$)[^\n]*/uy;
const hashComment = /#[^\n]*/y;
const flatComment = /\/\*[^]*?(?:\*\/|$)/y;

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** Where the comment that begins here ends; PostgreSQL's nest. */
function endOfNestedComment(text: string, start: number): number {
  const edge = /\/\*|\*\//g;
  edge.lastIndex = start;
  let depth = 0;
  for (let found = edge.exec(text); found !== null; found = edge.exec(text)) {
    depth += found[0] === "/*" ? 1 : -1;
    if (depth === 0) return edge.lastIndex;
  }
  return text.length;
}

function endOfDollarQuote(text: string, at: number): number | undefined {
  const tag = matchAt(dollarTag, text, at)?.[0];
  if (tag === undefined) return undefined;
  const end = text.indexOf(tag, at + tag.length);
  return end < 0 ? text.length : end + tag.length;
}

/** Where the quotation or comment that begins here ends; `undefined` where none begins. */
function endOfQuiet(dialect: Dialect, text: string, at: number, before: string): number | undefined {
  const end = (pattern: RegExp): number | undefined => {
    const found = matchAt(pattern, text, at);
    return found === null ? undefined : at + found[0].length;
  };
  const isPostgres = dialect === "postgres";
  switch (text.charAt(at)) {
    case "'":
      return end(isPostgres && !/^e$/i.test(before) ? plainString : escapedString);
    case '"':
      return end(isPostgres ? plainIdentifier : escapedDouble);
    case "`":
      return isPostgres ? undefined : end(backticks);
    case "$":
      return isPostgres ? endOfDollarQuote(text, at) : undefined;
    case "-":
      return end(isPostgres ? lineComment : mysqlLineComment);
    case "#":
      return isPostgres ? undefined : end(hashComment);
    case "/":
      if (text[at + 1] !== "*") return undefined;
      return isPostgres ? endOfNestedComment(text, at) : end(flatComment);
    default:
      return undefined;
  }
}

/** The parameters of `text`, in order. */
export function placeholdersOf(dialect: Dialect, text: string, style: Style): Placeholder[] {
  const found: Placeholder[] = [];
  let at = 0;
  let questions = 0;
  /** The word that ends right before `at`, which makes `E'…'` what it is and `a:b` no parameter. */
  let before = "";
  while (at < text.length) {
    const start = at;
    const quietEnd = endOfQuiet(dialect, text, at, before);
    if (quietEnd !== undefined) {
      at = quietEnd;
      before = "";
      continue;
    }
    const named = style === "named" && before === "" ? matchAt(name, text, at) : null;
    const placed =
      style === "positional" && dialect === "postgres" && before === "" ? matchAt(number, text, at) : null;
    const colons = matchAt(doubleColon, text, at);
    const passed = matchAt(word, text, at);
    if (colons !== null) at += 2;
    else if (named !== null) {
      at += named[0].length;
      found.push({ key: named[1] ?? "", start, end: at });
    } else if (placed !== null) {
      at += placed[0].length;
      found.push({ key: Number(placed[1]) - 1, start, end: at });
    } else if (passed !== null) {
      at += passed[0].length;
    } else {
      at += 1;
      if (text[start] === "?" && style === "positional" && dialect === "mysql")
        found.push({ key: questions++, start, end: at });
    }
    before = passed !== null && colons === null && named === null && placed === null ? passed[0] : "";
  }
  return found;
}
