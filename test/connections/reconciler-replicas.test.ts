import t from 'tap';
import { startSandbox } from '../../sandbox/start.js';
import { createProgressStore } from '../../src/connections/progress-store.js';
import { createConnectionStore } from '../../src/connections/store.js';
import { openDatabase } from '../../src/persistence/database.js';
import { applyMigrations } from '../../src/persistence/migrate.js';
import { createPostgresDatabase, postgresUrl } from '../helpers/database.js';
import { startGatewayProcess } from '../helpers/gateway-process.js';
import { until } from '../helpers/receiver.js';
import { fault, recordings, seed, settings } from '../helpers/sandbox.js';

t.setTimeout(300_000);
const skip = postgresUrl ? false : 'needs TEST_DATABASE_URL: replicas share a Postgres';
const names = Array.from({ length: 30 }, (_, index) => `user-${String(index).padStart(2, '0')}`);

t.test('of two processes one reconciles; killed in the middle, the other one goes on from there', { skip }, async (t) => {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  // A connection on each page.
  await settings(sandbox.url, { maxPageSize: 1 });
  const databaseUrl = await createPostgresDatabase(t);
  const database = await openDatabase({ url: databaseUrl, poolSize: 2, dataDir: undefined });
  t.teardown(() => database.close());
  await applyMigrations(database);
  const store = createConnectionStore(database.prisma);
  for (const identity of names) {
    const { key } = await seed(sandbox.url, { identity, platform: 'gmail' });
    await store.create({ identity, identityType: 'user', key, platform: 'gmail', environment: 'test', state: 'operational', name: null, tags: [] });
  }
  const slow = (ms: number) => fault(sandbox.url, { path: '/v1/vault', kind: 'delay', ms, times: 10_000 });
  await slow(3_000);
  const progress = createProgressStore(database.prisma);
  const reached = async () => (await progress.read())?.progress.identities ?? 0;
  const asked = async () => (await recordings(sandbox.url, '/v1/vault')).map(({ url }) => Number(new URL(url, 'http://x').searchParams.get('page') ?? 1));
  const runsOf = (log: string[]) => log.filter((line) => line.includes('"reconciler run"')).map((line) => JSON.parse(line));

  const env = { RECONCILE_INTERVAL_MS: '3000', RECONCILE_RATE_SHARE: '1' };
  const one = await startGatewayProcess(t, databaseUrl, sandbox.url, env);
  await until(async () => await reached() >= 1, 30_000);
  const other = await startGatewayProcess(t, databaseUrl, sandbox.url, env);
  const late = await reached();
  await fetch(`${sandbox.url}/__control/faults`, { method: 'DELETE' });
  await slow(300);
  await until(async () => await reached() >= late + 4);
  t.same(runsOf(other.log), [], 'the other one keeps out');
  const before = await asked();
  t.equal(new Set(before).size, before.length, 'no page was read twice');

  await one.end('SIGKILL');
  const killedAt = Date.now();
  const left = names.length - await reached();
  t.ok(left > 0, `${left} are left`);
  await until(() => runsOf(other.log).length > 0, 60_000);
  t.ok(Date.now() - killedAt < 60_000, 'within a minute');
  t.match(runsOf(other.log)[0], { outcome: 'finished', resumed: true, identities: left }, 'it began where the dead one was');
  t.same([...new Set(await asked())].sort((one, next) => one - next), names.map((_, index) => index + 1), 'and no page was left out');
  const lag = await (await fetch(`${other.url}/metrics`)).text();
  t.match(lag, /reconciler_oldest_comparison_timestamp_seconds 1\d{9}/);
});
