// npm run db:migrate (in the image: node dist/db-migrate.js): applies pending migrations to the configured database by hand.
import { loadDatabaseConfig } from './config.js';
import { openDatabase } from './persistence/database.js';
import { applyMigrations } from './persistence/migrate.js';

async function main(): Promise<string> {
  const database = await openDatabase(loadDatabaseConfig().database);
  try {
    const applied = await applyMigrations(database, undefined, { waiting: () => console.error('waiting for the migration lock: another process is migrating this database') });
    return applied.length > 0 ? `applied ${applied.join(', ')}` : 'nothing to apply';
  } finally {
    await database.close();
  }
}

main().then(console.log, (error: Error) => {
  console.error(error.message);
  process.exitCode = 1;
});
