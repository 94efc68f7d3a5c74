import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { programArguments } from '../helpers/process.js';
import { cacheKeys } from '../../src/auth/cached-keys.js';
import { createKeyService } from '../../src/auth/key-service.js';
import { createKeyStore } from '../../src/auth/key-store.js';
import { runKeysCommand } from '../../src/auth/keys-command.js';
import { openDatabase } from '../../src/persistence/database.js';
import { applyMigrations } from '../../src/persistence/migrate.js';
import { createPostgresDatabase, postgresUrl } from '../helpers/database.js';
import { startGateway } from '../helpers/gateway.js';

t.setTimeout(300_000);

t.test('keys are created, listed, rotated and revoked without any key at hand', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9');
  const keys = createKeyService(cacheKeys(createKeyStore(gateway.database.prisma), gateway.database.invalidations));
  const run = (...args: string[]) => runKeysCommand(args, keys);
  const works = async (key: string) => (await gateway.request('GET', '/connections', { key })).status;

  t.equal(await run('list'), 'no keys');
  const created = await run('create', '--name', 'ops', '--scope', 'connections:read', '--scope', 'proxy:gmail', '--identity', 'ada', '--expires', '30d');
  const [, key] = /^(agk_[0-9A-Za-z]{38})$/m.exec(created)!;
  t.equal(await works(key!), 200);
  const id = created.split(' ')[0]!;
  const [row] = (await gateway.request('GET', '/api-keys')).json.rows;
  t.match(row, { id, name: 'ops', scopes: ['connections:read', 'proxy:gmail'], identity: 'ada', identityType: 'user' });
  t.ok(Math.abs(Date.parse(row.expiresAt) - Date.now() - 30 * 86_400_000) < 60_000);

  const list = await run('list');
  t.match(list, id);
  t.notMatch(list, key!.slice(8), 'a list never shows a key');

  const [, next] = /^(agk_\w+)$/m.exec(await run('rotate', id, '--overlap', '0'))!;
  t.same([await works(key!), await works(next!)], [401, 200]);
  const successor = (await run('list')).split('\n').find((line) => !line.startsWith(id))!.split(' ')[0]!;
  t.equal(await run('revoke', successor), `revoked ${successor}`);
  t.equal(await works(next!), 401);

  const manager = (await run('create', '--name', 'manager', '--scope', 'api-keys:manage')).split(' ')[0]!;
  t.equal(await run('revoke', manager, '--descendants'), `revoked ${manager} and its descendants`);
  t.match((await run('list')).split('\n').find((line) => line.startsWith(manager)), /by root .*revoked /);
  const page = await run('create', '--name', 'page', '--scope', 'authkit:token', '--origin', 'https://app.example.com');
  t.match(page, 'on https://app.example.com');
});

t.test('a key revoked from a shell stops on a running server within a second', { skip: !postgresUrl && 'needs TEST_DATABASE_URL' }, async (t) => {
  const options = { url: await createPostgresDatabase(t), poolSize: 3, dataDir: undefined };
  const [servers, shells] = [await openDatabase(options), await openDatabase(options)];
  t.teardown(() => Promise.all([servers.close(), shells.close()]));
  await applyMigrations(shells);
  const gateway = await startGateway(t, 'http://127.0.0.1:9', {}, servers);
  const keys = createKeyService(cacheKeys(createKeyStore(shells.prisma), shells.invalidations));
  const key = await gateway.createKey(['connections:read']);
  t.equal((await gateway.request('GET', '/connections', { key })).status, 200);
  const { id } = (await gateway.request('GET', '/api-keys')).json.rows[0];
  await runKeysCommand(['revoke', id], keys);
  const deadline = Date.now() + 1_000;
  while ((await gateway.request('GET', '/connections', { key })).status !== 401 && Date.now() < deadline);
  t.ok(Date.now() < deadline);
});

t.test('what makes no sense is refused, and says why', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9');
  const keys = createKeyService(cacheKeys(createKeyStore(gateway.database.prisma), gateway.database.invalidations));
  const create = ['create', '--name', 'x'];
  for (const args of [
    [], ['explode'], ['create'], create, [...create, '--scope', 'everything'], [...create, '--scope', '*'], [...create, '--scope', 'proxy', '--expires', 'soon'],
    [...create, '--scope', 'authkit:token', '--origin', 'app.example.com'], [...create, '--scope', 'proxy', 'x'], ['revoke'], ['revoke', 'x'],
    ['rotate', '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87', '--overlap', '-1'], ['list', '--color'],
    ...['', 'x'.repeat(129), 'a\nb', 'a\u001b[31m'].map((name) => ['create', '--name', name, '--scope', 'proxy']),
    [...create, '--scope', 'proxy', '--overlap', '5'], ['list', '--name', 'x'], ['list', 'x'], ['revoke', '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87', '--scope', 'proxy'],
    ['rotate', '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87', '--expires', '30d'], ['create', '--name', 'e\u0301'.repeat(128), '--scope', 'proxy'],
    ...[' ada', 'ada\u3000', '', 'x'.repeat(129)].map((identity) => [...create, '--scope', 'proxy', '--identity', identity]), [...create, '--scope', 'proxy', '--identity-type', 'team'],
  ]) await t.rejects(runKeysCommand(args, keys), { name: 'UsageError' }, args.join(' '));
  for (const [args, code] of [
    [['revoke', '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87'], 'api_key_not_found'],
    [[...create, '--scope', 'proxy', '--expires', '2020-01-01'], 'invalid_request'],
    [[...create, '--scope', 'proxy', '--origin', 'https://app.example.com'], 'invalid_request'],
  ] as const) await t.rejects(runKeysCommand(args, keys), { code }, args.join(' '));
  t.equal(await gateway.database.prisma.apiKey.count(), 0);
});

t.test('as a process, on a database that no server has opened yet', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'keys-cli-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const run = (...args: string[]) => promisify(execFile)(process.execPath, [...programArguments('src/keys-cli.ts'), ...args], {
    env: { PATH: process.env['PATH'], DATA_DIR: directory },
  });
  t.match((await run('create', '--name', 'first', '--scope', 'api-keys:manage')).stdout, /^agk_/m);
  t.match((await run('--help')).stdout, 'usage: ');
});
