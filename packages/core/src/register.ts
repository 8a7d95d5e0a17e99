/** What is under way, and a way to wait until nothing is. */
export interface Register<T> extends Iterable<T> {
  readonly size: number;
  add(item: T): void;
  delete(item: T): void;
  /** Resolves when nothing is left, at once if nothing is there. */
  emptied(): Promise<void>;
}

export function createRegister<T>(): Register<T> {
  const items = new Set<T>();
  let resolvers: (() => void)[] = [];
  return {
    get size() {
      return items.size;
    },
    add: (item) => void items.add(item),
    delete(item) {
      if (!items.delete(item) || items.size > 0) return;
      for (const resolve of resolvers) resolve();
      resolvers = [];
    },
    emptied: () =>
      items.size === 0 ? Promise.resolve() : new Promise((resolve) => void resolvers.push(resolve)),
    [Symbol.iterator]: () => items.values(),
  };
}
