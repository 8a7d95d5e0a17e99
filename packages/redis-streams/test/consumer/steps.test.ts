/** Each script by itself, and whether this would notice if one of its checks were missing. */
import { whyMissing } from "@coord/test-fixtures";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createCommands } from "../../src/commands.ts";
import { checkOptions } from "../../src/consumer/options.ts";
import { compileQueueScripts, type QueueScripts } from "../../src/consumer/scripts.ts";
import { createSteps, type Steps, type Token } from "../../src/consumer/steps.ts";
import { startQueues, type TestQueue } from "./queue.ts";

const missing = await whyMissing("redis");
type Server = Awaited<ReturnType<typeof startQueues>>;

/** A group of which the consumer `me` was given the first `given` of `count` entries. */
interface Stage {
  readonly ids: string[];
  readonly queue: TestQueue;
  readonly admin: Server["admin"];
  readonly me: Steps;
  readonly as: (consumer: string, deleteHandled?: boolean) => Steps;
  readonly token: (index: number, attempt?: number) => Token;
  /** Gives entries to another consumer with the count that they have: only the owner differs. */
  readonly steal: (...indexes: number[]) => Promise<unknown>;
  readonly owners: () => Promise<Record<number, string>>;
}

const cases: Record<string, (stage: Stage) => Promise<void>> = {
  async "ack takes what is ours, one by one and many at once"({ me, token, steal, owners }) {
    await steal(1, 8);
    expect(await me.ack([token(0), token(1), token(2, 2)])).toEqual(["acked", "claimed", "claimed"]);
    const many = [token(0), ...[2, 3, 4, 5, 6, 7, 8].map((index) => token(index)), token(9, 3)];
    expect(await me.ack(many)).toEqual([
      "acknowledged",
      ...Array.from({ length: 6 }, () => "acked"),
      "claimed",
      "claimed",
    ]);
    expect(await owners()).toEqual({ 1: "other/1", 8: "other/1", 9: "me/1" });
  },
  async "ack deletes only where that was asked for and no other group may need it"({
    as,
    token,
    admin,
    queue,
  }) {
    await as("me").ack([token(0)]);
    expect(await admin.xlen(queue.stream)).toBe(12);
    await as("me", true).ack([token(1)]);
    expect(await admin.xlen(queue.stream)).toBe(11);
    await admin.xgroup("CREATE", queue.stream, "another", "0");
    await as("me", true).ack([token(2)]);
    expect(await admin.xlen(queue.stream)).toBe(11);
  },
  async "refresh keeps what is ours, and takes nothing back"({
    me,
    token,
    steal,
    admin,
    queue,
    ids,
    owners,
  }) {
    await steal(1);
    await admin.xack(queue.stream, queue.group, ids[3] ?? "");
    await admin.xdel(queue.stream, ids[4] ?? "");
    const answers = await me.refresh(
      [0, 1, 2, 3, 4].map((index) => token(index, index === 2 ? 2 : 1)),
      5000,
    );
    expect(answers).toEqual(["held", "claimed", "claimed", "acknowledged", "trimmed"]);
    expect(await owners()).toMatchObject({ 0: "me/1", 1: "other/1", 2: "me/1" });
  },
  async "bury moves what is ours with its fields"({ me, token, steal, queue, owners }) {
    await steal(1);
    expect(await me.bury(token(0), "handler", "why")).toBe("buried");
    expect(await me.bury(token(0), "handler", "why")).toBe("acknowledged");
    expect(await me.bury(token(1), "handler", "why")).toBe("claimed");
    expect(await me.bury(token(2, 2), "handler", "why")).toBe("claimed");
    expect(await queue.dead()).toMatchObject([{ _reason: "handler", _error: "why", _count: "1", body: "0" }]);
    expect(await owners()).toMatchObject({ 1: "other/1", 2: "me/1" });
  },
  async "retry raises the count of what is ours"({ me, token, steal, admin, queue, ids, owners }) {
    await steal(1);
    await admin.xack(queue.stream, queue.group, ids[3] ?? "");
    await admin.xdel(queue.stream, ids[4] ?? "");
    const tokens = [token(0), token(1), token(2, 2), token(3), token(4)];
    const answers = [];
    for (const each of tokens) answers.push(await me.retry(each));
    expect(answers).toEqual([2, "claimed", "claimed", "acknowledged", "trimmed"]);
    expect(await owners()).toMatchObject({ 0: "me/2", 1: "other/1", 2: "me/1" });
  },
  async "replay hands out what is pending here and not in hand"({ me, ids, admin, queue, steal }) {
    await steal(1);
    await admin.xdel(queue.stream, ids[2] ?? "");
    await admin.xclaim(queue.stream, queue.group, "me", 0, ids[3] ?? "", "RETRYCOUNT", 5, "JUSTID");
    await admin.xclaim(queue.stream, queue.group, "me", 0, ids[4] ?? "", "RETRYCOUNT", 3, "JUSTID");
    await admin.xclaim(queue.stream, queue.group, "me", 0, ids[5] ?? "", "RETRYCOUNT", 3, "JUSTID");
    const { entries, gone } = await me.replay(4, 1, [ids[0] ?? ""]);
    expect(entries.map(({ id, attempt }) => [ids.indexOf(id), attempt])).toEqual([
      [4, 4],
      [6, 2],
      [7, 2],
      [8, 2],
    ]);
    expect(gone.map(({ id, reason }) => [ids.indexOf(id), reason])).toEqual([
      [2, "trimmed"],
      [3, "deliveries"],
    ]);
  },
  async "claim takes what is idle, buries what was delivered too often, and puts risky ones back"({
    as,
    ids,
    admin,
    queue,
    owners,
  }) {
    const age = (index: number, count: number) =>
      admin.xclaim(
        queue.stream,
        queue.group,
        "gone",
        0,
        ids[index] ?? "",
        "IDLE",
        9000,
        "RETRYCOUNT",
        count,
        "JUSTID",
      );
    await age(0, 1);
    await age(1, 5);
    await age(2, 3);
    await age(3, 3);
    await age(4, 1);
    await admin.xdel(queue.stream, ids[4] ?? "");
    const { entries, gone } = await as("heir").claim("0-0", 100, 1);
    expect(entries.map(({ id, attempt }) => [ids.indexOf(id), attempt])).toEqual([
      [0, 2],
      [2, 4],
    ]);
    expect(gone.map(({ id, reason }) => [ids.indexOf(id), reason])).toEqual([
      [1, "deliveries"],
      [4, "trimmed"],
    ]);
    expect(await owners()).toMatchObject({ 0: "heir/2", 2: "heir/4", 3: "~returned/3", 5: "me/1" });
    expect(await queue.dead()).toMatchObject([
      { _reason: "deliveries", _count: "5", body: "1" },
      { _reason: "trimmed" },
    ]);
  },
  async "leave gives back what is ours, and the name goes with its last entry"({
    me,
    as,
    token,
    steal,
    ids,
    owners,
    queue,
  }) {
    await steal(1);
    const give = (index: number, attempt: number, counts: boolean) => ({
      ...token(index, attempt),
      idleMs: 5000,
      counts,
    });
    await me.leave([give(0, 1, false), give(1, 1, true), give(2, 2, true), give(3, 1, true)]);
    expect(await owners()).toMatchObject({ 0: "~returned/0", 1: "other/1", 2: "me/1", 3: "~returned/1" });
    const { entries } = await as("heir").claim("0-0", 100, 1);
    expect(entries.map(({ id }) => ids.indexOf(id))).toEqual([0, 3]);
    await me.sweep(0);
    expect(JSON.stringify(await queue.consumers())).toContain('"me"');
    await me.leave([2, 4, 5, 6, 7, 8, 9].map((index) => give(index, 1, true)));
    expect(JSON.stringify(await queue.consumers())).not.toContain('"me"');
  },
  async "trim keeps what any group may still need"({ me, token, admin, queue }) {
    await me.ack([0, 1, 3].map((index) => token(index)));
    expect(await me.trim()).toBe(2);
    await admin.xgroup("CREATE", queue.stream, "another", "0");
    await me.ack([token(2)]);
    expect(await me.trim()).toBe(0);
  },
};

