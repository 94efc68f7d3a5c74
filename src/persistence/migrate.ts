import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Database } from './database.js';
import type { LockWait } from './locks.js';
import { type SchemaEngine, withMigrationEngine } from './migration-engine.js';

const prismaDir = fileURLToPath(new URL('../../prisma/', import.meta.url));
const noFilter = { externalTables: [], externalEnums: [] };
// Any number will do, as long as every replica and release uses the same one.
const migrationLock = 4_711_001;

type MigrationList = Parameters<SchemaEngine['applyMigrations']>[0]['migrationsList'];

/**
 * Applies every pending migration of `prisma/migrations`, in order, under a lock shared by all replicas, and returns the
 * names of those it applied. Rejects when one fails, has failed before, or was edited after it was applied; or with the
 * signal's reason, when that fires before it was this process's turn.
 */
export async function applyMigrations(database: Database, directory = `${prismaDir}migrations`, wait: LockWait = {}): Promise<string[]> {
  return database.exclusively(migrationLock, async () => {
    await database.createSchema();
    return withEngine(database, async (engine) => {
      const migrationsList = await readMigrations(directory);
      const { appliedMigrationNames } = await engine.applyMigrations({ migrationsList, filters: noFilter });
      return appliedMigrationNames;
    });
  }, wait);
}

/** The names of migrations that this database has not had yet; changes nothing. Rejects when one is in a failed state. */
export async function pendingMigrations(database: Database, directory = `${prismaDir}migrations`): Promise<string[]> {
  return withEngine(database, async (engine) => {
    const migrationsList = await readMigrations(directory);
    const { history, failedMigrationNames } = await engine.diagnoseMigrationHistory({
      migrationsList, optInToShadowDatabase: false, filters: noFilter,
    });
    if (failedMigrationNames.length > 0) throw new Error(`Migrations that failed earlier: ${failedMigrationNames.join(', ')}.`);
    return history && 'unappliedMigrationNames' in history ? history.unappliedMigrationNames : [];
  });
}

/**
 * The SQL that takes `database`, once all its migrations are applied, to what `prisma/schema.prisma` says: what the next
 * migration holds, empty when they agree.
 */
export function schemaDifference(database: Database): Promise<string> {
  return withEngine(database, async (engine, schema) => {
    const target = { files: [{ path: 'schema.prisma', content: schema }] };
    const { migrationDirectories } = await readMigrations(`${prismaDir}migrations`);
    // The engine's own migrations-to-schema diff wants a shadow database, which its WebAssembly form refuses to open;
    // reading the migrated database back gives the same starting point. (It calls an empty one an error.)
    const from = migrationDirectories.length === 0
      ? { tag: 'empty' as const }
      : { tag: 'schemaDatamodel' as const, ...(await engine.introspect({
        schema: target, baseDirectoryPath: prismaDir, force: true, compositeTypeDepth: -1, namespaces: null,
      })).schema };
    const { stdout } = await engine.diff({
      from, to: { tag: 'schemaDatamodel', ...target }, script: true, exitCode: null, filters: noFilter,
    });
    return stdout?.includes('This is an empty migration') ? '' : stdout ?? '';
  });
}

async function withEngine<T>(database: Database, work: (engine: SchemaEngine, schema: string) => Promise<T>): Promise<T> {
  const schema = await readFile(`${prismaDir}schema.prisma`, 'utf8');
  return withMigrationEngine(database.adapter, schema, (engine) => work(engine, schema));
}

async function readMigrations(baseDir: string): Promise<MigrationList> {
  const entries = await readdir(baseDir, { withFileTypes: true }).catch(() => []);
  const names = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name).sort();
  return {
    baseDir,
    lockfile: { path: 'migration_lock.toml', content: await readFile(`${baseDir}/migration_lock.toml`, 'utf8').catch(() => null) },
    shadowDbInitScript: '',
    migrationDirectories: await Promise.all(names.map(async (path) => ({
      path,
      migrationFile: { path: 'migration.sql', content: { tag: 'ok' as const, value: await readFile(`${baseDir}/${path}/migration.sql`, 'utf8') } },
    }))),
  };
}
