export { bucketsSeconds, instruments } from "./instruments.ts";
export type { Instrument, Labels, Observation } from "./instruments.ts";
export { observe } from "./observe.ts";
export type { ObserveOptions, Observing, Recorder } from "./observe.ts";
