// npm run keys: API keys from a shell, on the configured database. It needs no key, and is for whoever has none yet.
import { cacheKeys } from './auth/cached-keys.js';
import { createKeyService } from './auth/key-service.js';
import { createKeyStore } from './auth/key-store.js';
import { runKeysCommand, usage, UsageError } from './auth/keys-command.js';
import { loadDatabaseConfig } from './config.js';
import { openDatabase } from './persistence/database.js';
import { applyMigrations, pendingMigrations } from './persistence/migrate.js';

async function main(args: readonly string[]): Promise<string> {
  if (args.length === 0 || ['help', '-h', '--help'].includes(args[0]!)) return usage;
  const config = loadDatabaseConfig();
  const database = await openDatabase(config.database);
  try {
    const waiting = (): void => console.error('waiting for the migration lock: another process is migrating this database');
    if (config.migrateOnStart) await applyMigrations(database, undefined, { waiting });
    else if ((await pendingMigrations(database)).length > 0) throw new Error('Migrations are pending: run npm run db:migrate.');
    // Through the cache for its news: running replicas must hear of a revocation at once.
    return await runKeysCommand(args, createKeyService(cacheKeys(createKeyStore(database.prisma), database.invalidations)));
  } finally {
    await database.close();
  }
}

main(process.argv.slice(2)).then(console.log, (error: Error) => {
  const detail = (error as { detail?: string }).detail ?? error.message;
  console.error(error instanceof UsageError ? `${detail}\n\n${usage}` : detail);
  process.exitCode = 1;
});
