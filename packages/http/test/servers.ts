/** The frameworks that people serve HTTP with, each with one route behind the wrapper and an error handler of its own. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { getRequestListener } from "@hono/node-server";
import { createServerAdapter } from "@whatwg-node/server";
import express from "express";
import Fastify from "fastify";
import { Hono } from "hono";

/** A handler that `idempotent` made. */
export type Wrapped = (request: Request) => Promise<Response>;

export interface Serving {
  readonly url: string;
  close(): Promise<void>;
}

const portOf = (address: AddressInfo | string | null): number =>
  typeof address === "object" && address !== null ? address.port : 0;

function listen(server: Server): Promise<Serving> {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const close = (): Promise<void> =>
        new Promise((closed) => {
          server.close(() => closed());
          server.closeAllConnections();
        });
      resolve({ url: `http://127.0.0.1:${portOf(server.address())}`, close });
    });
  });
}

export const servers = {
  /** Before `express.json()`, which would read the body. */
  express: (charge: Wrapped): Promise<Serving> => {
    const app = express();
    const adapter = createServerAdapter(charge);
    app.post("/charges", adapter);
    app.use(express.json());
    app.post("/echo", (request, response) => void response.json(request.body));
    return listen(createServer(app));
  },

  /** Within a scope whose parser leaves bodies alone, and with `Response` as Fastify takes it. */
  fastify: async (charge: Wrapped): Promise<Serving> => {
    const app = Fastify();
    await app.register(async (scope) => {
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser("*", (_, payload, done) => done(null, payload));
      scope.post("/charges", async (request, reply) => {
        const gone = new AbortController();
        reply.raw.once("close", () => gone.abort());
        const { body, method, headers } = request;
        const fields = Object.entries(headers).flatMap(([name, value]): [string, string][] =>
          typeof value === "string" ? [[name, value]] : (value ?? []).map((each) => [name, each]),
        );
        const init = { method, headers: fields, signal: gone.signal, duplex: "half" } as const;
        const url = `http://${request.host}${request.url}`;
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- Node's streams are the web's
        const stream = body instanceof Readable ? (Readable.toWeb(body) as ReadableStream) : null;
        return charge(new Request(url, { ...init, body: stream }));
      });
    });
    app.post("/echo", (request, reply) => reply.send(request.body));
    await app.listen({ port: 0, host: "127.0.0.1" });
    return { url: `http://127.0.0.1:${portOf(app.server.address())}`, close: () => app.close() };
  },

  hono: (charge: Wrapped): Promise<Serving> => {
    const app = new Hono();
    app.post("/charges", (context) => charge(context.req.raw));
    app.post("/echo", async (context) => context.json(await context.req.json()));
    const listener = getRequestListener(app.fetch);
    return listen(createServer((request, response) => void listener(request, response)));
  },

  /** Without a framework, by the adapter of Hono. */
  node: (charge: Wrapped): Promise<Serving> => {
    const listener = getRequestListener(async (request) =>
      new URL(request.url).pathname === "/echo" ? new Response(await request.text()) : charge(request),
    );
    return listen(createServer((request, response) => void listener(request, response)));
  },
};
