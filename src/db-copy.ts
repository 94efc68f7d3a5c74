// npm run db:export -- FILE, npm run db:import -- FILE (in the image: node dist/db-copy.js export FILE): the configured database
// to a file and back, on either engine. A backup of the embedded database, and the way from it to Postgres.
import { loadDatabaseConfig } from './config.js';
import { CopyError, exportDatabase, importDatabase } from './persistence/copy.js';
import { openDatabase } from './persistence/database.js';
import { applyMigrations, pendingMigrations } from './persistence/migrate.js';

const usage = 'usage: npm run db:export -- FILE | npm run db:import -- FILE';

async function main([direction, file, ...more]: readonly string[]): Promise<string> {
  if ((direction !== 'export' && direction !== 'import') || !file || more.length > 0) throw new CopyError(usage);
  const database = await openDatabase(loadDatabaseConfig().database);
  try {
    if (direction === 'import') await applyMigrations(database);
    else if ((await pendingMigrations(database)).length > 0) throw new CopyError('Migrations are pending: run npm run db:migrate first.');
    const copied = direction === 'export' ? await exportDatabase(database, file) : await importDatabase(database, file);
    return `${direction}ed ${Object.entries(copied).map(([table, rows]) => `${table} ${rows}`).join(', ')}`;
  } finally {
    await database.close();
  }
}

main(process.argv.slice(2)).then(console.log, (error: Error) => {
  console.error(error.message);
  process.exitCode = 1;
});
