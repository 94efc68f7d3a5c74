import t from 'tap';
import { openDatabase } from '../../src/persistence/database.js';
import { applyMigrations } from '../../src/persistence/migrate.js';
import { startCluster, withoutCluster } from '../helpers/cluster.js';
import { startForwarder } from '../helpers/forwarder.js';
import { type Gateway, startGateway } from '../helpers/gateway.js';

t.setTimeout(300_000);

const calls: [string, string, unknown?][] = [
  ['GET', '/connections'], ['POST', '/authkit/sessions', { identity: 'ada' }], ['POST', '/connections/sync?all=true'], ['POST', '/webhooks', { url: 'https://example.com/x' }],
  ['POST', '/connections', { user_id: 'ada', platform: 'gmail', connection_key: `test::gmail::default::${'ab'.repeat(16)}`, environment: 'test' }],
];

function codes(gateway: Gateway): Promise<string[]> {
  return Promise.all(calls.map(async ([method, path, json]) => {
    const { status, headers, json: problem, text } = await gateway.request(method, path, json === undefined ? {} : { json });
    return status < 400 ? 'ok' : `${status} ${problem?.code ?? text} ${headers.get('retry-after')}`;
  }));
}
const every = (answer: string) => calls.map(() => answer);

t.test('a database that is away, silent or read-only is 503 on every route, and used again after', { skip: withoutCluster }, async (t) => {
  const cluster = await startCluster(t);
  await cluster.createDatabase('authkit');
  const forwarder = await startForwarder(t, cluster.urlOf({ database: 'authkit' }));
  const database = await openDatabase({ url: forwarder.url, poolSize: 3, dataDir: undefined });
  t.teardown(() => database.close());
  await applyMigrations(database);
  const gateway = await startGateway(t, 'http://127.0.0.1:9', { CONNECTION_VERIFICATION: 'off' }, database);
  const ready = async () => (await gateway.request('GET', '/readyz')).json;
  // The first time, what is said has to be seen: a connection exists from now on.
  const works = async () => {
    t.notOk((await codes(gateway)).some((answer) => answer.startsWith('5') && !answer.includes('upstream')), 'works');
    t.equal((await ready()).status, 'ready');
  };
  await works();

  await t.test('connections are cut and refused', async (t) => {
    await forwarder.cut();
    for (let round = 0; round < 2; round += 1) t.same(await codes(gateway), every('503 service_unavailable 1'));
    t.same((await ready()).checks.database, { status: 'failed', detail: 'does not answer' });
    await forwarder.restore();
  });
  await works();

  await t.test('it takes requests and never answers: each ends by our own limit, and so does a lock that was held', async (t) => {
    const held = (await database.tryLock(9))!;
    forwarder.stall();
    const lost = new Promise((resolve) => held.lost.addEventListener('abort', resolve));
    t.same(await codes(gateway), every('503 service_unavailable 1'));
    t.equal((await ready()).status, 'unavailable');
    await lost;
    await held.release();
    await forwarder.restore();
  });
  await works();

  await t.test('it takes no writes any more', async (t) => {
    await cluster.run('ALTER SYSTEM SET default_transaction_read_only = on', 'SELECT pg_reload_conf()');
    while ((await ready()).status === 'ready');
    const answers = await codes(gateway);
    t.equal(answers[0], 'ok', 'reads are answered');
    t.same([...new Set([answers[1], answers[3], answers[4]])], ['503 service_unavailable 1']);
    t.same((await ready()).checks.database, { status: 'failed', detail: 'takes no writes (read-only or a standby)' });
    await cluster.run('ALTER SYSTEM RESET default_transaction_read_only', 'SELECT pg_reload_conf()');
    while ((await ready()).status !== 'ready');
  });
  await works();

  await t.test('a stop does not wait for a server that is silent', async () => {
    const other = await openDatabase({ url: forwarder.url, poolSize: 3, dataDir: undefined });
    await other.ping();
    other.invalidations.start();
    const held = (await other.tryLock(10))!;
    forwarder.stall();
    await held.release();
    await other.close();
    await forwarder.restore();
  });
});

t.test('of several hosts the one that takes writes is used, and found again when the roles change', { skip: withoutCluster }, async (t) => {
  const clusters = [await startCluster(t), await startCluster(t)];
  const readOnly = async (which: number, on: boolean) => {
    await clusters[which]!.run(`ALTER SYSTEM SET default_transaction_read_only = ${on ? 'on' : 'off'}`, 'SELECT pg_reload_conf()');
    while ((await clusters[which]!.rows<{ value: string }>('SELECT current_setting(\'default_transaction_read_only\') AS value'))[0]!.value !== (on ? 'on' : 'off'));
  };
  for (const { url } of clusters) {
    const one = await openDatabase({ url, poolSize: 1, dataDir: undefined });
    await applyMigrations(one);
    await one.close();
  }
  await readOnly(0, true);
  const url = `postgres://postgres@127.0.0.1:${clusters[0]!.port},127.0.0.1:${clusters[1]!.port}/postgres?target_session_attrs=read-write`;
  const database = await openDatabase({ url, poolSize: 4, dataDir: undefined });
  t.teardown(() => database.close());
  const write = () => database.prisma.$transaction(async (tx) => {
    await tx.reconcilerProgress.deleteMany();
    return (await tx.$queryRaw<{ port: number }[]>`SELECT current_setting('port')::int AS port`)[0]!.port;
  });
  t.same([...new Set(await Promise.all([write(), write(), write(), write()]))], [clusters[1]!.port]);
  await readOnly(1, true);
  await readOnly(0, false);
  await t.rejects(write(), /read-only transaction/);
  t.same([...new Set(await Promise.all([write(), write(), write(), write()]))], [clusters[0]!.port], 'one failure, and every session is a new one');
  await clusters[0]!.stop('fast');
  await readOnly(1, false);
  let port: number | undefined;
  while (port !== clusters[1]!.port) port = await write().catch(() => undefined);
  t.equal(port, clusters[1]!.port);
});
