import { transitions } from "@coord/core";
import type { CallOptions, Grant, RenewOutcome, RenewRequest } from "@coord/core";
import type { Value } from "./driver.ts";
import { grantValue, nameValues, placeOf, readRow } from "./record.ts";
import type { RunStep, Session } from "./sessions.ts";
import type { OtherTtl, Statements } from "./statements.ts";

export type Renew = (requests: readonly RenewRequest[], options: CallOptions) => Promise<RenewOutcome[]>;

const idOf = ({ name, grantId, fence }: Grant): string =>
  `${name.namespace}\0${name.key}\0${grantId}\0${fence}`;
const fourOf = ({ name, grantId, fence }: Grant): Value[] => [
  ...nameValues(name),
  grantValue(grantId),
  fence,
];
const nameId = (name: { readonly namespace: string; readonly key: string }): string =>
  `${name.namespace}\0${name.key}`;

const saves = (request: RenewRequest): boolean =>
  request.payload !== undefined && request.payloadSeq !== undefined;

export function createRenew(run: RunStep, sql: Statements): Renew {
  /**
   * What became of requests that the statement did not settle: `lost` only by a record that was read;
   * one that could be renewed and was not is locked by a transaction.
   * `clockMs`: the statement's clock, 0n if it matched no row.
   */
  async function settle(
    session: Session,
    requests: readonly RenewRequest[],
    clockMs: bigint,
  ): Promise<Map<string, RenewOutcome>> {
    const rows = await session.read(
      sql.records(requests.length),
      requests.flatMap(({ name }) => nameValues(name)),
    );
    const found = new Map(
      rows.map(readRow).map((read) => [read.record === null ? "" : nameId(read.record), read]),
    );
    return new Map(
      requests.map((request) => {
        const read = found.get(nameId(request.name)) ?? { record: null, nowUs: 0n };
        if (transitions.renew(read.record, request, read.nowUs).result === "lost")
          return [idOf(request), "lost"];
        const extended = clockMs > 0n && (read.record?.expiresAt ?? 0) >= Number(clockMs) + request.ttlMs;
        return [idOf(request), extended ? "renewed" : "unknown"];
      }),
    );
  }

  /** Requests without payload, each grant once. */
  async function together(
    session: Session,
    requests: readonly RenewRequest[],
  ): Promise<Map<string, RenewOutcome>> {
    const byTtl = new Map<number, RenewRequest[]>();
    for (const request of requests) {
      byTtl.set(request.ttlMs, [...(byTtl.get(request.ttlMs) ?? []), request]);
    }
    const [[usualTtlMs] = [0], ...others] = [...byTtl].toSorted(([, a], [, b]) => b.length - a.length);
    const otherTtls = others.map(([ttlMs, some]): OtherTtl => ({ ttlMs, grants: some.length }));
    const { affectedRows, insertId } = await session.write(
      sql.renewBatch(requests.length, usualTtlMs, otherTtls),
      [
        ...requests.flatMap(({ name }) => nameValues(name)),
        ...requests.flatMap(fourOf),
        ...others.flatMap(([, some]) => some.flatMap(fourOf)),
      ],
    );
    if (affectedRows === requests.length) {
      return new Map(requests.map((request) => [idOf(request), "renewed"]));
    }
    return settle(session, requests, insertId);
  }

  async function withPayload(session: Session, request: RenewRequest): Promise<RenewOutcome> {
    const { name, grantId, fence, ttlMs, payloadSeq = 0 } = request;
    const place = placeOf(request.payload);
    const statement = async (): Promise<bigint> => {
      const header = await session.write(sql.renewWithPayload, [
        ...nameValues(name),
        grantValue(grantId),
        fence,
        ttlMs,
        payloadSeq,
        place.inRow,
        payloadSeq,
        place.at ?? 0,
        payloadSeq,
        payloadSeq,
        payloadSeq,
      ]);
      return header.insertId;
    };
    const { aside } = place;
    const id =
      aside === null
        ? await statement()
        : await session.atomically(async () => {
            const stored = await statement();
            if (stored === 2n) await session.write(sql.storePayload, [...nameValues(name), aside]);
            return stored;
          });
    if (id !== 0n) return "renewed";
    return (await settle(session, [request], 0n)).get(idOf(request)) ?? "unknown";
  }

  return async (requests, options) => {
    const plain = new Map<string, RenewRequest>();
    for (const request of requests) {
      if (saves(request)) continue;
      const same = plain.get(idOf(request));
      if (same === undefined || same.ttlMs < request.ttlMs) plain.set(idOf(request), request);
    }
    const settled =
      plain.size === 0
        ? new Map<string, RenewOutcome>()
        : await run(options, (session) => together(session, [...plain.values()]));
    const outcomes: RenewOutcome[] = [];
    for (const request of requests) {
      outcomes.push(
        saves(request)
          ? await run(options, (session) => withPayload(session, request))
          : (settled.get(idOf(request)) ?? "unknown"),
      );
    }
    return outcomes;
  };
}
