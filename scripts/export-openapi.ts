// npm run openapi:export: writes openapi.yaml from the routes; with --check it only compares, and fails when they differ.
import { readFile, writeFile } from 'node:fs/promises';
import { stringify } from 'yaml';
import { buildApp } from '../src/app.js';
import { loadConfig } from '../src/config.js';
import { createLogger } from '../src/observability/logger.js';
import type { Database } from '../src/persistence/database.js';
import { localInvalidations } from '../src/persistence/invalidations.js';

// The document comes from the routes' schemas alone: nothing is asked of a database.
const database = { engine: 'postgres', prisma: {}, invalidations: localInvalidations() } as unknown as Database;
const config = loadConfig({ PICA_SECRET_KEY: 'sk_test_unused', ADMIN_API_KEY: 'unused-root-key-7f3a9c1e5b2d8046', MIGRATE_ON_START: 'false' });
const app = await buildApp({ config, database, logger: createLogger('silent', []) });
await app.ready();
const document = `# Written by \`npm run openapi:export\` from the routes in src/. Do not edit.\n${stringify(app.swagger(), { aliasDuplicateObjects: false, lineWidth: 140 })}`;
await app.close();

if (process.argv.includes('--check')) {
  if (await readFile('openapi.yaml', 'utf8') !== document) {
    console.error('openapi.yaml differs from the routes: run npm run openapi:export and commit it.');
    process.exit(1);
  }
  console.log('openapi.yaml agrees with the routes');
} else {
  await writeFile('openapi.yaml', document);
  console.log('wrote openapi.yaml');
}
