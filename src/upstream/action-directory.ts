import type { Action } from './actions.js';

/** A platform's actions; `error` when the upstream has not told them yet, and then there are none. */
export type KnownActions = Readonly<{ actions: readonly Action[]; error?: unknown }>;

/** The actions of every platform, cached. */
export type ActionDirectory = {
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
 * of every failed load, because `read` goes on without it.
 */
export function createActionDirectory(
  load: (platform: string) => Promise<Action[]>, ttlMs: number, onError: (error: unknown, platform: string) => void, now: () => number = Date.now,
): ActionDirectory {
  const entries = new Map<string, Entry>();

  const entryOf = (platform: string): Entry => {
    const found = entries.get(platform);
    if (found) return found;
    if (entries.size >= maxPlatforms) entries.delete(entries.keys().next().value!);
    const entry = { renewAt: 0 };
    entries.set(platform, entry);
    return entry;
  };

  const renew = (platform: string, entry: Entry): Promise<void> => (entry.loading ??= load(platform)
    .then((actions) => {
      entry.known = { actions };
      entry.renewAt = now() + ttlMs;
    }, (error: unknown) => {
      onError(error, platform);
      if (!entry.known || entry.known.error) entry.known = { actions: [], error };
      entry.renewAt = now() + retryMs;
    })
    .finally(() => (entry.loading = undefined)));

  return {
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
