import * as core from "@coord/core";

/** What the simulation needs of core; a mutant of it has the same face. */
export type Core = typeof core;
export const soundCore: Core = core;
