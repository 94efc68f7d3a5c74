import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, lstat, mkdir, mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import t, { type Test } from 'tap';
import { holdDirectory } from '../../src/persistence/data-directory.js';
import { embeddedDatabase } from '../../src/persistence/embedded.js';
import { isDatabaseUnavailable } from '../../src/persistence/unavailable.js';
import { startGatewayProcess } from '../helpers/gateway-process.js';
import { until } from '../helpers/receiver.js';
import { openEmbedded } from '../../src/persistence/embedded.js';
import { applyMigrations } from '../../src/persistence/migrate.js';

t.test('the embedded database keeps its rows, and one process at a time has it', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'embedded-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const first = await openEmbedded(directory);
  await applyMigrations(first);
  await first.prisma.userConnection.create({ data: { identity: 'ada', key: 'k', platform: 'gmail', environment: 'test' } });
  await t.rejects(openEmbedded(directory), /in use by another process.*DATABASE_URL/);
  await first.close();

  const second = await openEmbedded(directory);
  t.equal(await second.prisma.userConnection.count(), 1);
  await second.close();
});

t.test('a directory that cannot be had is refused at once, by its variable', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'embedded-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  await writeFile(join(directory, 'file'), '');
  await t.rejects(openEmbedded(join(directory, 'file', 'data')), /^DATA_DIR \(.*file.data\) cannot be written: ENOTDIR/);
  t.test('one that is not ours to write', { skip: process.getuid?.() === 0 && 'root may write everywhere' }, async (t) => {
    const readOnly = join(directory, 'read-only');
    await mkdir(readOnly);
    await chmod(readOnly, 0o555);
    await t.rejects(openEmbedded(readOnly), /^DATA_DIR \(.*read-only\) cannot be written: EACCES/);
  });
});

async function newDirectory(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'embedded-'));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Paths in a directory that group or others may read, write or enter. */
async function openToOthers(directory: string): Promise<string[]> {
  const paths = ['', ...await readdir(directory, { recursive: true })];
  const modes = await Promise.all(paths.map(async (path) => [path, (await lstat(join(directory, path))).mode] as const));
  return modes.filter(([, mode]) => (mode & 0o077) !== 0).map(([path]) => path);
}

t.test('no other user can read the embedded database, whatever the umask and whatever an earlier version left', async (t) => {
  const before = process.umask(0);
  t.teardown(() => process.umask(before));
  const directory = join(await newDirectory(t), 'data');
  const first = await openEmbedded(directory);
  await applyMigrations(first);
  t.same(await openToOthers(directory), []);
  await first.close();
  for (const path of ['', 'pglite', 'pglite/PG_VERSION', 'pglite/base']) await chmod(join(directory, path), path.includes('_') ? 0o666 : 0o777);
  const second = await openEmbedded(directory);
  t.same(await openToOthers(directory), []);
  await second.close();
});

t.test('a directory that holds other things too keeps its own mode; what is ours in it is closed', async (t) => {
  const directory = await newDirectory(t);
  await chmod(directory, 0o755);
  await writeFile(join(directory, 'neighbour'), '', { mode: 0o644 });
  await (await openEmbedded(directory)).close();
  t.equal((await lstat(directory)).mode & 0o777, 0o755);
  t.same(await openToOthers(join(directory, 'pglite')), []);
});

