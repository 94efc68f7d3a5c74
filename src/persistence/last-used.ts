import { Prisma, type PrismaClient } from './database.js';

/** Notes when rows were last used, and writes it in batches: at most once a minute per row. */
export type LastUsed = {
  touch(table: 'api_keys' | 'user_connections', id: string): void;
  /** Writes what is pending. A failure is kept for the next batch. */
  flush(): Promise<void>;
  /** Stops the timer and writes what is pending. */
  close(): Promise<void>;
};

const everyMs = 60_000;
const maxRemembered = 100_000;

/** @param batchMs time between batches @param failed told when a batch could not be written */
export function createLastUsed(prisma: PrismaClient, failed: (error: unknown) => void, batchMs = 2_000, now: () => number = Date.now): LastUsed {
  const tables = { api_keys: new Map<string, number>(), user_connections: new Map<string, number>() };
  const pending = { api_keys: new Set<string>(), user_connections: new Set<string>() };
  let writing: Promise<void> = Promise.resolve();

  const write = async (table: keyof typeof tables): Promise<void> => {
    const ids = [...pending[table]];
    if (ids.length === 0) return;
    pending[table].clear();
    const times = ids.map((id) => new Date(tables[table].get(id) ?? now()).toISOString());
    try {
      // Another replica may have written within the minute; a row that is gone matches nothing.
      await prisma.$executeRaw`UPDATE ${Prisma.raw(`"${table}"`)} AS row SET last_used_at = used.at
        FROM unnest(${ids}::uuid[], ${times}::timestamptz[]) AS used(id, at)
        WHERE row.id = used.id AND (row.last_used_at IS NULL OR row.last_used_at <= used.at - interval '60 seconds')`;
    } catch (error) {
      for (const id of ids) pending[table].add(id);
      failed(error);
    }
  };
  const flush = (): Promise<void> => (writing = writing.then(() => write('api_keys')).then(() => write('user_connections')));
  const timer = setInterval(() => void flush(), batchMs);
  timer.unref();

  return {
    touch(table, id) {
      const noted = tables[table];
      const last = noted.get(id);
      const at = now();
      if (last !== undefined && at - last < everyMs) return;
      if (noted.size >= maxRemembered) noted.clear();
      noted.set(id, at);
      pending[table].add(id);
    },
    flush,
    async close() {
      clearInterval(timer);
      await flush();
    },
  };
}
