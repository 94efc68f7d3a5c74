import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
    while (!program.output().includes('Ctrl-C')) await new Promise((resolve) => setTimeout(resolve, 50));
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
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  t.teardown(() => taken.close());
  const port = String((taken.address() as { port: number }).port);

  const gateway = runProgram(t, 'scripts/dev.ts', { PORT: port, SANDBOX_PORT: String(await freePort()), DATA_DIR: dataDir });
  t.equal(await gateway.exit, 1);
  t.match(gateway.output(), new RegExp(`Port ${port}.*set PORT`));
  const sandbox = runProgram(t, 'scripts/dev.ts', { PORT: String(await freePort()), SANDBOX_PORT: port, DATA_DIR: dataDir });
  t.equal(await sandbox.exit, 1);
  t.match(sandbox.output(), new RegExp(`Port ${port}.*set SANDBOX_PORT`));
});
