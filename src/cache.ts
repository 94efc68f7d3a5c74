/** How well a cache does, for metrics. */
export type CacheCounts = { hits: number; misses: number };

/** A bounded cache in front of a slow look-up. */
export type Cache<K, V> = {
  /** The cached value, or a promise of it: callers that ask for the same key meanwhile share one look-up. */
  get(key: string, argument: K): V | Promise<V>;
  /** What `get` would give at once, or undefined; looks nothing up that a caller would have to wait for. */
  held(key: string, argument: K): V | undefined;
  /** Forgets what `matches`, or everything, and keeps no look-up that is running: it may have read what is no longer true. */
  forget(matches?: (value: V, key: string) => boolean): void;
  counts: CacheCounts;
};

/** How a cache loads, and what it keeps for how long (milliseconds). */
export type CacheOptions<K, V> = {
  load(argument: K): Promise<V>;
  /** Whether a value may be kept; what was not found is not, so that strangers cannot fill the cache. */
  keep(value: V): boolean;
  maxEntries: number;
  /** No value older than this is given. */
  maxAgeMs: number;
  now?: () => number;
};

type Entry<V> = { value: V; loadedAt: number };

/**
 * Values are renewed in the background once half their time has passed, so that a warm key never waits; past their time
 * they are looked up again first. The least recently loaded entry makes room for a new one.
 */
export function createCache<K, V>({ load, keep, maxEntries, maxAgeMs, now = Date.now }: CacheOptions<K, V>): Cache<K, V> {
  const entries = new Map<string, Entry<V>>();
  let loading = new Map<string, Promise<V>>();
  const counts: CacheCounts = { hits: 0, misses: 0 };

  const renew = (key: string, argument: K): Promise<V> => {
    const running = loading.get(key);
    if (running) return running;
    const loads = loading;
    const started = now();
    const promise = load(argument).then((value) => {
      // Another map in its place: something was forgotten meanwhile.
      if (loads === loading) store(key, value, started);
      return value;
    }).finally(() => loads.delete(key));
    loads.set(key, promise);
    return promise;
  };

  const store = (key: string, value: V, loadedAt: number): void => {
    entries.delete(key);
    if (!keep(value)) return;
    if (entries.size >= maxEntries) entries.delete(entries.keys().next().value!);
    entries.set(key, { value, loadedAt });
  };

  const young = (key: string, argument: K): Entry<V> | undefined => {
    const entry = entries.get(key);
    if (!entry) return undefined;
    const age = now() - entry.loadedAt;
    if (age >= maxAgeMs) return undefined;
    counts.hits += 1;
    // A failure shows when the entry's time is over and a caller waits for the look-up itself.
    if (age >= maxAgeMs / 2) renew(key, argument).catch(() => {});
    return entry;
  };

  return {
    counts,
    get(key, argument) {
      const entry = young(key, argument);
      if (entry) return entry.value;
      counts.misses += 1;
      return renew(key, argument);
    },
    held: (key, argument) => young(key, argument)?.value,
    forget(matches) {
      loading = new Map();
      if (!matches) return entries.clear();
      for (const [key, { value }] of entries) if (matches(value, key)) entries.delete(key);
    },
  };
}
