import { mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { createPostgresDatabase, postgresUrl } from './helpers/database.js';
import { rootKey, secretKey } from './helpers/gateway.js';
import { freePort, runProgram, untilAnswers } from './helpers/process.js';

// Each of these starts a whole process, which takes its time on a busy machine.
t.setTimeout(300_000);

async function settings(t: Test): Promise<Record<string, string>> {
  const dataDir = await mkdtemp(join(tmpdir(), 'server-'));
  t.teardown(() => rm(dataDir, { recursive: true, force: true }));
  return {
    PICA_SECRET_KEY: secretKey, ADMIN_API_KEY: rootKey, PICA_BASE_URL: 'http://127.0.0.1:9', DATA_DIR: dataDir, PORT: String(await freePort()),
    ...(postgresUrl ? { DATABASE_URL: await createPostgresDatabase(t) } : {}),
  };
}

t.test('without its secrets it lists what is missing, exits 1 and starts nothing', async (t) => {
  const program = runProgram(t, 'src/server.ts', { PORT: 'x' });
  t.equal(await program.exit, 1);
  for (const name of ['PICA_SECRET_KEY', 'ADMIN_API_KEY', 'PORT']) t.match(program.output(), new RegExp(`^ +${name} `, 'm'));
  t.notMatch(program.output(), /\bat .*:\d+:\d+/, 'no stack');
});

t.test('it migrates, serves, says which database it uses, and stops cleanly on SIGTERM', async (t) => {
  const env = await settings(t);
  const program = runProgram(t, 'src/server.ts', env);
  await untilAnswers(program, `http://127.0.0.1:${env['PORT']}/readyz`);
  t.match(program.output(), /migrations applied/);
  if (!postgresUrl) t.match(program.output(), /embedded database: one process only/);
  program.child.kill('SIGTERM');
  t.equal(await program.exit, 0);
  t.match(program.output(), /"msg":"stopped"/);
  t.notMatch(program.output(), new RegExp(`${secretKey}|${rootKey}`));
});

t.test('a taken port is one clear line that names the port and the variable', async (t) => {
  const env = await settings(t);
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.teardown(() => other.close());
  const { port } = other.address() as AddressInfo;
  const program = runProgram(t, 'src/server.ts', { ...env, PORT: String(port), LOG_LEVEL: 'silent' });
  t.equal(await program.exit, 1);
  t.equal(program.output().trim(), `authkit-gateway did not start: Port ${port} on 127.0.0.1 is taken; set PORT to another one.`);
});

t.test('MIGRATE_ON_START=false refuses to start on pending migrations, and starts once they are applied by hand', async (t) => {
  const env: Record<string, string> = { ...await settings(t), MIGRATE_ON_START: 'false' };
  const refused = runProgram(t, 'src/server.ts', env);
  t.equal(await refused.exit, 1);
  t.match(refused.output(), /migrations are pending: \d+_init.*npm run db:migrate/);

  const migrate = runProgram(t, 'src/db-migrate.ts', env);
  t.equal(await migrate.exit, 0, migrate.output());
  t.match(migrate.output(), /applied \d+_init/);

  const program = runProgram(t, 'src/server.ts', env);
  await untilAnswers(program, `http://127.0.0.1:${env['PORT']}/readyz`);
  program.child.kill('SIGINT');
  t.equal(await program.exit, 0);
});

t.test('a database that cannot be reached stops the start without showing its password', { skip: postgresUrl ? false : 'needs Postgres: set TEST_DATABASE_URL' }, async (t) => {
  const program = runProgram(t, 'src/server.ts', { ...await settings(t), DATABASE_URL: 'postgres://someone:hunter2@127.0.0.1:9/none' });
  t.equal(await program.exit, 1);
  t.match(program.output(), /did not start/);
  t.notMatch(program.output(), /hunter2/);
});

t.test('a client that connected and never spoke does not hold up the stop', async (t) => {
  const env = await settings(t);
  const program = runProgram(t, 'src/server.ts', env);
  await untilAnswers(program, `http://127.0.0.1:${env['PORT']}/readyz`);
  const silent = connect(Number(env['PORT']), '127.0.0.1');
  silent.on('error', () => {});
  t.teardown(() => silent.destroy());
  await once(silent, 'connect');
  program.child.kill('SIGTERM');
  t.equal(await program.exit, 0, program.output());
});

t.test('an address that is not of this machine is named with its variables', async (t) => {
  const env = await settings(t);
  const program = runProgram(t, 'src/server.ts', { ...env, HOST: '203.0.113.1', LOG_LEVEL: 'silent' });
  t.equal(await program.exit, 1);
  t.match(program.output().trim(), new RegExp(`^authkit-gateway did not start: It cannot listen on HOST 203\\.0\\.113\\.1, PORT ${env['PORT']}: .*$`));
});

t.test('a Postgres that is away, or refuses, is named by its variable and not by its value', async (t) => {
  const env = await settings(t);
  const urls = [`postgres://user:hunter2@127.0.0.1:${await freePort()}/x`, `postgres://user:hunter2@localhost:${await freePort()}/x`];
  if (postgresUrl) urls.push(Object.assign(new URL(postgresUrl), { pathname: '/no-such-database' }).href);
  for (const url of urls) {
    for (const [file, more] of [['src/server.ts', { MIGRATE_ON_START: 'true' }], ['src/server.ts', { MIGRATE_ON_START: 'false' }], ['src/db-migrate.ts', {}]] as const) {
      const program = runProgram(t, file, { ...env, ...more, DATABASE_URL: url, LOG_LEVEL: 'silent' });
      t.equal(await program.exit, 1);
      t.match(program.output().trim(), /^(?:authkit-gateway did not start: )?The database at DATABASE_URL cannot be used: .+$/, file);
      t.notMatch(program.output(), /hunter2/);
    }
  }
});

t.test('migrations are applied by hand with nothing set but the database', async (t) => {
  const { DATA_DIR, DATABASE_URL } = await settings(t);
  const program = runProgram(t, 'src/db-migrate.ts', { DATA_DIR: DATA_DIR!, ...(DATABASE_URL ? { DATABASE_URL } : {}) });
  t.equal(await program.exit, 0, program.output());
  t.match(program.output(), /^applied .*_init/);
});

t.test('a SIGTERM while it is still starting ends it cleanly', async (t) => {
  const env = await settings(t);
  const program = runProgram(t, 'src/server.ts', env);
  while (!/embedded database|migrations applied/.test(program.output())) await new Promise((resolve) => setTimeout(resolve, 5));
  program.child.kill('SIGTERM');
  t.equal(await program.exit, 0, program.output());
  t.match(program.output(), /"msg":"stopped"/);
});
