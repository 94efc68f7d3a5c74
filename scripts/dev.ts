// npm run dev: the sandbox and the gateway with its demo page, on the embedded database. Ctrl-C stops both.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { DEFAULT_SECRETS } from '../sandbox/app.js';
import { type RunningSandbox, startSandbox } from '../sandbox/start.js';

const port = process.env['PORT'] || '3000';
const sandboxPort = Number(process.env['SANDBOX_PORT'] || 4010);
const dataDir = process.env['DATA_DIR'] || './data';
const url = `http://localhost:${port}`;

const rootKey = await developmentKey();
const sandbox = await openSandbox();
const gateway = startGateway();
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
await refillVault();
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
    console.error(`Port ${sandboxPort} is taken; set SANDBOX_PORT to another one.`);
    process.exit(1);
  }
}

function startGateway(): ChildProcess {
  return spawn(process.execPath, ['--import', 'tsx', 'src/server.ts'], {
    stdio: 'inherit',
    env: {
      ...process.env,
      PORT: port,
      DATA_DIR: dataDir,
      DATABASE_URL: '',
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
    const answer = await fetch(`${url}/readyz`).catch(() => undefined);
    if (answer?.ok) return;
    await sleep(100);
  }
  // Its exit handler ends this process too.
  await new Promise(() => {});
}

/** The sandbox forgets its vault on every stop; what the gateway has stored is put back, so that calls go on working. */
async function refillVault(): Promise<void> {
  for (let cursor: string | null = ''; cursor !== null;) {
    const page = await fetch(`${url}/connections?limit=100${cursor && `&cursor=${cursor}`}`, { headers: { 'x-api-key': rootKey } });
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
