import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Database, openDatabase } from '../../src/persistence/database.js';
import { openEmbedded } from '../../src/persistence/embedded.js';
import { applyMigrations, pendingMigrations, schemaDifference } from '../../src/persistence/migrate.js';
import { createPostgresDatabase, postgresUrl } from '../helpers/database.js';

/** An empty database on the engine under test. */
async function openEmpty(t: Test): Promise<Database> {
  const database = postgresUrl ? await openDatabase({ url: await createPostgresDatabase(t), poolSize: 2, dataDir: undefined }) : await openEmbedded(undefined);
  t.teardown(() => database.close());
  return database;
}

/** A copy of the migrations with one more, which runs `sql`. */
async function withMigration(t: Test, sql: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'migrations-'));
  t.teardown(() => rm(directory, { recursive: true }));
  await cp('prisma/migrations', directory, { recursive: true });
  await mkdir(join(directory, '99990101000000_next'));
  await writeFile(join(directory, '99990101000000_next', 'migration.sql'), sql);
  return directory;
}

t.test('pending migrations are listed, applied once, and then there are none', async (t) => {
  const database = await openEmpty(t);
  const pending = await pendingMigrations(database);
  t.ok(pending.length > 0);
  t.same(await applyMigrations(database), pending);
  t.same(await applyMigrations(database), []);
  t.same(await pendingMigrations(database), []);
  t.equal(await database.prisma.userConnection.count(), 0);
});

t.test('schema.prisma and the migrations agree', async (t) => {
  // Where `npm run db:new` asks, too: the engine cannot read a schema back through the Postgres adapter.
  const database = await openEmbedded(undefined);
  t.teardown(() => database.close());
  await applyMigrations(database);
  t.equal(await schemaDifference(database), '');
});

t.test('a migration that fails rejects, and stays an error until somebody mends it', async (t) => {
  const database = await openEmpty(t);
  await applyMigrations(database);
  const broken = await withMigration(t, 'ALTER TABLE no_such_table ADD COLUMN x INT;');
  await t.rejects(applyMigrations(database, broken), /no_such_table/);
  await t.rejects(applyMigrations(database, broken));
  await t.rejects(pendingMigrations(database, broken), /99990101000000_next/);
});

t.test('ten replicas starting at once apply each migration once', { skip: postgresUrl ? false : 'needs Postgres: set TEST_DATABASE_URL' }, async (t) => {
  const url = await createPostgresDatabase(t);
  const replicas = await Promise.all(Array.from({ length: 10 }, () => openDatabase({ url, poolSize: 2, dataDir: undefined })));
  t.teardown(() => Promise.all(replicas.map((replica) => replica.close())));
  const slow = await withMigration(t, 'SELECT pg_sleep(0.3); CREATE TABLE once (id INT);');
  const applied = await Promise.all(replicas.map((replica) => applyMigrations(replica, slow)));
  const [first, ...others] = applied.sort((one, other) => other.length - one.length);
  t.ok(first!.includes('99990101000000_next'));
  t.ok(others.every((names) => names.length === 0));
  const rows = await replicas[0]!.prisma.$queryRaw<{ n: bigint }[]>`SELECT count(*) AS n FROM _prisma_migrations`;
  t.equal(Number(rows[0]!.n), first!.length);
});
