import { vi } from "vitest";
import { describeFaults } from "./faults.ts";
import { redisTalk } from "./redis-talk.ts";

// Forced here, for the other files take the native way first. A machine without an engine skips, in CI too.
vi.stubEnv("COORD_FIXTURES", "containers");
vi.stubEnv("COORD_TEST_REDIS_URL", "");
vi.stubEnv("CI", "");

await describeFaults("redis", {}, redisTalk);
