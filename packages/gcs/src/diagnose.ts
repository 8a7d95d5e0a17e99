/** What leases rely on, checked on the live bucket: its rules, its settings, our permissions, its clock. */
import { randomUUID } from "node:crypto";
import type { CallOptions, Diagnosis, Finding } from "@coord/core";
import { ConfigurationError, isCoordError } from "@coord/core";
import { call, type Reply, withQuery } from "./access.ts";
import { field } from "./field.ts";
import { fromObject, objectFields, type Version } from "./metadata.ts";
import { patchObject, type Store, uploadObject } from "./store.ts";

const permissions = ["get", "create", "update", "delete", "list"].map((verb) => `storage.objects.${verb}`);
const ok = (message: string): Finding => ({ level: "ok", message });
const warning = (message: string, remedy: string): Finding => ({ level: "warning", message, remedy });
const error = (message: string, remedy: string): Finding => ({ level: "error", message, remedy });

const noMetadata = {
  namespace: "",
  key: "",
  fence: 1n,
  grantId: "",
  holder: "",
  expiresAt: 0,
  sealed: false,
  payloadSeq: 0,
  retainMs: null,
  purgeAt: null,
};

const versionIn = ({ body }: Reply): Version | undefined => fromObject(body, noMetadata)?.version;
const query = (version: Version): Record<string, string | undefined> => ({
  ...version,
  fields: objectFields,
});

/** Writes an object of its own, which is no record, and looks whether preconditions are kept. */
async function probe(store: Store, options: CallOptions): Promise<Finding[]> {
  const object = `${store.prefix}.probe-${randomUUID()}`;
  const remedy = "Use Cloud Storage itself: this server does not keep the preconditions that leases rest on.";
  const absent: Version = { ifGenerationMatch: "0" };
  const create = () => call(store, uploadObject(object, query(absent), noMetadata), options);
  const patch = (version: Version) => call(store, patchObject(object, query(version), noMetadata), options);

  const created = await create();
  if (created.status === 404) return [error("The bucket does not exist.", "Create it, or correct its name.")];
  const first = versionIn(created);
  if (first === undefined) return [error("An upload is not answered with its generation.", remedy)];
  const faults: Finding[] = [];
  if ((await create()).status !== 412) faults.push(error("Two uploads created the same object.", remedy));
  const { ifMetagenerationMatch } = first;
  const wrong = { ...first, ifMetagenerationMatch: String(Number(ifMetagenerationMatch) + 7) };
  if ((await patch(wrong)).status !== 412) {
    faults.push(error("A patch ignored its metageneration precondition.", remedy));
  }
  const patched = versionIn(await patch(first));
  const isRaised = Number(patched?.ifMetagenerationMatch) === Number(ifMetagenerationMatch) + 1;
  if (!isRaised || patched?.ifGenerationMatch !== first.ifGenerationMatch) {
    faults.push(error("A patch did not raise the metageneration by one.", remedy));
  }
  const uri = withQuery(`/o/${encodeURIComponent(object)}`, { ...(patched ?? first) });
  const removed = await call(store, { method: "DELETE", uri }, options);
  if (removed.status === 412) faults.push(error("A delete under the last version was refused.", remedy));
  return faults.length > 0 ? faults : [ok("Uploads, patches and deletes keep their preconditions.")];
}

async function granted(store: Store, options: CallOptions): Promise<Finding[]> {
  const asked = permissions.map((permission) => `permissions=${permission}`).join("&");
  const reply = await call(store, { method: "GET", uri: `/iam/testPermissions?${asked}` }, options);
  const held: unknown = field(reply.body, "permissions");
  const missing = permissions.filter((permission) => !(Array.isArray(held) && held.includes(permission)));
  if (missing.length === 0) return [ok("All permissions are granted.")];
  const remedy = "Grant roles/storage.objectUser on the bucket.";
  return [error(`Permissions are missing: ${missing.join(", ")}.`, remedy)];
}

/** Whether a lifecycle rule of the bucket may delete records. */
function deletes(rule: unknown, prefix: string): boolean {
  if (field(field(rule, "action"), "type") !== "Delete") return false;
  const prefixes: unknown = field(field(rule, "condition"), "matchesPrefix");
  if (!Array.isArray(prefixes)) return true;
  return prefixes.some((it) => typeof it === "string" && (it.startsWith(prefix) || prefix.startsWith(it)));
}

async function settings(store: Store, options: CallOptions): Promise<Finding[]> {
  const { body } = await call(store, { method: "GET", uri: "" }, options);
  const rules: unknown = field(field(body, "lifecycle"), "rule");
  const softDelete = field(body, "softDeletePolicy");
  const isOn = (name: string, part: string): boolean => field(field(body, name), part) === true;
  const findings = [
    field(body, "retentionPolicy") !== undefined &&
      error("The bucket has a retention policy: payloads can't be replaced.", "Use a bucket without one."),
    field(body, "defaultEventBasedHold") === true &&
      error("New objects get a hold: payloads can't be replaced.", "Turn off the default event-based hold."),
    field(field(body, "objectRetention"), "mode") !== undefined &&
      warning("Objects may be retained one by one.", "Use a bucket without object retention."),
    isOn("billing", "requesterPays") &&
      error(
        "The requester pays, and leases name no project to bill.",
        "Use a bucket without requester pays.",
      ),
    Array.isArray(rules) &&
      rules.some((rule: unknown) => deletes(rule, store.prefix)) &&
      error(
        "A lifecycle rule may delete records that are held or sealed.",
        `Limit it by matchesPrefix to objects outside ${JSON.stringify(store.prefix)}.`,
      ),
    isOn("versioning", "enabled") &&
      warning("Versioning keeps and bills each replaced payload.", "Turn it off for this bucket."),
    Number(field(softDelete, "retentionDurationSeconds") ?? 0) > 0 &&
      warning("Soft delete keeps and bills each replaced payload.", "Set its duration to 0 for this bucket."),
    isOn("hierarchicalNamespace", "enabled") &&
      warning("Leases are not tested with a hierarchical namespace.", "Use a bucket without one."),
  ].filter((found) => found !== false);
  return findings.length > 0 ? findings : [ok("No setting of the bucket stands in the way.")];
}

/** A check that was refused or got no answer is a finding too; without permission to look it is a warning. */
async function finding(title: string, check: Promise<Finding[]>, isOptional: boolean): Promise<Finding[]> {
  try {
    return await check;
  } catch (failure) {
    if (!isCoordError(failure)) throw failure;
    const message = `${title} could not be checked: ${failure.message}`;
    const remedy = "Grant what it needs, or check it by hand.";
    const isFault = failure instanceof ConfigurationError && !isOptional;
    return [isFault ? error(message, "See the message.") : warning(message, remedy)];
  }
}

export async function diagnose(store: Store, options: CallOptions): Promise<Diagnosis> {
  const uri = withQuery("/o", { prefix: store.prefix, maxResults: "1", fields: "items(name)" });
  const beforeMs = Date.now();
  const { nowUs, status } = await call(store, { method: "GET", uri }, options);
  const afterMs = Date.now();
  const findings =
    status === 404
      ? [error("The bucket does not exist.", "Create it, or correct its name.")]
      : await Promise.all([
          finding("That preconditions are kept", probe(store, options), false),
          finding("The bucket's settings (storage.buckets.get)", settings(store, options), true),
          finding("Permissions", granted(store, options), true),
        ]).then((all) => all.flat());
  // The middle of the second that the Date header names.
  return { findings, clock: { storeMs: Number(nowUs / 1000n) + 500, beforeMs, afterMs } };
}
