import { gcsBackend } from "@coord/gcs";
import { start } from "@coord/test-fixtures";
import type { BenchStore } from "../store.ts";

/** On the strict fake: a request costs what the network costs, so requests are what is counted. */
export const gcs: BenchStore = {
  name: "gcs",
  title: "Google Cloud Storage (strict fake)",
  cells: ["requests"],
  aims: {},
  inFlight: 1,
  bareText: "",
  mostNames: 0,
  renewals: { quick: 0, full: 0 },
  start: () => start("gcs"),
  async backend(url) {
    return { backend: gcsBackend({ url }), close: async () => {} };
  },
};