/** What is missing, in which script, and what it is to be replaced by. */
const mutants: [script: keyof QueueScripts, piece: string, broken: string][] = [
  ["ack", "row[2] == ARGV[2] and row[4] or 0", "row[4]"],
  ["ack", "own == count then", "own then"],
  ["ack", "'-', '+', #ARGV, ARGV[2]", "'-', '+', #ARGV"],
  ["ack", "flag == '1' and ", ""],
  ["ack", "#call('XINFO', 'GROUPS', stream) == 1", "true"],
  ["refresh", "row[2] ~= ARGV[2] or ", ""],
  ["refresh", " or row[4] ~= tonumber(ARGV[i + 1])", ""],
  ["refresh", "0, id, 'JUSTID'", "0, id"],
  ["dead", "row[2] ~= ARGV[2] or ", ""],
  ["dead", " or row[4] ~= tonumber(ARGV[4])", ""],
  ["dead", "call('XACK', stream, group, id)", ""],
  ["dead", ", unpack(fields))", ")"],
  ["claim", "count > maxDeliveries", "false"],
  ["claim", "count >= riskyFrom and riskyLeft == 0", "false"],
  ["claim", "'RETRYCOUNT', count - 1", "'RETRYCOUNT', count"],
  ["claim", "ipairs(reply[3])", "ipairs({})"],
  ["replay", "not inHand[id]", "true"],
  ["replay", "#out < limit", "true"],
  ["replay", "risky and riskyLeft == 0", "false"],
  ["replay", "count > maxDeliveries then", "false then"],
  ["retry", "row[2] ~= ARGV[2] or ", ""],
  ["retry", " or row[4] ~= tonumber(ARGV[4])", ""],
  ["retry", "'RETRYCOUNT', row[4] + 1", "'RETRYCOUNT', row[4]"],
  ["leave", "row[2] == ARGV[2] and ", ""],
  ["leave", " and row[4] == tonumber(ARGV[i + 1])", ""],
  ["leave", "ARGV[i + 3] == '1' and row[4] or row[4] - 1", "row[4]"],
  ["leave", "'IDLE', ARGV[i + 2], ", ""],
  ["leave", "> 0 then return 0 end", "> 1000 then return 0 end"],
  ["sweep", "consumer.pending == 0 and ", ""],
  ["trim", "if group.pending > 0", "if false"],
  ["trim", "not low or sortable(id) < sortable(low)", "true"],
];

