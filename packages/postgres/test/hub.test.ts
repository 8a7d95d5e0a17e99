import { afterEach, expect, test } from "vitest";
import { createHub, type Hub, type Topic } from "../src/hub.ts";
import type { Ear, Listeners, OpenEar } from "../src/notifications.ts";
import { until } from "./harness.ts";

const times = { deliveryLimitMs: 50, probeEveryMs: 30, deafMs: 200, lingerMs: 30 };
let hub: Hub | undefined;
afterEach(() => hub?.close());

/** A switchboard in memory whose line can be cut, with or without a word. */
function switchboard() {
  const ears = new Set<Listeners>();
  const channels = new Set<string>();
  const board = { isSilent: false, isRefusing: false, opened: 0, sent: 0 };
  const open: OpenEar = async (listeners): Promise<Ear> => {
    if (board.isRefusing) throw new Error("refused");
    board.opened++;
    ears.add(listeners);
    return {
      listen: async (channel) => void channels.add(channel),
      close: async () => void ears.delete(listeners),
    };
  };
  const notify = async (channel: string, message: string): Promise<void> => {
    board.sent++;
    if (!board.isSilent) for (const ear of ears) ear.onMessage(channel, message);
  };
  return { board, open, notify, ears };
}

function topicOf(channel: string): Topic & { readonly heard: string[]; readonly changes: boolean[] } {
  const [heard, changes]: [string[], boolean[]] = [[], []];
  return {
    channel,
    heard,
    changes,
    onMessage: (message) => void heard.push(message),
    onChange: (isLive) => void changes.push(isLive),
  };
}

test("messages reach the topics of their channel", async () => {
  const { open, notify } = switchboard();
  hub = createHub(open, notify, times);
  const [one, two] = [topicOf("a"), topicOf("b")];
  await Promise.all([hub.subscribe(one), hub.subscribe(two)]);
  await notify("a", "hello");
  expect([one.heard, two.heard]).toEqual([["hello"], []]);
});

test("a connection that dies without a word is found out, and replaced", async () => {
  const { board, open, notify } = switchboard();
  hub = createHub(open, notify, times);
  const topic = topicOf("a");
  await hub.subscribe(topic);
  board.isSilent = true;
  await until("the loss is told", () => topic.changes.includes(false));
  board.isSilent = false;
  await until("it is back", () => topic.changes.includes(true));
  expect(board.opened).toBeGreaterThan(1);
});

test("a topic that was there before is told when another subscription brought the connection back", async () => {
  const { board, open, notify, ears } = switchboard();
  hub = createHub(open, notify, times);
  const [one, two] = [topicOf("a"), topicOf("a")];
  await hub.subscribe(one);
  board.isRefusing = true;
  for (const ear of ears) ear.onEnd();
  expect(one.changes).toEqual([false]);
  board.isRefusing = false;
  await hub.subscribe(two);
  expect([one.changes, two.changes]).toEqual([[false, true], []]);
});

test("where nothing is delivered push is not tried again for a while", async () => {
  const { board, open, notify } = switchboard();
  board.isSilent = true;
  hub = createHub(open, notify, times);
  await expect(hub.subscribe(topicOf("a"))).rejects.toThrow("nothing is delivered");
  await expect(hub.subscribe(topicOf("a"))).rejects.toThrow("a short while ago");
  expect(board.opened).toBe(1);
});

test("the connection is closed a while after the last one left, and opened for the next", async () => {
  const { board, open, notify, ears } = switchboard();
  hub = createHub(open, notify, times);
  const topic = topicOf("a");
  await hub.subscribe(topic);
  hub.unsubscribe(topic);
  await until("it is closed", () => ears.size === 0);
  await hub.subscribe(topic);
  expect(board.opened).toBe(2);
  await hub.close();
  expect(ears.size).toBe(0);
  await expect(hub.subscribe(topic)).rejects.toThrow("closed");
});

test("a hub that is closed while it opens ends what it opened, and close does not wait for it", async () => {
  const { open, notify, ears } = switchboard();
  let go: () => void = () => {};
  const gate = new Promise<void>((resolve) => (go = resolve));
  hub = createHub(async (listeners) => gate.then(() => open(listeners)), notify, times);
  const subscribing = hub.subscribe(topicOf("a"));
  const rejected = expect(subscribing).rejects.toThrow("closed");
  await hub.close();
  go();
  await rejected;
  expect(ears.size).toBe(0);
});
