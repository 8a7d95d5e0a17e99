/**
 * Addresses of stores. They are taken apart by hand, as some are no URLs to `new URL` (MongoDB's with several
 * hosts), and a failing parser would show them whole.
 */

const secretParameter = /([?&](?:password|passwd|pwd|pass|auth|token|secret|apikey|api_key)=)[^&#]*/gi;

interface Parts {
  readonly before: string;
  readonly user: string;
  readonly password: string | undefined;
  readonly after: string;
}

function partsOf(url: string): Parts | undefined {
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(url)?.[0];
  if (scheme === undefined) return undefined;
  // A raw / or ? in a password is wrong but common: the last @ before a host decides, so that none is shown.
  const at = url.lastIndexOf("@");
  if (at < scheme.length) return undefined;
  const credentials = url.slice(scheme.length, at);
  const colon = credentials.indexOf(":");
  return {
    before: scheme,
    user: colon < 0 ? credentials : credentials.slice(0, colon),
    password: colon < 0 ? undefined : credentials.slice(colon + 1),
    after: url.slice(at),
  };
}

/** Whether the address carries a password, in its place or as a parameter. */
export function hasPassword(url: string): boolean {
  const password = partsOf(url)?.password;
  return (password !== undefined && password !== "") || withoutParameters(url) !== url;
}

const withoutParameters = (url: string): string => url.replace(secretParameter, "$1***");

/** The address without its secrets, to be shown. */
export function redact(url: string): string {
  const parts = partsOf(url);
  if (parts?.password === undefined) return withoutParameters(url);
  return withoutParameters(`${parts.before}${parts.user}:***${parts.after}`);
}