describe.skipIf(missing !== undefined)(
  `steps of a consumer${missing ? `: ${missing}` : ""}`,
  { timeout: 60_000 },
  () => {
    let server: Server;
    beforeAll(async () => {
      server = await startQueues();
    }, 60_000);
    afterAll(() => server[Symbol.asyncDispose]());

    async function on(play: (stage: Stage) => Promise<void>, scripts: QueueScripts): Promise<void> {
      await using queue = server.queue();
      const { admin } = server;
      const { stream, group } = queue;
      const common = { url: server.url, stream, group, claimAfterMs: 5000 };
      const commands = createCommands(checkOptions(common).source, 0);
      const as = (consumer: string, deleteHandled = false) =>
        createSteps(commands, checkOptions({ ...common, consumer, deleteHandled }), scripts);
      const ids = await queue.fill(12);
      await admin.xgroup("CREATE", stream, group, "0");
      await admin.xreadgroup("GROUP", group, "me", "COUNT", 10, "STREAMS", stream, ">");
      const token = (index: number, attempt = 1) => ({ id: ids[index] ?? "", attempt });
      const steal = (...indexes: number[]) =>
        admin.xclaim(stream, group, "other", 0, ...indexes.map((index) => ids[index] ?? ""), "JUSTID");
      const owners = async () =>
        Object.fromEntries(
          (await queue.pendingRows()).map(([id, owner, , count]) => [ids.indexOf(id), `${owner}/${count}`]),
        );
      try {
        await play({ ids, queue, admin, me: as("me"), as, token, steal, owners });
      } finally {
        commands.close();
      }
    }

    test.for(Object.entries(cases))("%s", ([, play]) => on(play, compileQueueScripts()));

    test.for(mutants)("%s without %s would be noticed", async ([script, piece, broken]) => {
      let found = false;
      const scripts = compileQueueScripts((text, name) => {
        if (name !== script) return text;
        found = text.includes(piece);
        return text.replace(piece, () => broken);
      });
      expect(found).toBe(true);
      const word = { dead: "bury", sweep: "leave" }[script as string] ?? script;
      const about = Object.entries(cases).filter(([title]) => title.startsWith(word));
      const results = await Promise.allSettled(about.map(([, play]) => on(play, scripts)));
      expect(results.filter(({ status }) => status === "rejected").length).toBeGreaterThan(0);
    });
  },
);
