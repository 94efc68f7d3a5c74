// Runs after every install: generates the Prisma client, unless the install left the CLI out (`npm ci --omit=dev`).
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';

let cli;
try {
  cli = createRequire(import.meta.url).resolve('prisma/build/index.js');
} catch {
  console.log('prisma is not installed (production install): using the client that was built with dist/');
  process.exit(0);
}
const run = spawnSync(process.execPath, [cli, 'generate', '--no-hints'], { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
if (run.status !== 0) process.stdout.write(run.stdout ?? '');
process.exit(run.status ?? 1);
