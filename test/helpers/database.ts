import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createHash, randomBytes } from 'node:crypto';
import { PGlite } from '@electric-sql/pglite';
import pg from 'pg';
import type { Test } from 'tap';
import { type Database, openDatabase } from '../../src/persistence/database.js';
import { embeddedDatabase } from '../../src/persistence/embedded.js';
import { applyMigrations } from '../../src/persistence/migrate.js';

/** Postgres to test on; unset: PGlite. `.ci/run` runs the suite both ways. */
export const postgresUrl = process.env['TEST_DATABASE_URL'];

/** A migrated database of the test's own, empty, closed and gone when the test ends. */
export async function openTestDatabase(t: Test): Promise<Database> {
  const database = postgresUrl ? await openDatabase({ url: await createPostgresDatabase(t), poolSize: 5, dataDir: undefined }) : await openMemoryDatabase();
  t.teardown(() => database.close());
  if (postgresUrl) await applyMigrations(database);
  return database;
}

/** The URL of a new, empty Postgres database, dropped when the test ends. Needs {@link postgresUrl}. */
export async function createPostgresDatabase(t: Test): Promise<string> {
  const name = `authkit_test_${randomBytes(8).toString('hex')}`;
  await administer(`CREATE DATABASE ${name}`);
  t.teardown(() => administer(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
  const url = new URL(postgresUrl!);
  url.pathname = `/${name}`;
  return url.href;
}

async function administer(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: postgresUrl });
  await client.connect();
  await client.query(sql);
  await client.end();
}

// Making an empty PGlite and migrating it takes seconds; loading a dump of the result takes a fraction of one.
async function openMemoryDatabase(): Promise<Database> {
  const dump = `node_modules/.cache/authkit-gateway/pglite-${await migrationsHash()}.tar`;
  if (!existsSync(dump)) {
    const pglite = await PGlite.create();
    const database = embeddedDatabase(pglite);
    await applyMigrations(database);
    const file = await pglite.dumpDataDir('none');
    await mkdir('node_modules/.cache/authkit-gateway', { recursive: true });
    const partial = `${dump}.${process.pid}`;
    await writeFile(partial, Buffer.from(await file.arrayBuffer()));
    // Test files run in processes of their own: whoever finishes first wins, nobody reads half a file.
    await rename(partial, dump);
    await database.close();
  }
  return embeddedDatabase(await PGlite.create({ loadDataDir: new Blob([await readFile(dump)]) }));
}

async function migrationsHash(): Promise<string> {
  const hash = createHash('sha256');
  for (const name of (await readdir('prisma/migrations', { recursive: true })).filter((file) => file.endsWith('.sql')).sort()) {
    hash.update(await readFile(`prisma/migrations/${name}`));
  }
  return hash.digest('hex').slice(0, 16);
}
