/** An instant by both clocks: a suspended machine's monotonic clock may stand still, its wall clock goes on. */
export interface Stamp {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

export const stamp = (): Stamp => ({ monotonicMs: performance.now(), wallMs: Date.now() });

/** How long ago that was, by the clock that says more: a delivery may end early by it, never late. */
export const ageMs = ({ monotonicMs, wallMs }: Stamp): number =>
  Math.max(performance.now() - monotonicMs, Date.now() - wallMs);
