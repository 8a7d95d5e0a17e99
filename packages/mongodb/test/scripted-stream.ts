/** A database whose change streams are played by the test. */
import { setImmediate as turn } from "node:timers/promises";
import type { Fields, MongoChangeStream, MongoCursor, MongoDatabase } from "../src/index.ts";

interface Scripted {
  readonly stream: MongoChangeStream;
  /** The server has opened the cursor. */
  open(): void;
  change(documentId: string): void;
  fail(error: unknown): void;
  /** The driver has dropped its cursor and resumes by itself. */
  drop(): void;
  readonly isClosed: boolean;
}

function scripted(): Scripted {
  const listeners: { event: string; listener: () => void }[] = [];
  const answers: (() => unknown)[] = [];
  let wanted: { resolve: (value: unknown) => void; reject: (error: unknown) => void } | undefined;
  let isClosed = false;

  function settle(): void {
    const answer = wanted === undefined ? undefined : answers.shift();
    if (wanted === undefined || answer === undefined) return;
    const { resolve, reject } = wanted;
    wanted = undefined;
    try {
      resolve(answer());
    } catch (error) {
      reject(error);
    }
  }
  const emit = (name: string): void => {
    for (const { event, listener } of listeners) if (event === name) listener();
  };
  const fail = (error: unknown): void => {
    answers.push(() => {
      throw error;
    });
    settle();
  };
  return {
    stream: {
      on: (event, listener) => listeners.push({ event, listener }),
      next: () =>
        new Promise((resolve, reject) => {
          wanted = { resolve, reject };
          settle();
        }),
      async close() {
        if (isClosed) return;
        isClosed = true;
        emit("close");
        fail(new Error("ChangeStream is closed"));
      },
    },
    open: () => emit("resumeTokenChanged"),
    change(documentId) {
      answers.push(() => ({ operationType: "update", documentKey: { _id: documentId } }));
      settle();
    },
    fail,
    drop: () => emit("close"),
    get isClosed() {
      return isClosed;
    },
  };
}

const cursorOf = (documents: unknown[]): MongoCursor => ({ toArray: () => Promise.resolve(documents) });
const unused = (): never => {
  throw new Error("not part of this test");
};

export interface ScriptedDatabase {
  readonly db: MongoDatabase;
  /** The streams that were opened, in order, with their pipelines. */
  readonly streams: Scripted[];
  readonly pipelines: Fields[][];
  /** Resolves with the stream number `count`, once it has been opened. */
  opened(count: number): Promise<Scripted>;
}

export interface ScriptedOptions {
  readonly hello?: Fields;
  readonly collectionInfo?: Fields | null;
}

export function scriptedDatabase(options: ScriptedOptions = {}): ScriptedDatabase {
  const streams: Scripted[] = [];
  const pipelines: Fields[][] = [];
  const hello = { maxWireVersion: 21, setName: "rs0", ...options.hello };
  const info =
    options.collectionInfo === undefined ? { type: "collection", options: {} } : options.collectionInfo;
  return {
    streams,
    pipelines,
    db: {
      databaseName: "scripted",
      command: () => Promise.resolve(hello),
      listCollections: () => cursorOf(info === null ? [] : [info]),
      collection: () => ({
        watch(pipeline) {
          const made = scripted();
          streams.push(made);
          pipelines.push(pipeline);
          return made.stream;
        },
        findOneAndUpdate: unused,
        bulkWrite: unused,
        findOne: unused,
        find: unused,
        aggregate: unused,
        createIndex: unused,
        listIndexes: unused,
      }),
    },
    async opened(count) {
      for (;;) {
        const stream = streams[count - 1];
        if (stream !== undefined) {
          await turn();
          return stream;
        }
        await turn();
      }
    },
  };
}
