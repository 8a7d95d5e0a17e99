/** What the benchmark calls on redlock 4, which has no types of its own. */
declare module "redlock" {
  interface Lock {
    unlock(): PromiseLike<void>;
  }
  export default class Redlock {
    constructor(clients: readonly unknown[], options: { retryCount: number });
    lock(resource: string, ttlMs: number): PromiseLike<Lock>;
  }
}
