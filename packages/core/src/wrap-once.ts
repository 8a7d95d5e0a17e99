import { InvalidArgumentError } from "./errors.ts";
import { show } from "./json.ts";
import type { UncheckedOnce } from "./once.ts";
import type { WrapOnce } from "./once-api.ts";
import { unwrap } from "./once-outcome.ts";

export function createWrapOnce(once: UncheckedOnce): WrapOnce {
  return (work, given) => {
    if (typeof work !== "function")
      throw new InvalidArgumentError(`wrapOnce takes a function as its first argument, got ${show(work)}.`);
    if (typeof given?.key !== "function") {
      throw new InvalidArgumentError(
        `wrapOnce needs key, a function that makes a key of the input, got ${show(given?.key)}.`,
      );
    }
    const { key, ...options } = given;
    return async (input) => unwrap(await once(key(input), { ...options, input }, work));
  };
}
