/** One try on the store that COORD_URL names, with the ttl that is given; prints how it failed. */
import { isCoordError, openCoordinator } from "@coord/core";

const coord = await openCoordinator({
  cleanUp: false,
  defaults: { ttlMs: Number(process.argv[2]), waitMs: 0 },
});
try {
  await coord.acquire("key");
  console.log("granted");
} catch (error) {
  console.log(isCoordError(error) ? `${error.code} ${error.message}` : error);
} finally {
  await coord.close();
}
