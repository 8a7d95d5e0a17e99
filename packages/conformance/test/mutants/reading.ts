import type { Backend, ListRequest, RecordView } from "@coord/core";
import { view } from "@coord/core";
import type { Broken } from "../simulated-harness.ts";
import { idOf, storeNowUs } from "../simulated-store.ts";
import type { Mutant } from "./mutant.ts";

/** List takes another request, or answers otherwise. */
const lists = (
  ask: (request: ListRequest) => Partial<ListRequest>,
  answer: (records: RecordView[], request: ListRequest) => RecordView[] = (records) => records,
): Broken => ({
  backend: (backend): Partial<Backend> => ({
    list: async (request, options) =>
      answer(await backend.list({ ...request, ...ask(request) }, options), request).slice(0, request.limit),
  }),
});

const many = 1_000_000;

/** Without limit and prefix, so that the mutant applies its own. */
const matching = (match: (key: string, prefix: string) => boolean): Broken =>
  lists(
    () => ({ prefix: "", limit: many }),
    (records, { prefix }) => records.filter(({ key }) => match(key, prefix)),
  );

const asPattern = (prefix: string): RegExp =>
  new RegExp(
    `^${prefix
      .replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`)
      .replaceAll("%", ".*")
      .replaceAll("_", ".")}`,
    "su",
  );

export const reading: readonly Mutant[] = [
  {
    breaks: "a name without a record is shown as free",
    kills: ["reading/none-is-null", "renewing/lost-without-record"],
    broken: {
      backend: (backend) => ({
        async inspect(name, options) {
          const record = await backend.inspect(name, options);
          const none = { fence: 0n, grantId: "", holder: "", expiresAt: 0, sealed: false, payloadSeq: 0 };
          return record ?? view({ ...name, ...none, retainMs: null, purgeAt: null }, 0n);
        },
      }),
    },
  },
  {
    breaks: "list shows payloads",
    kills: ["reading/inspect-and-list-agree"],
    broken: {
      backend: (backend, store) => ({
        list: async (request, options) =>
          (await backend.list(request, options)).map((record) => ({
            ...record,
            payload: store.records.get(idOf({ ...record }))?.payload,
          })),
      }),
    },
  },
  {
    breaks: "inspect does not show the payload",
    kills: ["reading/inspect-and-list-agree"],
    broken: {
      backend: (backend) => ({
        async inspect(name, options) {
          const record = await backend.inspect(name, options);
          return record && { ...record, payload: undefined };
        },
      }),
    },
  },
  {
    breaks: "a lapsed record is shown as free",
    kills: ["reading/states-told-apart"],
    broken: {
      backend: (backend) => ({
        async inspect(name, options) {
          const record = await backend.inspect(name, options);
          return record && { ...record, state: record.state === "lapsed" ? "free" : record.state };
        },
      }),
    },
  },
  {
    breaks: "list filters by state after its limit",
    kills: ["reading/states-told-apart"],
    broken: lists(
      () => ({ state: undefined }),
      (records, { state }) => records.filter((record) => state === undefined || record.state === state),
    ),
  },
  {
    breaks: "list does not filter by seal",
    kills: ["reading/states-told-apart"],
    broken: lists(() => ({ sealed: undefined })),
  },
  {
    breaks: "a prefix is a pattern",
    kills: ["reading/prefix-literal"],
    broken: matching((key, prefix) => asPattern(prefix).test(key)),
  },
  {
    breaks: "a prefix is compared without case",
    kills: ["reading/prefix-literal"],
    broken: matching((key, prefix) => key.toLowerCase().startsWith(prefix.toLowerCase())),
  },
  {
    breaks: "list is in the order of a collation",
    kills: ["reading/order-by-bytes", "granting/names-listed"],
    broken: lists(
      () => ({ limit: many }),
      (records) => records.toSorted((a, b) => a.key.localeCompare(b.key)),
    ),
  },
  {
    breaks: "list is in the order of UTF-16",
    kills: ["reading/order-by-bytes"],
    broken: lists(
      () => ({ limit: many }),
      (records) => records.toSorted((a, b) => (a.key < b.key ? -1 : 1)),
    ),
  },
  {
    breaks: "after is inclusive",
    kills: ["reading/after-is-exclusive"],
    broken: lists(
      () => ({ after: undefined, limit: many }),
      (records, { after }) => records.filter(({ key }) => after === undefined || key >= after),
    ),
  },
  {
    breaks: "after must be a key that is there",
    kills: ["reading/after-is-exclusive"],
    broken: lists(
      () => ({ after: undefined, limit: many }),
      (records, { after }) => records.slice(records.findIndex(({ key }) => key === after) + 1),
    ),
  },
  {
    breaks: "list ends after 1,000 records, whatever the page",
    kills: ["reading/paging"],
    broken: lists(
      () => ({ after: undefined, limit: 1000 }),
      (records, { after }) => records.filter(({ key }) => after === undefined || key > after),
    ),
  },
  {
    breaks: "inspect reads a replica that lags",
    kills: ["reading/latest-write"],
    broken: {
      backend: (backend, store) => {
        const replica = new Map<string, RecordView | null>();
        return {
          async inspect(name, options) {
            const latest = await backend.inspect(name, options);
            const lagging = replica.has(idOf(name)) ? (replica.get(idOf(name)) ?? null) : latest;
            replica.set(idOf(name), latest);
            return lagging && view(lagging, storeNowUs(store));
          },
        };
      },
    },
  },
  {
    breaks: "list reads a replica that lags",
    kills: ["reading/latest-write"],
    broken: {
      backend: (backend) => {
        let replica: RecordView[] | undefined;
        return {
          async list(request, options) {
            const lagging = replica;
            replica = await backend.list(request, options);
            return lagging ?? replica;
          },
        };
      },
    },
  },
];
