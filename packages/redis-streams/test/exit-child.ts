/** Uses backends, closes them, and must then end by itself: no timer, socket or listener may hold it. */
import { redisStreamsBackend } from "../src/index.ts";
import { attempt, call, freshNamespace } from "./call.ts";

for (const url of process.argv.slice(2)) {
  const backend = redisStreamsBackend({ url });
  const name = { namespace: freshNamespace(), key: "l\u001fname" };
  await backend.acquire(attempt(name), call(500)).catch(() => {});
  await backend.watch(name, () => {}, call(500)).catch(() => {});
  await backend.close();
}
process.stdout.write("closed\n");
