import pg from 'pg';
import { PrismaPg } from '@prisma/adapter-pg';
import type { SqlMigrationAwareDriverAdapterFactory } from '@prisma/driver-adapter-utils';
import { PrismaClient } from './generated/client.js';
import { openEmbedded } from './embedded.js';
import { type HeldLock, tryAdvisoryLock } from './locks.js';
import type { Invalidations } from './invalidations.js';
import { postgresInvalidations } from './postgres-invalidations.js';
import { Session } from './session.js';

export { Prisma } from './generated/client.js';
export type { PrismaClient } from './generated/client.js';

/** The open database: Postgres, or PGlite embedded in this process. Whoever opens it closes it. */
export type Database = {
  engine: 'postgres' | 'embedded';
  prisma: PrismaClient;
  /** For the migration engine (migrate.ts), which opens and closes connections of its own. */
  adapter: SqlMigrationAwareDriverAdapterFactory;
  /** News of changes, for caches; ended by `close`. */
  invalidations: Invalidations;
  /** Runs `work` while holding a lock that all replicas share; embedded, the process itself is the lock. */
  exclusively<T>(lock: number, work: () => Promise<T>): Promise<T>;
  /** Takes a lock that all replicas share and that its holder's death frees; undefined when another one has it. */
  tryLock(lock: number): Promise<HeldLock | undefined>;
  /** Resolves when the database answers, rejects otherwise. */
  ping(): Promise<void>;
  close(): Promise<void>;
};

/** Where the data lives: a Postgres URL, or else the embedded database's directory (undefined: in memory). */
export type DatabaseOptions = { url: string | undefined; poolSize: number; dataDir: string | undefined };

/** Opens the database. Rejects when the embedded directory is in use by another process; Postgres is dialled lazily. */
export function openDatabase(options: DatabaseOptions): Promise<Database> {
  return options.url ? openPostgres(options.url, options.poolSize) : openEmbedded(options.dataDir);
}

/** The time by the database's clock, the one that all replicas share. */
export async function databaseNow(prisma: Pick<PrismaClient, '$queryRaw'>): Promise<Date> {
  const [row] = await prisma.$queryRaw<[{ now: Date }]>`SELECT clock_timestamp() AS now`;
  return row.now;
}

async function openPostgres(url: string, poolSize: number): Promise<Database> {
  const pool = new pg.Pool({
    Client: Session, connectionString: url, max: poolSize, connectionTimeoutMillis: 5_000, application_name: 'authkit-gateway',
    // A table somebody else locks must not take every connection of the pool with it.
    statement_timeout: 10_000,
  });
  // An idle connection that the server drops must not end the process; the next query dials again.
  pool.on('error', () => {});
  const prisma = new PrismaClient({
    adapter: new PrismaPg(pool, { statementNameGenerator: ({ sql }) => statementName(sql) }),
    // Its longer forms quote the request's data into messages, and so into the log.
    errorFormat: 'minimal',
  });
  const invalidations = postgresInvalidations(url, pool);
  return {
    engine: 'postgres',
    prisma,
    adapter: new PrismaPg({ Client: Session, connectionString: url, connectionTimeoutMillis: 5_000, application_name: 'authkit-gateway migrations' }),
    invalidations,
    exclusively: (lock, work) => withAdvisoryLock(url, lock, work),
    tryLock: (lock) => tryAdvisoryLock(url, lock),
    ping: async () => void (await pool.query('SELECT 1')),
    close: async () => {
      await invalidations.close();
      await prisma.$disconnect();
      await pool.end();
    },
  };
}

const statementNames = new Map<string, string>();

function statementName(sql: string): string {
  const known = statementNames.get(sql);
  if (known) return known;
  // Prisma's SQL has few shapes, but lists of varying length make more: past this many, statements are not kept.
  if (statementNames.size >= 500) return '';
  const name = `p${crypto.randomUUID().replaceAll('-', '')}`;
  statementNames.set(sql, name);
  return name;
}

async function withAdvisoryLock<T>(url: string, lock: number, work: () => Promise<T>): Promise<T> {
  // A session of its own: a pooled connection could be handed to somebody else while it still holds the lock.
  const client = new Session({ connectionString: url, application_name: 'authkit-gateway lock' });
  await client.connect();
  try {
    await client.query('SELECT pg_advisory_lock($1)', [lock]);
    return await work();
  } finally {
    await client.end();
  }
}
