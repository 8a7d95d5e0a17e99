import type { AcquireResult, Name } from "./backend.ts";
import type { Clock } from "./clock.ts";

type Refused = Extract<AcquireResult, { outcome: "refused" }>;

/** Refusals that the store would give again, unless the holder has ended its lease early since. */
export interface KnownHeld {
  find(name: Name): Refused | undefined;
  /** `askedAt`: before the request was sent, so that what is left is never counted too long. */
  note(name: Name, refused: Refused | undefined, askedAt: number): void;
  forget(name: Name): void;
}

const mostNames = 10_000;

/** What `holder` holds itself is always asked for: it learns of its own releases at once. */
export function createKnownHeld(clock: Clock, holder: string): KnownHeld {
  const known = new Map<string, { readonly refused: Refused; readonly until: number }>();
  return {
    find({ key }) {
      const entry = known.get(key);
      if (entry === undefined) return undefined;
      const remainingMs = entry.until - clock.now();
      if (remainingMs > 0) return { ...entry.refused, remainingMs };
      known.delete(key);
      return undefined;
    },
    forget: ({ key }) => void known.delete(key),
    note({ key }, refused, askedAt) {
      known.delete(key);
      if (refused?.reason !== "held" || refused.record?.holder === holder) return;
      known.set(key, { refused, until: askedAt + refused.remainingMs });
      // The oldest first: what is forgotten costs one request.
      for (const oldest of known.keys()) {
        if (known.size <= mostNames) break;
        known.delete(oldest);
      }
    },
  };
}
