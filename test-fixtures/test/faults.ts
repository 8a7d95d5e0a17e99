import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Kinds, type Server, start, whyMissing } from "../src/index.ts";

/** How a test talks to one kind of server, on a connection of its own each time. */
export interface Talk {
  write(url: string, value: string): Promise<unknown>;
  read(url: string): Promise<string | undefined>;
}

/** Every kind of server, from every provider, must take the same faults. */
export async function describeFaults<K extends keyof Kinds>(
  kind: K,
  options: Kinds[K],
  talk: Talk,
  more: (server: () => Server) => void = () => {},
): Promise<void> {
  const missing = await whyMissing(kind, options);
  describe.skipIf(missing)(`${kind} ${JSON.stringify(options)}${missing ? `: ${missing}` : ""}`, () => {
    let server: Server;
    const faults = (): NonNullable<Server["faults"]> => {
      if (server.faults === undefined) throw new Error("a server from the environment takes no faults");
      return server.faults;
    };

    beforeAll(async () => {
      server = await start(kind, options);
    }, 120_000);
    afterAll(() => server.stop(), 30_000);

    more(() => server);

    test("answers nobody while paused, and everybody afterwards", { timeout: 30_000 }, async () => {
      await talk.write(server.url, "before");
      await faults().pause();
      const reading = talk.read(server.url);
      expect(await Promise.race([reading, sleep(300, "silent")])).toBe("silent");
      await faults().resume();
      expect(await reading).toBe("before");
    });

    test(
      "keeps address and data over kill -9 and restart, also when paused",
      { timeout: 60_000 },
      async () => {
        await talk.write(server.url, "kept");
        await faults().pause();
        await faults().kill();
        await expect(talk.read(server.url)).rejects.toBeInstanceOf(Error);
        await faults().restart();
        expect(await talk.read(server.url)).toBe("kept");
        await talk.write(server.url, "again");
        await faults().restart();
        expect(await talk.read(server.url)).toBe("again");
      },
    );

    test("may be stopped twice, and is gone then", { timeout: 30_000 }, async () => {
      await server.stop();
      await server.stop();
      await expect(talk.read(server.url)).rejects.toBeInstanceOf(Error);
    });
  });
}
