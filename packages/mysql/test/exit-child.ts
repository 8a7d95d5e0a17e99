/** Uses all of a backend and ends: nothing may keep the process alive after `close()`. Arguments: url, namespace. */
import { mysqlBackend } from "../src/index.ts";
import { acquireRequest, call, releaseRequest } from "./harness.ts";

const [url = "", namespace = ""] = process.argv.slice(2);
const backend = mysqlBackend({ url });
const name = { namespace, key: "key" };
const request = acquireRequest(name);
const answer = await backend.acquire(request, call());
const subscription = await backend.watch?.({ namespace, key: "other" }, () => {}, call());
await backend.watch?.(name, () => {}, call());
if (answer.outcome === "granted") {
  await backend.release(releaseRequest({ name, grantId: request.grantId, fence: answer.fence }), call());
}
await subscription?.close();
await backend.close();
process.stdout.write("closed\n");
