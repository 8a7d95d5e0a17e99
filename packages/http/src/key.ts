/** The key of an `Idempotency-Key` field, or what is wrong with it. */
export type ParsedKey = { readonly key: string } | { readonly wrong: string };

const longestKey = 255;
/** RFC 8941: printable ASCII in double quotes, with `\"` and `\\`. */
const quoted = /^"((?:[ !#-[\]-~]|\\["\\])*)"$/;
/** As many clients send it: without quotes. No comma, which joins fields that were sent twice. */
const bare = /^[!#-+\--[\]-~]+$/;

/**
 * Reads the field as the draft defines it, a structured string in quotes, and also without the quotes, as most
 * clients send it. Both name the same key.
 */
export function parseKey(field: string): ParsedKey {
  const text = field.trim();
  const inner = quoted.exec(text)?.[1];
  const key = inner === undefined ? text : inner.replaceAll(/\\(["\\])/g, "$1");
  if (key === "") return { wrong: "it is empty" };
  if (inner === undefined && !bare.test(text))
    return {
      wrong: 'it is no string of printable ASCII in double quotes, such as "8e03978e-40d5-43e8-bc93"',
    };
  if (key.length > longestKey)
    return { wrong: `it has ${key.length} characters, at most ${longestKey} are taken` };
  return { key };
}
