/** Texts of object bodies by object and generation; a generation never changes its body. */
export interface BodyCache {
  get(id: string): string | undefined;
  set(id: string, text: string): void;
}

/** Keeps the latest texts, up to `maxLength` UTF-16 units together. */
export function createBodyCache(maxLength: number): BodyCache {
  const texts = new Map<string, string>();
  let length = 0;
  const remove = (id: string): void => {
    length -= texts.get(id)?.length ?? 0;
    texts.delete(id);
  };
  return {
    get: (id) => texts.get(id),
    set(id, text) {
      remove(id);
      texts.set(id, text);
      length += text.length;
      for (const oldest of texts.keys()) {
        if (length <= maxLength) return;
        remove(oldest);
      }
    },
  };
}
