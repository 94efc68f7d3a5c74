// npm run dev: the sandbox and the gateway with its demo page, on the embedded database. Ctrl-C stops both.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { DEFAULT_SECRETS } from '../sandbox/app.js';
import { type RunningSandbox, startSandbox } from '../sandbox/start.js';

if (existsSync('.env')) process.loadEnvFile('.env');
const port = portOf('PORT', '3000');
const sandboxPort = portOf('SANDBOX_PORT', '4010');
const dataDir = process.env['DATA_DIR'] || './data';
const url = `http://localhost:${port}`;
// What listens on another address of this name is somebody else's, and must not be told the key.
const ownUrl = `http://127.0.0.1:${port}`;

const rootKey = await developmentKey().catch((error: Error) => fail(`DATA_DIR (${dataDir}) cannot be written: ${error.message}`));
const sandbox = await openSandbox();
await claimPort();
const gateway = startGateway();
// However this process ends, the gateway must not outlive it.
process.on('exit', () => void gateway.kill('SIGTERM'));
let stopping = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    stopping = true;
    gateway.kill('SIGTERM');
  });
}
gateway.on('exit', (code) => {
  void sandbox.close().finally(() => process.exit(stopping ? 0 : code ?? 1));
});

await untilReady(gateway);
await refillVault().catch((error: Error) => fail(`The sandbox could not be filled: ${error.message}`));
console.log(`
  Demo page   ${url}/demo
  API         ${url}/docs
  Key         ${rootKey}   (every scope; kept in ${dataDir})
  Sandbox     ${sandbox.url}   (stands in for Pica)

  Try         curl -H 'x-api-key: ${rootKey}' '${url}/integrations?q=mail'
  Ctrl-C stops everything; the data stays in ${dataDir}.
`);

async function openSandbox(): Promise<RunningSandbox> {
  try {
    return await startSandbox({ port: sandboxPort, publicUrl: `http://localhost:${sandboxPort}` });
  } catch (error) {
    if ((error as { code?: string }).code !== 'EADDRINUSE') throw error;
    fail(`Port ${sandboxPort} is taken; set SANDBOX_PORT to another one.`);
  }
}

/** Ends this process, saying so, when the gateway's port is taken: asking whoever has it would look like a gateway that is ready. */
async function claimPort(): Promise<void> {
  const probe = createServer().listen(port, '127.0.0.1');
  await once(probe, 'listening').catch((error: { code?: string; message: string }) =>
    fail(error.code === 'EADDRINUSE' ? `Port ${port} is taken; set PORT to another one.` : `PORT: ${error.message}`));
  probe.close();
  await once(probe, 'close');
}

function portOf(name: string, fallback: string): number {
  const value = Number(process.env[name] || fallback);
  return Number.isInteger(value) && value >= 1 && value <= 65_535 ? value : fail(`${name} must be a port number, 1–65535.`);
}

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

function startGateway(): ChildProcess {
  return spawn(process.execPath, ['--import', 'tsx', 'src/server.ts'], {
    stdio: 'inherit',
    env: {
      ...process.env,
      // The gateway reads .env too: what the loop needs otherwise is said here, and an empty value counts as unset.
      HOST: '127.0.0.1',
      PORT: String(port),
      DATA_DIR: dataDir,
      DATABASE_URL: '',
      MIGRATE_ON_START: 'true',
      REDIS_URL: '',
      CORS_ORIGINS: '*',
      PICA_BASE_URL: sandbox.url,
      PICA_SECRET_KEY: DEFAULT_SECRETS[0],
      ADMIN_API_KEY: rootKey,
      DEMO: 'true',
      DEMO_WIDGET_URL: `http://localhost:${sandboxPort}`,
      RECONCILE_INTERVAL_MS: process.env['RECONCILE_INTERVAL_MS'] || '0',
      WEBHOOK_ALLOW_PRIVATE: process.env['WEBHOOK_ALLOW_PRIVATE'] || 'true',
      LOG_LEVEL: process.env['LOG_LEVEL'] || 'warn',
    },
  });
}

/** A root key of this clone's own, made once: a well-known one would open every developer's machine. */
async function developmentKey(): Promise<string> {
  const file = `${dataDir}/dev-root-key`;
  const known = await readFile(file, 'utf8').catch(() => '');
  if (known) return known;
  const made = `dev-${randomBytes(24).toString('hex')}`;
  await mkdir(dataDir, { recursive: true });
  await writeFile(file, made, { mode: 0o600 });
  return made;
}

async function untilReady(child: ChildProcess): Promise<void> {
  while (child.exitCode === null && !stopping) {
    const answer = await fetch(`${ownUrl}/readyz`).catch(() => undefined);
    if (answer?.ok) return;
    await sleep(100);
  }
  // Its exit handler ends this process too.
  await new Promise(() => {});
}

/** The sandbox forgets its vault on every stop; what the gateway has stored is put back, so that calls go on working. */
async function refillVault(): Promise<void> {
  for (let cursor: string | null = ''; cursor !== null;) {
    const page = await fetch(`${ownUrl}/connections?limit=100${cursor && `&cursor=${cursor}`}`, { headers: { 'x-api-key': rootKey } });
    if (!page.ok) throw new Error(`GET /connections answered ${page.status}.`);
    const { rows, nextCursor } = await page.json() as { rows: Record<string, unknown>[]; nextCursor: string | null };
    for (const { key, platform, environment, state, identity, identityType, name, tags } of rows) {
      const put = await fetch(`${sandbox.url}/__control/connections`, {
        method: 'POST', headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ key, platform, environment, state, identity, identityType, name: name ?? undefined, tags }),
      });
      if (!put.ok) console.warn(`The sandbox did not take back a connection to ${String(platform)}: ${await put.text()}`);
    }
    cursor = nextCursor;
  }
}