t.test('a database that cannot be closed to other users is refused', { skip: process.getuid?.() === 0 ? false : 'needs root, to make what belongs to another user' }, async (t) => {
  const directory = await newDirectory(t);
  await chown(directory, 65_534, 65_534);
  await mkdir(join(directory, 'pglite'), { mode: 0o777 });
  const script = `
    const { holdDirectory } = await import(${JSON.stringify(new URL(`../../src/persistence/data-directory${import.meta.url.slice(-3)}`, import.meta.url).href)});
    await holdDirectory(${JSON.stringify(directory)}, () => {}, 0).then(() => console.log('held'), (error) => console.log(error.message));`;
  const loader = import.meta.url.endsWith('.ts') ? ['--import', 'tsx'] : [];
  const child = spawn(process.execPath, [...loader, '--input-type=module', '-e', script], { uid: 65_534, gid: 65_534, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await once(child, 'close');
  if (/EACCES.*node_modules|ERR_MODULE_NOT_FOUND/.test(output)) return void t.pass('left out: that user cannot read this checkout');
  t.match(output, /^DATA_DIR \(.*\) cannot be closed to other users, and it holds secrets: EPERM/);
});

t.test('a database whose process was killed is taken over at once', { skip: process.platform === 'linux' ? false : 'needs abstract sockets' }, async (t) => {
  const directory = await newDirectory(t);
  const first = await startGatewayProcess(t, undefined, 'http://127.0.0.1:9', { DATA_DIR: directory });
  await first.end('SIGKILL');
  // A lease that ends in an hour: only its holder's death can free it.
  const later = new Date(Date.now() + 3_600_000);
  await utimes(join(directory, '.lock'), later, later);
  const second = await openEmbedded(directory);
  t.equal(await second.prisma.userConnection.count(), 0);
  await second.close();
});

t.test('a process that is only paused keeps its database, however old its lease is', { skip: process.platform === 'linux' ? false : 'needs abstract sockets' }, async (t) => {
  const directory = await newDirectory(t);
  const gateway = await startGatewayProcess(t, undefined, 'http://127.0.0.1:9', { DATA_DIR: directory });
  process.kill(gateway.pid, 'SIGSTOP');
  await utimes(join(directory, '.lock'), new Date(0), new Date(0));
  await t.rejects(holdDirectory(directory, () => {}, 1), /in use by another process/);
  process.kill(gateway.pid, 'SIGCONT');
});

t.test('once the directory is lost no query is answered, and nothing more is written', async (t) => {
  const directory = await newDirectory(t);
  const losses: Error[] = [];
  const held = await holdDirectory(directory, (error) => losses.push(error));
  const pglite = await PGlite.create('memory://');
  const database = embeddedDatabase(pglite, held);
  await applyMigrations(database);
  const write = (key: string) => database.prisma.userConnection.create({ data: { identity: 'ada', key, platform: 'gmail', environment: 'test' } });
  await write('before');
  // As a host that shares the volume does when the lease has run out.
  await writeFile(join(directory, '.holder'), JSON.stringify({ id: 'another', host: 'elsewhere', pid: 1 }));
  await until(() => losses.length > 0);
  const refusal = await write('after').catch((error: unknown) => error);
  t.ok(isDatabaseUnavailable(refusal), String(refusal));
  await t.rejects(database.ping());
  await t.rejects(database.prisma.$transaction(async (tx) => tx.userConnection.count()));
  await database.close();
  t.equal(pglite.closed, false, 'closing would have written a checkpoint');
  t.equal(losses.length, 1);
  await pglite.close().catch(() => {});
});

t.test('a gateway that loses its database answers 503 and exits with 1', async (t) => {
  const directory = await newDirectory(t);
  const gateway = await startGatewayProcess(t, undefined, 'http://127.0.0.1:9', { DATA_DIR: directory, CONNECTION_VERIFICATION: 'off' });
  await writeFile(join(directory, '.holder'), JSON.stringify({ id: 'another', host: 'elsewhere', pid: 1 }));
  const statuses: number[] = [];
  await until(async () => {
    const answer = await gateway.request('POST', '/api-keys', { name: `k${statuses.length}`, scopes: ['proxy'] }).catch(() => undefined);
    if (answer) statuses.push(answer.status);
    return answer === undefined;
  }, 60_000);
  t.same([...new Set(statuses)].filter((status) => status !== 201 && status !== 503), []);
  await until(() => !gateway.alive());
  t.equal(gateway.exitCode(), 1);
  t.match(gateway.log.join('\n'), /taken over by another process/);
});
