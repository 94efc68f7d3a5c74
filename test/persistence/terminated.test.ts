import { randomBytes } from 'node:crypto';
import t from 'tap';
import { openDatabase } from '../../src/persistence/database.js';
import { startForwarder } from '../helpers/forwarder.js';
import { startCluster, withoutCluster } from '../helpers/cluster.js';
import { startGatewayProcess } from '../helpers/gateway-process.js';
import { until } from '../helpers/receiver.js';

t.setTimeout(300_000);

t.test('a session that is terminated in the moment it is lent on ends no process', { skip: withoutCluster }, async (t) => {
  const cluster = await startCluster(t);
  const forwarder = await startForwarder(t, cluster.url);
  const database = await openDatabase({ url: forwarder.url, poolSize: 1, dataDir: undefined });
  t.teardown(() => database.close());
  await database.ping();
  // The end of one query and the server's farewell arrive in one piece, while a transaction waits for the connection.
  forwarder.hold();
  // Prisma's queries begin when they are waited for.
  const first = database.prisma.$queryRaw`SELECT 1`.then(() => 'answered');
  const second = database.prisma.$transaction((tx) => tx.$queryRaw`SELECT 2`).then(() => 'answered', () => 'failed');
  await forwarder.held((bytes) => bytes.length > 0);
  await cluster.rows('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = \'authkit-gateway\'');
  await forwarder.held((bytes) => bytes.includes('57P01'));
  forwarder.flush();
  t.equal(await first, 'answered');
  t.match(await second, /answered|failed/);
  await database.ping();
});

t.test('terminated sessions and a restart of the server cost requests, never the process', { skip: withoutCluster }, async (t) => {
  const cluster = await startCluster(t);
  const database = await cluster.createDatabase('authkit');
  const gateway = await startGatewayProcess(t, database, 'http://127.0.0.1:9', { DATABASE_POOL_SIZE: '2', CONNECTION_VERIFICATION: 'off' });
  const statuses = new Map<number | string, number>();
  let writing = true;
  const writers = Array.from({ length: 16 }, async () => {
    while (writing) {
      const key = `test::gmail::default::${randomBytes(16).toString('hex')}`;
      const status = await gateway.request('POST', '/connections', { user_id: 'ada', platform: 'gmail', connection_key: key, environment: 'test' })
        .then((answer) => answer.status, (error: Error) => error.message);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
  });
  const written = () => statuses.get(201) ?? 0;
  const writesGoOn = async () => {
    const before = written();
    await until(() => written() > before + 16 || !gateway.alive(), 60_000);
  };

  for (let round = 0; round < 20 && gateway.alive(); round += 1) {
    await writesGoOn();
    await cluster.rows('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = \'authkit\'');
  }
  t.ok(gateway.alive(), 'alive after the terminations');
  if (gateway.alive()) {
    await cluster.stop('fast');
    t.equal((await gateway.request('GET', '/readyz')).status, 503);
    await cluster.start();
    await writesGoOn();
    await cluster.stop('immediate');
    await cluster.start();
    await writesGoOn();
  }
  writing = false;
  await Promise.all(writers);
  t.ok(gateway.alive());
  t.same([...statuses.keys()].filter((status) => status !== 201 && status !== 503), [], `nothing but 201 and 503: ${gateway.log.filter((line) => line.includes('internal_error')).join('\n')}`);
  await gateway.end('SIGTERM');
  t.equal(gateway.exitCode(), 0);
});
