import { type Identity, identityName } from '../auth/identity.js';
import { type Cache, createCache } from '../cache.js';
import type { Invalidations } from '../persistence/invalidations.js';
import type { ConnectionService } from './service.js';
import type { Connection, ConnectionStore } from './store.js';

const topic = 'connections';

/** A ConnectionStore that tells every replica of each change. */
export function announceChanges(store: ConnectionStore, invalidations: Invalidations): ConnectionStore {
  // The change is made whether or not the news gets through: then others learn it when their entries' time is over.
  const tell = (id: string, owner?: Identity | Connection): Promise<void> =>
    invalidations.publish(topic, owner ? `${id} ${identityName(owner)}` : id).catch(() => {});
  return {
    ...store,
    async create(connection) {
      const created = await store.create(connection);
      if (created) await tell(created.id, created);
      return created;
    },
    async update(id, owner, change, key) {
      const updated = await store.update(id, owner, change, key);
      if (updated) await tell(id, updated);
      return updated;
    },
    async createAll(connections) {
      const created = await store.createAll(connections);
      // What is new is in no cache by its id: each owner needs to be told once.
      const owners = new Map(created.map((row) => [identityName(row), row]));
      for (const row of owners.values()) await tell(row.id, row);
      return created;
    },
    async takeStates(changes) {
      const changed = await store.takeStates(changes);
      for (const row of changed) await tell(row.id, row);
      return changed;
    },
    async replaceKey(current, owner, next, since) {
      const outcome = await store.replaceKey(current, owner, next, since);
      if (typeof outcome === 'object') await tell(current.id, outcome);
      return outcome;
    },
    async remove(id, key) {
      const removed = await store.remove(id, key);
      await tell(id);
      return removed;
    },
  };
}

/** Which connection a call uses; a promise of it unless it is cached. */
export type Choose = (platform: string, id: string | undefined, owner: Identity | undefined) => Connection | Promise<Connection>;

type Question = { platform: string; id: string | undefined; owner: Identity | undefined };

/**
 * ConnectionService.choose, answered from memory where it was asked before: at most 5 seconds old without news of the
 * connection or of its owner's others. Refusals are not kept.
 */
export function cacheChoices(choose: ConnectionService['choose'], invalidations: Invalidations): { choose: Choose; cache: Cache<Question, Connection> } {
  const cache = createCache<Question, Connection>({
    load: ({ platform, id, owner }) => choose(platform, id, owner), keep: () => true, maxEntries: 10_000, maxAgeMs: 5_000,
  });
  invalidations.subscribe(topic, (news) => {
    if (news === undefined) return cache.forget();
    const [id, owner] = splitOnce(news);
    cache.forget((connection, key) => connection.id === id || (owner !== undefined && key.endsWith(`\n${owner}`)));
  });
  return {
    cache,
    choose: (platform, id, owner) => cache.get(`${platform}\n${id ?? ''}\n${owner ? identityName(owner) : ''}`, { platform, id, owner }),
  };
}

function splitOnce(news: string): [string, string | undefined] {
  const space = news.indexOf(' ');
  return space < 0 ? [news, undefined] : [news.slice(0, space), news.slice(space + 1)];
}
