import { InvalidArgumentError } from "@coord/core";

/** Fields and values of an entry, in turn, as Redis keeps them: text. */
export type Fields = readonly string[];

/** How a body is written into an entry. */
export interface Codec {
  encode(body: unknown): Fields;
  /** @throws on what it can't read: the entry is malformed then and goes to the dead letters. */
  decode(fields: Fields): unknown;
}

interface Issue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

type Validated<Body> =
  | { readonly value: Body; readonly issues?: undefined }
  | { readonly issues: readonly Issue[] };

/** The part of Standard Schema, version 1, that is used here. */
export interface StandardSchema<Body> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => Validated<Body> | Promise<Validated<Body>>;
  };
}

/** What an entry holds can't be read, or does not match the schema. */
export class MalformedError extends Error {
  override readonly name = "MalformedError";
}

/** JSON in one field; other fields of an entry are not read. */
export function jsonCodec(field = "body"): Codec {
  return {
    encode(body) {
      const json: string | undefined = JSON.stringify(body);
      if (json !== undefined) return [field, json];
      throw new InvalidArgumentError(`body must survive JSON, got ${typeof body}: send null, or an object`);
    },
    decode(fields) {
      for (let i = 0; i < fields.length; i += 2) {
        const json = fields[i + 1];
        if (fields[i] === field && json !== undefined) return JSON.parse(json);
      }
      throw new MalformedError(`the entry has no field ${JSON.stringify(field)}`);
    },
  };
}

/** The fields themselves, as an object of texts: for entries that others write with a plain XADD. */
export function fieldsCodec(): Codec {
  return {
    encode(body) {
      const entries = typeof body === "object" && body !== null ? Object.entries(body) : [];
      if (entries.length > 0 && entries.every(([, value]) => typeof value === "string")) {
        return entries.flatMap(([field, value]) => [field, String(value)]);
      }
      throw new InvalidArgumentError(
        "body must be an object of texts with at least one field for fieldsCodec",
      );
    },
    decode(fields) {
      const pairs: [string, string][] = [];
      for (let i = 0; i < fields.length; i += 2) pairs.push([fields[i] ?? "", fields[i + 1] ?? ""]);
      return Object.fromEntries(pairs);
    },
  };
}

const maxIssues = 5;

function describe({ message, path }: Issue): string {
  const steps = path?.map((step) => String(typeof step === "object" ? step.key : step));
  return steps === undefined || steps.length === 0 ? message : `${steps.join(".")}: ${message}`;
}

function accepted<Body>(result: Validated<Body>): Body {
  if (result.issues === undefined) return result.value;
  throw new MalformedError(result.issues.slice(0, maxIssues).map(describe).join("; "));
}

/** Checks a body; answers a promise only where the schema does, since most don't. */
export function validated<Body>(schema: StandardSchema<Body>, value: unknown): Body | Promise<Body> {
  const result = schema["~standard"].validate(value);
  return result instanceof Promise ? result.then(accepted) : accepted(result);
}

/** Taken where no schema is given: bodies are then what the caller says they are. */
export function unchecked<Body>(): StandardSchema<Body> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- without a schema the caller's word stands for the check
  return { "~standard": { version: 1, vendor: "coord", validate: (value) => ({ value: value as Body }) } };
}
