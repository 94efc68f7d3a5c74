import t from 'tap';
import { toProblem } from '../src/error-handler.js';
import { createPostgresDatabase, postgresUrl } from './helpers/database.js';
import { startGateway } from './helpers/gateway.js';
import { openDatabase } from '../src/persistence/database.js';
import { applyMigrations } from '../src/persistence/migrate.js';
import pg from 'pg';

t.test('a database that is away, full or slow is 503 with Retry-After; what nobody knows is a bare 500', async (t) => {
  const known = (error: object) => toProblem(Object.assign(new Error('x'), error) as never);
  const raw = (cause: object) => ({ code: 'P2010', meta: { driverAdapterError: { cause } } });
  for (const error of [
    { code: 'P1001' }, { code: 'P2024' }, ...['57P01', '57014', '25006'].map((originalCode) => raw({ originalCode })), raw({ kind: 'DatabaseNotReachable' }),
    { severity: 'FATAL', code: '57P03' }, { name: 'DriverAdapterError', cause: { originalCode: '57P01' } }, { message: 'Connection terminated unexpectedly' }, { message: 'Query read timeout' },
  ]) {
    t.match(known(error), { code: 'service_unavailable', status: 503, extras: { headers: { 'retry-after': '1' } } });
  }
  for (const error of [{}, { code: 'P2002' }, { code: 'ECONNRESET' }, raw({ originalCode: '42P01' }), { code: '57P01' }]) t.match(known(error), { code: 'internal_error', status: 500 });
});

t.test('while Postgres refuses connections every route is 503, and works again after', { skip: postgresUrl ? false : 'needs Postgres: set TEST_DATABASE_URL' }, async (t) => {
  const url = await createPostgresDatabase(t);
  const database = await openDatabase({ url, poolSize: 2, dataDir: undefined });
  t.teardown(() => database.close());
  await applyMigrations(database);
  const gateway = await startGateway(t, 'http://127.0.0.1:9', {}, database);
  const name = new URL(url).pathname.slice(1);
  const admin = new pg.Client({ connectionString: postgresUrl });
  await admin.connect();
  t.teardown(() => admin.end());
  const list = () => gateway.request('GET', '/connections');

  t.equal((await list()).status, 200);
  await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
  await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [name]);
  for (let call = 0; call < 5; call += 1) {
    const answer = await list();
    t.same([answer.status, answer.json.code], [503, 'service_unavailable']);
    t.notMatch(answer.text, /postgres|127\.0\.0\.1|Prisma/);
  }
  t.equal((await gateway.request('GET', '/readyz')).status, 503);
  await admin.query(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
  t.equal((await list()).status, 200);
});
