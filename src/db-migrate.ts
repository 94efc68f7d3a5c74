// npm run db:migrate (in the image: node dist/db-migrate.js): applies pending migrations to the configured database by hand.
import { loadConfig } from './config.js';
import { openDatabase } from './persistence/database.js';
import { applyMigrations } from './persistence/migrate.js';

const database = await openDatabase(loadConfig().database);
try {
  const applied = await applyMigrations(database);
  console.log(applied.length > 0 ? `applied ${applied.join(', ')}` : 'nothing to apply');
} finally {
  await database.close();
}
