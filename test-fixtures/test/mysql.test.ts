import { createConnection, type RowDataPacket } from "mysql2/promise";
import { expect, test } from "vitest";
import { describeFaults } from "./faults.ts";

async function query(url: string, text: string, values: string[] = []): Promise<RowDataPacket[]> {
  const connection = await createConnection({ uri: url, connectTimeout: 20_000 });
  connection.on("error", () => {});
  try {
    const [rows] = await connection.query<RowDataPacket[]>(text, values);
    return rows;
  } finally {
    connection.destroy();
  }
}

const talk = {
  write: async (url: string, value: string) => {
    await query(url, "create table if not exists kept (id int primary key, value text)");
    await query(url, "replace into kept values (1, ?)", [value]);
  },
  read: async (url: string): Promise<string> => (await query(url, "select value from kept"))[0]?.["value"],
};

for (const flavor of ["mysql", "mariadb"] as const) {
  await describeFaults("mysql", { flavor, settings: { "innodb-lock-wait-timeout": "7" } }, talk, (server) => {
    test("has the settings that were asked for and may create accounts", async () => {
      const [row] = await query(server().url, "select @@innodb_lock_wait_timeout as seconds");
      expect(row?.["seconds"]).toBe(7);
      await query(server().url, "create user if not exists visitor@'%' identified by 'secret'");
      await query(server().url, "grant select on coord.* to visitor@'%'");
      const visitor = new URL(server().url);
      visitor.username = "visitor";
      visitor.password = "secret";
      expect((await query(visitor.href, "select current_user() as me"))[0]?.["me"]).toBe("visitor@%");
    });
  });
}
