import { access, constants, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import { PrismaPGlite } from 'pglite-prisma-adapter';
import lockfile from 'proper-lockfile';
import type { Database } from './database.js';
import { PrismaClient } from './generated/client.js';
import { createProcessLocks } from './locks.js';
import { localInvalidations } from './invalidations.js';

/**
 * Opens PGlite in `dataDir` (undefined: in memory). Two processes on one directory would corrupt it, so it is locked:
 * rejects with a plain sentence when another process holds it, or it cannot be written.
 */
export async function openEmbedded(dataDir: string | undefined): Promise<Database> {
  const unlock = dataDir ? await lock(dataDir) : async () => {};
  const pglite = await PGlite.create(dataDir ? join(dataDir, 'pglite') : 'memory://');
  // As every session on Postgres: see session.ts.
  await pglite.exec("SET TimeZone TO 'UTC'; SET DateStyle TO 'ISO'");
  const { rows: [row] } = await pglite.query<{ version: string }>("SELECT current_setting('server_version') AS version");
  return embeddedDatabase(pglite, unlock, row?.version);
}

/** Wraps an open PGlite; `unlock` runs after it is closed. */
export function embeddedDatabase(pglite: PGlite, unlock: () => Promise<void> = async () => {}, version = 'unknown'): Database {
  const adapter = migrationSafe(new PrismaPGlite(pglite), pglite);
  const prisma = new PrismaClient({ adapter, errorFormat: 'minimal' });
  return {
    engine: 'embedded',
    facts: { version: `PGlite ${version}`, zone: 'UTC', encoding: 'UTF8', schema: 'public', pooler: 'none' },
    prisma,
    adapter,
    invalidations: localInvalidations(),
    exclusively: (_lock, work) => work(),
    tryLock: createProcessLocks(),
    createSchema: async () => {},
    ping: async () => void (await pglite.query('SELECT 1')),
    close: async () => {
      await prisma.$disconnect();
      await pglite.close();
      await unlock();
    },
  };
}

/**
 * The adapter fires migration scripts without waiting for them, so that a failing one would count as applied and end the
 * process later: wait, and report.
 */
function migrationSafe(factory: PrismaPGlite, pglite: PGlite): PrismaPGlite {
  const connect = factory.connect.bind(factory);
  factory.connect = async () => {
    const adapter = await connect();
    adapter.executeScript = async (script) => void (await pglite.exec(script));
    return adapter;
  };
  return factory;
}

async function lock(dataDir: string): Promise<() => Promise<void>> {
  try {
    await mkdir(dataDir, { recursive: true });
    // Otherwise taking the lock would fail, and be tried again for as long as a lock that is held.
    await access(dataDir, constants.W_OK);
  } catch (cause) {
    throw new Error(`DATA_DIR (${dataDir}) cannot be written: ${(cause as Error).message}`, { cause });
  }
  try {
    // A process that was killed leaves its lock behind for `stale`: wait that long before calling it taken.
    return await lockfile.lock(dataDir, { lockfilePath: join(dataDir, '.lock'), stale: 15_000, update: 3_000, retries: { retries: 16, minTimeout: 1_000, maxTimeout: 1_000 } });
  } catch (cause) {
    if ((cause as { code?: string }).code !== 'ELOCKED') throw cause;
    throw new Error(`The embedded database in DATA_DIR (${dataDir}) is in use by another process; stop it, or set DATABASE_URL.`, { cause });
  }
}
