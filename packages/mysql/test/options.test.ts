import { createPool as createCallbackPool } from "mysql2";
import { createPool } from "mysql2/promise";
import { expect, test } from "vitest";
import { mysqlBackend, schemaSql } from "../src/index.ts";
import { acquireRequest, call } from "./harness.ts";

const invalid = (make: () => unknown, message: RegExp): void => {
  expect(make).toThrow(expect.objectContaining({ code: "COORD_INVALID_ARGUMENT" }));
  expect(make).toThrow(message);
};

test("the factory wants a client or a URL, and says what it got", () => {
  invalid(() => mysqlBackend({}), /neither/);
  invalid(
    () => mysqlBackend({ client: createPool("mysql://127.0.0.1:1/coord"), url: "mysql://h/d" }),
    /both/,
  );
});

test("a URL must be one of MySQL or MariaDB with a database; its password is never shown", () => {
  invalid(() => mysqlBackend({ url: "postgres://u:hunter2@host/db" }), /postgres:/);
  invalid(() => mysqlBackend({ url: "mysql://u:hunter2@host" }), /database/);
  invalid(() => mysqlBackend({ url: "nonsense hunter2" }), /mysql:\/\//);
  for (const url of ["postgres://u:hunter2@host/db", "mysql://u:hunter2@host", "nonsense hunter2"]) {
    expect(() => mysqlBackend({ url })).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining("hunter2") }),
    );
  }
});

test("other options are checked before any I/O", () => {
  const url = "mariadb://127.0.0.1:1/coord";
  invalid(() => mysqlBackend({ url, tablePrefix: "a`b" }), /tablePrefix/);
  invalid(() => schemaSql({ tablePrefix: "" }), /tablePrefix/);
  for (const maxConnections of [1, 0, 2.5, NaN, 1001])
    invalid(() => mysqlBackend({ url, wake: { maxConnections } }), /maxConnections/);
  expect(mysqlBackend({ url, wake: false }).watch).toBeUndefined();
  expect(schemaSql({ tablePrefix: "mine" })).toContain("`mine_lease`");
});

test("what the store would cut is refused", async () => {
  const backend = mysqlBackend({ url: "mysql://127.0.0.1:1/coord" });
  const name = { namespace: "n", key: "k" };
  const refused = [
    acquireRequest({ namespace: "n", key: "k".repeat(641) }),
    acquireRequest({ namespace: "n".repeat(65), key: "k" }),
    acquireRequest(name, { holder: "h".repeat(256) }),
    acquireRequest(name, { grantId: "g".repeat(65) }),
    acquireRequest(name, { payload: "p".repeat(327_681) }),
  ];
  for (const request of refused) {
    await expect(backend.acquire(request, call())).rejects.toMatchObject({
      code: "COORD_INVALID_ARGUMENT",
    });
  }
  await backend.close();
});

test("both kinds of pool of mysql2 are clients by their types", () => {
  const callbacks = createCallbackPool("mysql://127.0.0.1:1/coord");
  expect(mysqlBackend({ client: callbacks }).info.name).toBe("mysql");
  expect(mysqlBackend({ client: createPool("mysql://127.0.0.1:1/coord") }).info.name).toBe("mysql");
});
