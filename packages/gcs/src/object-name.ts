/**
 * One object per name: `<prefix><namespace>/<escaped key>`. Escaping keeps byte order and prefixes, so that
 * the store's own listing is in the order of the keys, and leaves ordinary keys readable.
 */
import type { Name } from "@coord/core";
import { InvalidArgumentError } from "@coord/core";

/** The store's own limit for an object's name. */
const maxNameBytes = 1024;

/**
 * Characters that the service, its client or its tools treat in their own way stand in five runs. Each is
 * replaced by a character from inside its run and two hex digits, so that it sorts where it was.
 */
// oxlint-disable-next-line no-control-regex -- control characters are what it is about
const special = /[\u0000-\u0023\u0029\u002a\u003e\u003f\u005b-\u005e\u007e-\u009f]/g;
const escaped = /[!)>^~]([0-9a-f]{2})/g;

function leader(code: number): string {
  if (code <= 0x23) return "!";
  if (code <= 0x2a) return ")";
  if (code <= 0x3f) return ">";
  return code <= 0x5e ? "^" : "~";
}

export function escapeKey(key: string): string {
  return key.replace(special, (character) => {
    const code = character.charCodeAt(0);
    return leader(code) + code.toString(16).padStart(2, "0");
  });
}

export function unescapeKey(text: string): string {
  return text.replace(escaped, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
}

/** @throws {InvalidArgumentError} when the store cannot hold the name. */
export function objectName(prefix: string, { namespace, key }: Name): string {
  const object = `${prefix}${namespace}/${escapeKey(key)}`;
  const bytes = Buffer.byteLength(object);
  if (bytes > maxNameBytes) {
    throw new InvalidArgumentError(
      `The key ${JSON.stringify(key.slice(0, 40))}… needs an object name of ${bytes} bytes, and Cloud Storage takes ` +
        `${maxNameBytes}: use a shorter key, or fewer of the characters that are escaped (space ! " # ) * > ? [ \\ ] ^ ~).`,
    );
  }
  if (Buffer.from(object).toString() !== object) {
    throw new InvalidArgumentError("The key has half of a surrogate pair: use well-formed Unicode.");
  }
  return object;
}

/** The name behind an object, or `undefined` where the object is none of ours. */
export function nameOf(prefix: string, object: string): Name | undefined {
  const rest = object.slice(prefix.length);
  const slash = rest.indexOf("/");
  const namespace = rest.slice(0, slash);
  if (!object.startsWith(prefix) || slash < 0 || !/^[A-Za-z_][A-Za-z0-9_-]{0,47}$/.test(namespace)) {
    return undefined;
  }
  return { namespace, key: unescapeKey(rest.slice(slash + 1)) };
}
