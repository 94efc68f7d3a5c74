import type { Action } from './actions.js';

/** A platform's actions; `error` when the upstream has not told them yet, and then there are none. */
export type KnownActions = Readonly<{ actions: readonly Action[]; error?: unknown }>;

/** The actions of every platform, cached. */
export type ActionDirectory = {
  /** Whether actions of the platform are in memory. */
  has(platform: string): boolean;
  /** What is known, at once where anything is; renewed behind the scenes when its time is over. Never rejects. */
  read(platform: string): KnownActions | Promise<KnownActions>;
  /** Asks again where the last attempt failed, and rejects when this one fails too. */
  require(platform: string): Promise<KnownActions>;
};

type Entry = { known?: KnownActions; loading?: Promise<void> | undefined; renewAt: number };

const retryMs = 5_000;
const maxPlatforms = 1_000;

/**
 * Caches what `load` gives for `ttlMs`; past that it is still used while one refresh runs for all callers. `onError` is told
 * of every failed load, because `read` goes on without it. A platform without actions may not exist: such platforms, and
 * those that are asked for the first time, never take the place of one that has some.
 */
export function createActionDirectory(
  load: (platform: string) => Promise<Action[]>, ttlMs: number, onError: (error: unknown, platform: string) => void, now: () => number = Date.now,
): ActionDirectory {
  const withActions = new Recent<Entry>(maxPlatforms);
  const others = new Recent<Entry>(maxPlatforms);

  const entryOf = (platform: string): Entry => {
    const found = withActions.get(platform) ?? others.get(platform);
    if (found) return found;
    const entry = { renewAt: 0 };
    others.set(platform, entry);
    return entry;
  };

  const renew = (platform: string, entry: Entry): Promise<void> => (entry.loading ??= load(platform)
    .then((actions) => {
      entry.known = { actions };
      entry.renewAt = now() + ttlMs;
      const [place, left] = actions.length > 0 ? [withActions, others] : [others, withActions];
      left.delete(platform);
      place.set(platform, entry);
    }, (error: unknown) => {
      onError(error, platform);
      if (!entry.known || entry.known.error) entry.known = { actions: [], error };
      entry.renewAt = now() + retryMs;
    })
    .finally(() => (entry.loading = undefined)));

  return {
    has: (platform) => withActions.get(platform) !== undefined,
    read(platform) {
      const entry = entryOf(platform);
      if (!entry.known) return renew(platform, entry).then(() => entry.known!);
      if (now() >= entry.renewAt) void renew(platform, entry);
      return entry.known;
    },
    async require(platform) {
      const entry = entryOf(platform);
      if (!entry.known || entry.known.error) await renew(platform, entry);
      else if (now() >= entry.renewAt) void renew(platform, entry);
      if (entry.known!.error) throw entry.known!.error;
      return entry.known!;
    },
  };
}

/** A bounded map from which the entry goes that was not used for longest. */
class Recent<V> {
  readonly #entries = new Map<string, V>();
  #latest: string | undefined;

  constructor(private readonly max: number) {}

  get(key: string): V | undefined {
    const value = this.#entries.get(key);
    // Most calls ask for what the one before asked for.
    if (value !== undefined && key !== this.#latest) this.set(key, value);
    return value;
  }

  set(key: string, value: V): void {
    this.#entries.delete(key);
    if (this.#entries.size >= this.max) this.#entries.delete(this.#entries.keys().next().value!);
    this.#entries.set(key, value);
    this.#latest = key;
  }

  delete(key: string): void {
    this.#entries.delete(key);
    if (this.#latest === key) this.#latest = undefined;
  }
}
