import type { SqlMigrationAwareDriverAdapterFactory } from '@prisma/driver-adapter-utils';
import type { PrismaClient } from './generated/client.js';
import { openEmbedded } from './embedded.js';
import type { HeldLock, LockWait } from './locks.js';
import type { Invalidations } from './invalidations.js';
import { openPostgres } from './postgres.js';

export { Prisma } from './generated/client.js';
export type { PrismaClient } from './generated/client.js';

/** The open database: Postgres, or PGlite embedded in this process. Whoever opens it closes it. */
export type Database = {
  engine: 'postgres' | 'embedded';
  facts: DatabaseFacts;
  prisma: PrismaClient;
  /** For the migration engine (migrate.ts), which opens and closes connections of its own. */
  adapter: SqlMigrationAwareDriverAdapterFactory;
  /** News of changes, for caches; ended by `close`. */
  invalidations: Invalidations;
  /** Runs `work` while holding a lock that all replicas share; embedded, the process itself is the lock. */
  exclusively<T>(lock: number, work: () => Promise<T>, wait?: LockWait): Promise<T>;
  /** Takes a lock that all replicas share and that its holder's death frees; undefined when another one has it. */
  tryLock(lock: number): Promise<HeldLock | undefined>;
  /** Makes the schema that `?schema=` names, if it is not there. */
  createSchema(): Promise<void>;
  /** Resolves when the database answers and takes writes, rejects otherwise. */
  ping(): Promise<void>;
  close(): Promise<void>;
};

/** What was found when the database was opened, for the log. */
export type DatabaseFacts = { version: string; zone: string; encoding: string; schema: string; pooler: 'none' | 'session' | 'transaction' };

/**
 * Where the data lives: a Postgres URL (with the URL of the server itself when that one leads to a transaction pooler), or
 * else the embedded database's directory (undefined: in memory).
 */
export type DatabaseOptions = { url: string | undefined; directUrl?: string | undefined; poolSize: number; dataDir: string | undefined };

/**
 * Opens the database. Rejects with one plain line when it cannot be used: Postgres does not answer or is not fit for us
 * (encoding, schema, a transaction pooler), or another process has the embedded directory.
 */
export function openDatabase({ url, directUrl, poolSize, dataDir }: DatabaseOptions): Promise<Database> {
  return url ? openPostgres({ url, directUrl, poolSize }) : openEmbedded(dataDir);
}

/** The time by the database's clock, the one that all replicas share. */
export async function databaseNow(prisma: Pick<PrismaClient, '$queryRaw'>): Promise<Date> {
  const [row] = await prisma.$queryRaw<[{ now: Date }]>`SELECT clock_timestamp() AS now`;
  return row.now;
}
