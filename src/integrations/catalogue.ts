import { Problem } from '../errors.js';
import type { Connector } from '../upstream/connectors.js';

/** Connectors with the time, in milliseconds, at which the upstream gave them. */
export type Snapshot = { connectors: readonly Connector[]; fetchedAt: number };

/** The catalogue, cached. `read` answers from memory once it has been read; `stale` says the upstream failed to renew it. */
export type Catalogue = {
  read(authkit: boolean | undefined): Promise<Snapshot & { stale: boolean; ageSeconds: number }>;
};

type Entry = { snapshot?: Snapshot; loading?: Promise<Snapshot> | undefined; retryAt: number };

/**
 * Caches what `load` gives for `ttlMs`. Past that, the cached catalogue is still answered while one refresh runs for all
 * callers; when the refresh fails it goes on being answered, `onRefreshError` is told, and the next try waits a little.
 */
export function createCatalogue(
  load: (authkit: boolean | undefined) => Promise<Connector[]>, ttlMs: number, onRefreshError: (error: unknown) => void, now: () => number = Date.now,
): Catalogue {
  const entries = new Map<boolean | undefined, Entry>();
  const retryDelayMs = 5_000;

  const refresh = (entry: Entry, authkit: boolean | undefined): Promise<Snapshot> => {
    entry.loading ??= load(authkit)
      .then((connectors) => (entry.snapshot = { connectors, fetchedAt: now() }))
      .catch((error: unknown) => {
        entry.retryAt = now() + retryDelayMs;
        throw error;
      })
      .finally(() => (entry.loading = undefined));
    return entry.loading;
  };

  return {
    async read(authkit) {
      const entry = entries.get(authkit) ?? { retryAt: 0 };
      entries.set(authkit, entry);
      const snapshot = entry.snapshot ?? await refresh(entry, authkit);
      const age = now() - snapshot.fetchedAt;
      if (age > ttlMs && now() >= entry.retryAt && !entry.loading) refresh(entry, authkit).catch(onRefreshError);
      return { ...snapshot, stale: age > ttlMs, ageSeconds: Math.floor(age / 1000) };
    },
  };
}

/** The connector of a platform. 404 `integration_not_found`. */
export function connectorOf({ connectors }: Snapshot, platform: string): Connector {
  const connector = connectors.find((one) => one.platform === platform);
  if (!connector) throw new Problem('integration_not_found', 'The catalogue has no such platform.', { errors: [{ field: 'path.platform', message: 'is unknown' }] });
  return connector;
}
