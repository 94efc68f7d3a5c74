import { defineConfig } from 'prisma/config';

// Prisma's CLI downloads a schema-engine binary before any command, `generate` included. Nothing here uses that binary
// (migrations run on the WebAssembly engine, src/persistence/migrate.ts); naming any existing file keeps the CLI offline.
process.env.PRISMA_SCHEMA_ENGINE_BINARY ??= process.execPath;

export default defineConfig({ schema: 'prisma/schema.prisma', migrations: { path: 'prisma/migrations' } });
