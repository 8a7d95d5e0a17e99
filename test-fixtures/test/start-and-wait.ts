// Run by a test that kills it: starts a server, tells where, and never stops it.
import pg from "pg";
import { start } from "../src/index.ts";

const { url } = await start("postgres");
const client = new pg.Client(url);
await client.connect();
const { rows } = await client.query<{ folder: string }>("select current_setting('data_directory') as folder");
await client.end();
process.stdout.write(JSON.stringify({ url, folder: rows[0]?.folder }));
setInterval(() => {}, 60_000);
