import t from 'tap';
import { openDatabase } from '../../src/persistence/database.js';
import { applyMigrations } from '../../src/persistence/migrate.js';
import { startCluster, withoutCluster } from '../helpers/cluster.js';
import { startGateway } from '../helpers/gateway.js';
import { startPgBouncer, withoutPgBouncer } from '../helpers/pgbouncer.js';
import { rootKey, secretKey } from '../helpers/gateway.js';
import { runProgram } from '../helpers/process.js';
import { until } from '../helpers/receiver.js';
import { storeConnection } from '../helpers/upstream.js';

t.setTimeout(300_000);

t.test('behind PgBouncer', { skip: withoutCluster || withoutPgBouncer }, async (t) => {
  const cluster = await startCluster(t, { timezone: 'Asia/Kolkata' });
  const directUrl = await cluster.createDatabase('authkit');
  const bouncer = await startPgBouncer(t, directUrl, { default_pool_size: '4' });

  await t.test('in transaction mode without DATABASE_DIRECT_URL nothing starts, and one line says why', async (t) => {
    for (const settings of [{}, { ignore_startup_parameters: 'statement_timeout,extra_float_digits,options,search_path' }, { server_round_robin: '1', default_pool_size: '1' }] as Record<string, string>[]) {
      const { url } = await startPgBouncer(t, directUrl, settings);
      await t.rejects(openDatabase({ url, poolSize: 2, dataDir: undefined }), /^DATABASE_URL leads to a transaction pooler .*set DATABASE_DIRECT_URL/, JSON.stringify(settings));
    }
    await t.rejects(openDatabase({ url: `${directUrl}?pgbouncer=true`, poolSize: 2, dataDir: undefined }), /^DATABASE_URL leads to a transaction pooler/);
    await t.rejects(openDatabase({ url: bouncer.url, directUrl: bouncer.url, poolSize: 2, dataDir: undefined }), /^DATABASE_DIRECT_URL leads to a transaction pooler too/);
    const program = runProgram(t, 'src/server.ts', { PICA_SECRET_KEY: secretKey, ADMIN_API_KEY: rootKey, DATABASE_URL: bouncer.url, LOG_LEVEL: 'silent' });
    t.equal(await program.exit, 1);
    t.match(program.output().trim(), /^authkit-gateway did not start: DATABASE_URL leads to a transaction pooler .*\.$/);
  });

  await t.test('in statement mode it is refused by name, and both URLs have to lead to one database', async (t) => {
    const { url } = await startPgBouncer(t, directUrl, { pool_mode: 'statement' });
    await t.rejects(openDatabase({ url, directUrl, poolSize: 2, dataDir: undefined }), /^The database at DATABASE_URL cannot be used: .*pool_mode = transaction/);
    await t.rejects(openDatabase({ url: bouncer.url, directUrl: cluster.url, poolSize: 2, dataDir: undefined }), /lead to different databases/);
  });

  await t.test('in session mode it needs no second URL', async (t) => {
    const { url } = await startPgBouncer(t, directUrl, { pool_mode: 'session' });
    const database = await openDatabase({ url, poolSize: 2, dataDir: undefined });
    t.teardown(() => database.close());
    t.equal(database.facts.pooler, 'session');
    await database.ping();
  });

  await t.test('in transaction mode with it, replicas serve, hear each other and share locks', async (t) => {
    const options = { url: bouncer.url, directUrl, poolSize: 6, dataDir: undefined };
    const [one, other] = [await openDatabase(options), await openDatabase(options)];
    t.teardown(() => Promise.all([one.close(), other.close()]));
    t.match(one.facts, { pooler: 'transaction', zone: 'UTC', schema: 'public' });
    await Promise.all([applyMigrations(one), applyMigrations(other)]);
    const gateways = [await startGateway(t, 'http://127.0.0.1:9', { CONNECTION_VERIFICATION: 'off' }, one), await startGateway(t, 'http://127.0.0.1:9', { CONNECTION_VERIFICATION: 'off' }, other)];
    await until(() => other.invalidations.connected() && one.invalidations.connected());

    const statuses = await Promise.all(Array.from({ length: 200 }, async (_, index) => {
      const gateway = gateways[index % 2]!;
      if (index % 4 === 0) await storeConnection({ database: gateway.database }, 'gmail', `user-${index % 7}`);
      return (await gateway.request('GET', `/connections?identity=user-${index % 7}&limit=${1 + index % 5}${index % 3 ? '&platform=gmail' : ''}`)).status;
    }));
    t.same([...new Set(statuses)], [200]);
    const key = await gateways[0]!.createKey(['connections:read']);
    const { json } = await gateways[0]!.request('GET', '/api-keys');
    t.equal((await gateways[1]!.request('GET', '/connections', { key })).status, 200);
    t.equal((await gateways[0]!.request('DELETE', `/api-keys/${json.rows[0].id}`)).status, 204);
    await until(async () => (await gateways[1]!.request('GET', '/connections', { key })).status === 401);

    const held = await one.tryLock(77);
    t.ok(held);
    t.equal(await other.tryLock(77), undefined);
    await held!.release();
    const again = await other.tryLock(77);
    t.ok(again, 'a lock that was released is free at once');
    await again!.release();
    const created = (await one.prisma.userConnection.findFirst({ orderBy: { createdAt: 'desc' } }))!.createdAt;
    t.ok(Math.abs(created.getTime() - Date.now()) < 120_000, 'on UTC through the pooler too');
    const [now] = await one.prisma.$queryRaw<{ zone: string }[]>`SELECT current_setting('TimeZone') AS zone`;
    t.equal(now!.zone, 'UTC');
  });

  await t.test('a schema of its own has to be the role\'s search_path there, and then works', async (t) => {
    await cluster.run('CREATE ROLE tenant LOGIN SUPERUSER');
    const direct = cluster.urlOf({ user: 'tenant', database: 'authkit', query: { schema: 'tenant_gateway' } });
    const { url } = await startPgBouncer(t, cluster.urlOf({ user: 'tenant', database: 'authkit' }));
    const options = { url, directUrl: direct, poolSize: 2, dataDir: undefined };
    await t.rejects(openDatabase(options), /ALTER ROLE … SET search_path = "tenant_gateway"/);
    await cluster.run('ALTER ROLE tenant SET search_path = tenant_gateway');
    const fresh = await startPgBouncer(t, cluster.urlOf({ user: 'tenant', database: 'authkit' }));
    const database = await openDatabase({ ...options, url: fresh.url });
    t.teardown(() => database.close());
    await applyMigrations(database);
    await storeConnection({ database });
    t.equal(await database.prisma.userConnection.count(), 1);
    t.same(await cluster.rows('SELECT count(*)::int AS n FROM tenant_gateway.user_connections', 'authkit'), [{ n: 1 }]);
  });
});
