import t from 'tap';
import { openDatabase } from '../../src/persistence/database.js';
import { applyMigrations } from '../../src/persistence/migrate.js';
import { parsePostgresUrl } from '../../src/persistence/postgres-url.js';
import { startCluster, withoutCluster } from '../helpers/cluster.js';
import { rootKey, secretKey } from '../helpers/gateway.js';
import { freePort, runProgram } from '../helpers/process.js';
import { until } from '../helpers/receiver.js';

t.setTimeout(300_000);

t.test('Postgres URLs are read as libpq reads them', async (t) => {
  const addresses = (url: string) => parsePostgresUrl(url).addresses.map(({ host, port }) => `${host} ${port}`);
  t.same(addresses('postgres://u:p@one:1,two,[::1]:3/x'), ['one 1', 'two 5432', '::1 3']);
  t.same(addresses('postgres:///x?host=/var/run/postgresql'), ['/var/run/postgresql 5432']);
  t.same(addresses('postgres://%2Fvar%2Frun:6000/x'), ['/var/run 6000']);
  t.same(addresses('postgresql://u@/x?host=one,two&port=7'), ['one 7', 'two 7']);
  t.same(addresses('postgres:///x'), []);
  for (const url of ['postgres://a:b:c/x', 'postgres://a:70000/x', 'postgres://u:%zz@a/x', 'postgres://one,two/x?port=1,2,3', 'mysql://a/x', 'postgres://a/x?schema=a%22b']) {
    t.throws(() => parsePostgresUrl(url), { message: /^(?:is|has) / }, url);
  }
  t.match(parsePostgresUrl('postgres://u:p%40@h/x?schema=s&sslmode=disable&statement_timeout=5'), { schema: 's', connectionString: /^postgres:\/\/u:p%40@host\/x\?sslmode=disable&statement_timeout=5/ });
});

t.test('what a start finds', { skip: withoutCluster }, async (t) => {
  const cluster = await startCluster(t);
  const url = await cluster.createDatabase('authkit');
  const env = { PICA_SECRET_KEY: secretKey, ADMIN_API_KEY: rootKey, PICA_BASE_URL: 'http://127.0.0.1:9' };

  await t.test('a Unix socket works like an address', async (t) => {
    const database = await openDatabase({ url: `postgres://postgres@/authkit?host=${cluster.directory}/socket&port=${cluster.port}`, poolSize: 2, dataDir: undefined });
    t.teardown(() => database.close());
    await applyMigrations(database);
    await database.ping();
  });

  await t.test('a database that is not UTF-8 is refused', async (t) => {
    const latin = await cluster.createDatabase('latin', 'ENCODING \'LATIN1\' TEMPLATE template0 LC_COLLATE \'C\' LC_CTYPE \'C\'');
    await t.rejects(openDatabase({ url: latin, poolSize: 1, dataDir: undefined }), /^The database at DATABASE_URL is encoded in LATIN1, .*ENCODING 'UTF8'/);
  });

  await t.test('a role that may not create tables is one line without a back-trace', async (t) => {
    await cluster.run('CREATE ROLE guest LOGIN', 'CREATE DATABASE locked');
    await cluster.rows('REVOKE CREATE ON SCHEMA public FROM PUBLIC', 'locked');
    for (const query of [{}, { schema: 'mine' }] as Record<string, string>[]) {
      const program = runProgram(t, 'src/db-migrate.ts', { DATABASE_URL: cluster.urlOf({ user: 'guest', database: 'locked', query }) });
      t.equal(await program.exit, 1);
      t.match(program.output().trim(), /^(?:migration \w+: )?permission denied for (?:schema public|database locked)[^\n]*$/);
    }
  });

  await t.test('one line says what is used; waiting for the migration lock is said, and a SIGTERM ends it at once', async (t) => {
    const holder = await openDatabase({ url, poolSize: 1, dataDir: undefined });
    t.teardown(() => holder.close());
    let release = (): void => {};
    const holding = holder.exclusively(4_711_001, () => new Promise<void>((resolve) => {
      release = resolve;
    }));
    const program = runProgram(t, 'src/server.ts', { ...env, DATABASE_URL: url, PORT: String(await freePort()) });
    await until(() => /waiting for the migration lock/.test(program.output()), 120_000);
    t.match(program.output(), /"engine":"postgres","version":"\d+[^"]*","zone":"UTC","encoding":"UTF8","schema":"public","pooler":"none"/);
    program.child.kill('SIGTERM');
    t.equal(await program.exit, 0, program.output());
    t.match(program.output(), /"msg":"stopped"/);
    t.notMatch(program.output(), /did not start|at SHUTDOWN_TIMEOUT_MS/);
    release();
    await holding;
  });
});
