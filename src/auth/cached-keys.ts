import { type Cache, createCache } from '../cache.js';
import type { Invalidations } from '../persistence/invalidations.js';
import type { KeyStore, StoredKey } from './key-store.js';

const topic = 'api-keys';

/** A KeyStore that can also be asked without waiting. */
export type CachedKeys = KeyStore & {
  /** The key that `findByDigest` would give from memory. */
  held(digest: string): StoredKey | undefined;
};

/**
 * A KeyStore whose `findByDigest` answers warm keys from memory: at most 5 seconds old without news, and changed on every
 * replica as soon as the news of a revocation or rotation arrives.
 */
export function cacheKeys(store: KeyStore, invalidations: Invalidations): CachedKeys & { cache: Cache<string, StoredKey | undefined> } {
  const cache = createCache<string, StoredKey | undefined>({
    load: store.findByDigest, keep: (key) => key !== undefined, maxEntries: 10_000, maxAgeMs: 5_000,
  });
  invalidations.subscribe(topic, (id) => cache.forget(id === undefined ? undefined : (key) => key?.id === id));
  // The change is made whether or not the news gets through: then others learn it when their entries' time is over.
  const tell = (id: string): Promise<void> => invalidations.publish(topic, id).catch(() => cache.forget());
  return {
    ...store,
    cache,
    findByDigest: async (digest) => cache.get(digest, digest),
    held: (digest) => cache.held(digest, digest),
    async revoke(id, at) {
      const found = await store.revoke(id, at);
      await tell(id);
      return found;
    },
    async revokeWithDescendants(id, at) {
      const revoked = await store.revokeWithDescendants(id, at);
      for (const one of revoked) await tell(one);
      return revoked;
    },
    async rotate(id, now, expiresAt, next) {
      const created = await store.rotate(id, now, expiresAt, next);
      await tell(id);
      return created;
    },
  };
}
