import { expect, it } from "vitest";
import { createClock } from "../src/clock.ts";
import { FakeHost } from "./fake-host.ts";

it("counts what the wall clock ran ahead while the monotonic clock stood still", () => {
  const host = new FakeHost();
  const clock = createClock(host);
  host.mono += 100;
  host.suspend(5000);
  expect(clock.now()).toBe(5100);
});

it("is not moved by a wall clock that is set back, and counts a suspension after that", () => {
  const host = new FakeHost();
  const clock = createClock(host);
  host.wallOffset -= 60_000;
  expect(clock.now()).toBe(0);
  host.suspend(5000);
  expect(clock.now()).toBe(5000);
});

it("does not add up the noise of a wall clock that counts whole milliseconds", () => {
  const host = new FakeHost();
  host.wallMs = () => Math.floor(host.mono + host.wallOffset);
  const clock = createClock(host);
  for (let i = 0; i < 100_000; i += 1) {
    host.mono += 0.37;
    clock.now();
  }
  expect(clock.now()).toBeCloseTo(host.mono);
});
