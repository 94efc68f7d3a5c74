// npm run db:new -- NAME: writes the migration that takes the existing ones to what schema.prisma says now.
import { mkdir, writeFile } from 'node:fs/promises';
import { openEmbedded } from '../src/persistence/embedded.js';
import { applyMigrations, schemaDifference } from '../src/persistence/migrate.js';

const name = process.argv[2]?.replace(/[^a-z0-9]+/gi, '_').toLowerCase();
if (!name) {
  console.error('usage: npm run db:new -- NAME');
  process.exit(2);
}
const database = await openEmbedded(undefined);
try {
  await applyMigrations(database);
  // Creating a schema needs a right on the database that a service's role may lack, and "public" is always there.
  const sql = (await schemaDifference(database)).replace(/-- CreateSchema\nCREATE SCHEMA IF NOT EXISTS "public";\n\n/, '');
  if (sql === '') {
    console.log('schema.prisma and the migrations agree: nothing to write.');
  } else {
    const stamp = new Date().toISOString().replace(/\D/g, '').slice(0, 14);
    const directory = `prisma/migrations/${stamp}_${name}`;
    await mkdir(directory, { recursive: true });
    await writeFile('prisma/migrations/migration_lock.toml', 'provider = "postgresql"\n');
    await writeFile(`${directory}/migration.sql`, sql);
    console.log(`wrote ${directory}/migration.sql; read it before you commit it.`);
  }
} finally {
  await database.close();
}
