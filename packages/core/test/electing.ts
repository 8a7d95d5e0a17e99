import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { afterEach, beforeEach } from "vitest";
import type { Coordinator, CoordinatorOptions } from "../src/api.ts";
import { createCoordinator } from "../src/coordinator.ts";
import type { Election, ElectionOptions } from "../src/election-api.ts";
import { FakeHost, fakeStore } from "./fake-host.ts";

/** Candidates in processes of their own, on virtual time. */

export const ttlMs = 3000;
export let host: FakeHost;
export let store: ReturnType<typeof fakeStore>;
/** What happened, as "holder event". */
export let events: string[];
export let coords: Coordinator[];

export function electing(): void {
  const onEvent = (event: unknown): void => {
    const { holder, event: what } = event as { holder: string; event: string };
    events.push(`${holder} ${what}`);
  };
  beforeEach(() => {
    host = new FakeHost();
    store = fakeStore(host);
    events = [];
    coords = [];
    subscribe("coord:election", onEvent);
  });
  afterEach(() => void unsubscribe("coord:election", onEvent));
}

export function candidate(
  holder: string,
  options: ElectionOptions = {},
  own: Partial<CoordinatorOptions> = {},
): Election {
  const given = { backend: store.backend, host, holder, cleanUp: false, defaults: { ttlMs } };
  const coord = createCoordinator({ ...given, ...own });
  coords.push(coord);
  return coord.elect("scheduler", options);
}

export const countOf = (event: string): number => events.filter((each) => each === event).length;

/** Work that ends when its term does, after `ms` more. */
export const until = (signal: AbortSignal, ms = 0): Promise<void> =>
  new Promise((resolve) => {
    const stop = (): void => (ms === 0 ? resolve() : void host.setTimer(resolve, ms, true));
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop);
  });

/** Work that nobody ends, until the test does. */
export function endless(): { work: Promise<void>; finish: () => void } {
  let finish = (): void => {};
  const work = new Promise<void>((resolve) => (finish = resolve));
  return { work, finish };
}
