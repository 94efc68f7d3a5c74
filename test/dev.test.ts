import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t from 'tap';
import { freePort, runProgram, untilAnswers } from './helpers/process.js';

t.test('npm run dev serves the whole loop, prints page and key, stops on Ctrl-C, and keeps its data', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'dev-'));
  t.teardown(() => rm(dataDir, { recursive: true, force: true }));
  const env = { PORT: String(await freePort()), SANDBOX_PORT: String(await freePort()), DATA_DIR: dataDir };
  const url = `http://localhost:${env.PORT}`;

  const start = async () => {
    const program = runProgram(t, 'scripts/dev.ts', env);
    await untilAnswers(program, `${url}/readyz`);
    while (!program.output().includes('Ctrl-C')) await new Promise((again) => setTimeout(again, 50));
    t.match(program.output(), `${url}/demo`);
    return { program, key: /Key +(\S+)/.exec(program.output())![1]! };
  };
  const first = await start();
  t.match(await (await fetch(`${url}/demo`)).text(), /<html/);
  const headers = { 'x-api-key': first.key, 'x-user-id': 'ada', 'content-type': 'application/json' };
  const token = await (await fetch(`${url}/authkit/token`, { method: 'POST', headers })).json() as { linkSettings: { eventIncToken: string } };
  const connected = await fetch(`http://localhost:${env.SANDBOX_PORT}/widget/connections`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ proof: token.linkSettings.eventIncToken, platform: 'gmail' }),
  });
  const stored = await fetch(`${url}/connections`, { method: 'POST', headers, body: JSON.stringify(await connected.json()) });
  t.equal(stored.status, 201);
  const call = async () => (await fetch(`${url}/proxy/gmail/gmail/v1/users/me/profile`, { headers })).status;
  t.equal(await call(), 200);
  first.program.child.kill('SIGINT');
  t.equal(await first.program.exit, 0);

  const second = await start();
  t.equal(second.key, first.key, 'the same key works');
  const { rows } = await (await fetch(`${url}/connections`, { headers })).json() as { rows: unknown[] };
  t.equal(rows.length, 1, 'the data is still there');
  t.equal(await call(), 200, 'and calls still go through');
  second.program.child.kill('SIGINT');
  t.equal(await second.program.exit, 0);
});

t.test('a taken port is named together with the variable that changes it', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'dev-'));
  t.teardown(() => rm(dataDir, { recursive: true, force: true }));
  const taken = createServer();
  await new Promise<void>((listening) => taken.listen(0, '127.0.0.1', listening));
  t.teardown(() => taken.close());
  const port = String((taken.address() as AddressInfo).port);

  const gateway = runProgram(t, 'scripts/dev.ts', { PORT: port, SANDBOX_PORT: String(await freePort()), DATA_DIR: dataDir });
  t.equal(await gateway.exit, 1);
  t.match(gateway.output(), new RegExp(`Port ${port}.*set PORT`));
  const sandbox = runProgram(t, 'scripts/dev.ts', { PORT: String(await freePort()), SANDBOX_PORT: port, DATA_DIR: dataDir });
  t.equal(await sandbox.exit, 1);
  t.match(sandbox.output(), new RegExp(`Port ${port}.*set SANDBOX_PORT`));
});

t.test('another server on the port is left alone: it is not asked, and not told this clone\'s key', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'dev-'));
  t.teardown(() => rm(dataDir, { recursive: true, force: true }));
  const asked: string[] = [];
  const other = createHttpServer((request, response) => {
    asked.push(request.url!);
    response.end('{}');
  });
  await new Promise<void>((listening) => other.listen(0, '127.0.0.1', listening));
  t.teardown(() => other.close());
  const port = (other.address() as AddressInfo).port;

  const program = runProgram(t, 'scripts/dev.ts', { PORT: String(port), SANDBOX_PORT: String(await freePort()), DATA_DIR: dataDir });
  t.equal(await program.exit, 1);
  t.equal(program.output().trim(), `Port ${port} is taken; set PORT to another one.`);
  t.same(asked, []);
});

t.test('a port that is none is named with its variable', async (t) => {
  const program = runProgram(t, 'scripts/dev.ts', { PORT: 'http' });
  t.equal(await program.exit, 1);
  t.equal(program.output().trim(), 'PORT must be a port number, 1–65535.');
});

t.test('.env counts: its ports are taken, and what is meant for production does not break the loop', async (t) => {
  const clone = await mkdtemp(join(tmpdir(), 'dev-clone-'));
  t.teardown(() => rm(clone, { recursive: true, force: true }));
  for (const name of ['node_modules', 'package.json', 'prisma', 'sandbox', 'scripts', 'src', 'tsconfig.json']) await symlink(resolve(name), join(clone, name));
  const [port, sandboxPort] = [await freePort(), await freePort()];
  await writeFile(join(clone, '.env'), [
    `PORT=${port}`, `SANDBOX_PORT=${sandboxPort}`, 'HOST=203.0.113.1', 'PICA_SECRET_KEY=sk_live_real', 'ADMIN_API_KEY=root-key-of-production-7f3a9c1e5b2d',
    'CORS_ORIGINS=https://app.example.com', 'DATABASE_URL=postgres://localhost:9/x', 'REDIS_URL=redis://localhost:9', 'RATE_LIMIT_PER_MINUTE=100',
    'MIGRATE_ON_START=false', 'DEMO=false',
  ].join('\n'));

  const program = runProgram(t, 'scripts/dev.ts', {}, [], clone);
  await untilAnswers(program, `http://127.0.0.1:${port}/readyz`);
  while (!program.output().includes('Ctrl-C')) await new Promise((again) => setTimeout(again, 50));
  t.match(program.output(), `http://localhost:${port}/demo`);
  t.match(program.output(), `http://127.0.0.1:${sandboxPort}`);
  t.notMatch(program.output(), /Redis/);
  const asked = await fetch(`http://127.0.0.1:${port}/authkit/token`, {
    method: 'OPTIONS', headers: { origin: `http://localhost:${sandboxPort}`, 'access-control-request-method': 'POST' },
  });
  t.equal(asked.headers.get('access-control-allow-origin'), '*', 'the demo\'s widget may ask for tokens');
  program.child.kill('SIGINT');
  t.equal(await program.exit, 0);
});
