// npm run smoke: starts the production build as `npm start` does, on the embedded database and (SMOKE_DATABASE_URL) on
// Postgres, checks that it refuses, serves and stops as an operator expects.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const dataDir = await mkdtemp(join(tmpdir(), 'smoke-'));
const rootKey = 'smoke-root-key-8f3ac1d97b2e640512cd';
const base = { PATH: process.env['PATH'], HOME: process.env['HOME'], DATA_DIR: dataDir, PORT: '3999' };
const secrets = { PICA_SECRET_KEY: 'sk_test_smoke', ADMIN_API_KEY: rootKey, PICA_BASE_URL: 'http://127.0.0.1:9' };
const url = `http://127.0.0.1:${base.PORT}`;

try {
  const refusal = run(base);
  check('refuses to boot without its secrets', await refusal.exit === 1 && /PICA_SECRET_KEY/.test(refusal.output()) && /ADMIN_API_KEY/.test(refusal.output()), refusal.output());

  const engines: [string, Record<string, string>][] = [['embedded', {}]];
  if (process.env['SMOKE_DATABASE_URL']) engines.push(['Postgres', { DATABASE_URL: process.env['SMOKE_DATABASE_URL'] }]);
  for (const [engine, database] of engines) {
    const started = performance.now();
    const gateway = run({ ...base, ...secrets, ...database });
    await untilReady(gateway);
    console.log(`  ${engine}: ready after ${Math.round(performance.now() - started)} ms`);
    check(`${engine}: asks for a key`, (await fetch(`${url}/connections`)).status === 401);
    check(`${engine}: lists connections`, (await fetch(`${url}/connections`, { headers: { 'x-api-key': rootKey } })).status === 200);
    check(`${engine}: serves its documentation`, (await fetch(`${url}/docs/`)).status === 200 && (await fetch(`${url}/openapi.json`)).status === 200);
    check(`${engine}: has no demo page`, (await fetch(`${url}/demo`)).status === 404);
    gateway.child.kill('SIGTERM');
    check(`${engine}: stops cleanly on SIGTERM`, await gateway.exit === 0, gateway.output());
  }
} finally {
  await rm(dataDir, { recursive: true, force: true });
}

function run(env: Record<string, string | undefined>) {
  // What `npm start` runs; npm itself would swallow the exit code of a signalled child.
  const child = spawn(process.execPath, ['dist/server.js'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return { child, output: () => text, exit: once(child, 'close').then(([code]) => code as number | null) };
}

async function untilReady(gateway: ReturnType<typeof run>): Promise<void> {
  let ended = false;
  void gateway.exit.then(() => (ended = true));
  while (!(await fetch(`${url}/readyz`).catch(() => undefined))?.ok) {
    if (ended) throw new Error(`ended early: ${gateway.output()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function check(what: string, holds: boolean, detail = ''): void {
  if (!holds) {
    console.error(`not ok: ${what}\n${detail}`);
    process.exit(1);
  }
  console.log(`ok: ${what}`);
}
