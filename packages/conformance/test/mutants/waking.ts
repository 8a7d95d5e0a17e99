import type { Broken } from "../simulated-harness.ts";
import type { Mutant } from "./mutant.ts";

const deaf: Broken = {
  backend: () => ({ watch: async () => ({ live: true, close: async () => {} }) }),
};

export const waking: readonly Mutant[] = [
  {
    breaks: "a subscription never wakes",
    kills: [
      "waking/by-release",
      "waking/by-sealed-release",
      "waking/by-overrule",
      "waking/no-lost-release",
      "waking/everyone-gets-a-turn",
    ],
    broken: deaf,
  },
  {
    breaks: "a sealed release wakes nobody",
    kills: ["waking/by-sealed-release"],
    broken: {
      backend: (backend, store) => ({
        async release(request, options) {
          if (!request.sealed) return await backend.release(request, options);
          const ears = [...store.ears];
          store.ears.clear();
          const result = await backend.release(request, options);
          for (const [id, own] of ears) store.ears.set(id, own);
          return result;
        },
      }),
    },
  },
  {
    breaks: "every release wakes everybody, whatever the name",
    kills: ["waking/own-name-only", "waking/as-declared"],
    broken: {
      backend: (backend, store) => ({
        async release(request, options) {
          const result = await backend.release(request, options);
          for (const ear of [...store.ears.values()].flat()) ear.onWake();
          return result;
        },
      }),
    },
  },
  {
    breaks: "a subscription begins a moment after it was confirmed",
    kills: ["waking/no-lost-release"],
    broken: {
      backend: (backend) => ({
        async watch(name, onWake, options) {
          let heard = (): void => {};
          const subscription = await backend.watch?.(name, () => heard(), options);
          setTimeout(() => (heard = onWake), 50);
          return { live: true, close: async () => await subscription?.close() };
        },
      }),
    },
  },
  {
    breaks: "one release wakes all waiters",
    kills: ["waking/as-declared"],
    broken: { store: { wakes: (ears) => ears } },
  },
  {
    breaks: "one release wakes no waiter",
    kills: ["waking/as-declared", "waking/by-release"],
    broken: { store: { wakes: () => [] } },
  },
  {
    breaks: "a subscription wakes once and never again",
    kills: ["waking/everyone-gets-a-turn", "waking/wakes-after-reconnect"],
    broken: {
      backend: (backend) => ({
        async watch(name, onWake, options) {
          let woken = false;
          const once = (): void => {
            if (!woken) onWake();
            woken = true;
          };
          const subscription = await backend.watch?.(name, once, options);
          return {
            get live() {
              return subscription?.live ?? false;
            },
            close: async () => await subscription?.close(),
          };
        },
      }),
      store: { wakes: (ears) => ears.slice(0, 2) },
    },
  },
  {
    breaks: "a closed subscription goes on",
    kills: ["waking/closed-is-silent"],
    broken: {
      backend: (backend) => ({
        async watch(name, onWake, options) {
          await backend.watch?.(name, onWake, options);
          return { live: true, close: async () => {} };
        },
      }),
      store: { wakes: (ears) => ears },
    },
  },
  {
    breaks: "a killed subscription is deaf and does not say so",
    kills: ["waking/killed-listener", "waking/wakes-after-reconnect"],
    broken: { store: { saysDown: false } },
  },
  {
    breaks: "a killed subscription never comes back",
    kills: ["waking/wakes-after-reconnect"],
    broken: { store: { reconnectMs: Infinity } },
  },
];
