import type { Backend } from "@coord/core";

/** The backend with some calls replaced; its own methods keep their `this`. */
export function through(backend: Backend, change: Partial<Backend>): Backend {
  const watch = backend.watch?.bind(backend);
  return {
    info: backend.info,
    acquire: (request, options) => backend.acquire(request, options),
    renew: (requests, options) => backend.renew(requests, options),
    release: (request, options) => backend.release(request, options),
    inspect: (name, options) => backend.inspect(name, options),
    overrule: (request, options) => backend.overrule(request, options),
    list: (request, options) => backend.list(request, options),
    prune: (request, options) => backend.prune(request, options),
    setup: (options) => backend.setup(options),
    diagnose: (options) => backend.diagnose(options),
    close: async () => {},
    ...(watch && { watch }),
    ...change,
  };
}

/** The calls that wait for their answer: when each was sent, by `performance.now()`. */
export type Traffic = Set<{ readonly sentMs: number }>;

/**
 * The backend, whose calls are counted. A store in this process may answer without ever leaving the queue of
 * microtasks: each call lets timers run first, as a network would, else cases that share a process stop each
 * other's clocks.
 */
export function counted(backend: Backend, traffic: Traffic): Backend {
  async function count<T>(call: () => Promise<T>): Promise<T> {
    const sent = { sentMs: performance.now() };
    traffic.add(sent);
    try {
      await new Promise(setImmediate);
      return await call();
    } finally {
      traffic.delete(sent);
    }
  }
  return through(backend, {
    acquire: (request, options) => count(() => backend.acquire(request, options)),
    renew: (requests, options) => count(() => backend.renew(requests, options)),
    release: (request, options) => count(() => backend.release(request, options)),
    inspect: (name, options) => count(() => backend.inspect(name, options)),
    overrule: (request, options) => count(() => backend.overrule(request, options)),
    list: (request, options) => count(() => backend.list(request, options)),
    close: () => backend.close(),
  });
}
