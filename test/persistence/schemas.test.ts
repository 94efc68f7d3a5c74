import t from 'tap';
import { type Database, openDatabase } from '../../src/persistence/database.js';
import { channelOf } from '../../src/persistence/postgres-invalidations.js';
import { applyMigrations, pendingMigrations } from '../../src/persistence/migrate.js';
import { startCluster, withoutCluster } from '../helpers/cluster.js';
import { startGateway } from '../helpers/gateway.js';
import { until } from '../helpers/receiver.js';

t.setTimeout(300_000);

t.test('the schema that the URL or the role says is used everywhere', { skip: withoutCluster }, async (t) => {
  const cluster = await startCluster(t);
  await cluster.run('CREATE ROLE app LOGIN SUPERUSER', 'CREATE DATABASE authkit');
  const open = async (t: { teardown(f: () => unknown): unknown }, user: string, query: Record<string, string> = {}): Promise<Database> => {
    const database = await openDatabase({ url: cluster.urlOf({ user, database: 'authkit', query }), poolSize: 3, dataDir: undefined });
    t.teardown(() => database.close());
    return database;
  };
  const tablesIn = async (schema: string) => (await cluster.rows<{ n: number }>(`SELECT count(*)::int AS n FROM pg_tables WHERE schemaname = '${schema}'`, 'authkit'))[0]!.n;
  /** Every kind of route: the client's, raw queries, transactions with events. */
  const works = async (database: Database) => {
    const gateway = await startGateway(t, 'http://127.0.0.1:9', { CONNECTION_VERIFICATION: 'off' }, database);
    const key = `test::gmail::default::${'0123456789abcdef'.repeat(2)}`;
    t.equal((await gateway.request('POST', '/webhooks', { json: { url: 'https://example.com/hook' } })).status, 201);
    t.equal((await gateway.request('POST', '/connections', { json: { user_id: 'ada', platform: 'gmail', connection_key: key, environment: 'test' } })).status, 201);
    const list = await gateway.request('GET', '/connections?identity=ada');
    t.equal(list.json.rows.length, 1);
    t.equal((await gateway.request('PATCH', `/connections/${list.json.rows[0].id}`, { json: { name: 'x' } })).status, 200);
    t.equal((await gateway.request('POST', '/authkit/sessions', { json: { identity: 'ada' } })).status, 201);
    t.equal((await gateway.request('GET', '/readyz')).status, 200);
  };

  await t.test('?schema=, which is made when it is not there', async (t) => {
    const database = await open(t, 'postgres', { schema: 'My odd' });
    t.equal(database.facts.schema, 'My odd');
    t.ok((await pendingMigrations(database)).length > 0);
    await applyMigrations(database);
    t.same(await applyMigrations(database), []);
    t.same(await pendingMigrations(database), []);
    t.equal(await tablesIn('public'), 0);
    await works(database);
  });

  await t.test('a schema named after the role', async (t) => {
    await cluster.rows('CREATE SCHEMA app', 'authkit');
    const database = await open(t, 'app');
    t.equal(database.facts.schema, 'app');
    await applyMigrations(database);
    t.ok(await tablesIn('app') > 5);
    t.equal(await tablesIn('public'), 0);
    await works(database);
  });

  await t.test('options=-c search_path=', async (t) => {
    await cluster.rows('CREATE SCHEMA third', 'authkit');
    const database = await open(t, 'postgres', { options: '-c search_path=third,public' });
    t.equal(database.facts.schema, 'third');
    await applyMigrations(database);
    await works(database);
    await t.rejects(open(t, 'postgres', { options: '-c search_path=nowhere' }), /^No schema of the search_path \(nowhere\)/);
  });

  await t.test('tables that are already in public stay in use when a schema named after the role appears', async (t) => {
    await cluster.run('CREATE ROLE late LOGIN SUPERUSER', 'CREATE DATABASE grown');
    const url = cluster.urlOf({ user: 'late', database: 'grown' });
    const before = await openDatabase({ url, poolSize: 2, dataDir: undefined });
    await applyMigrations(before);
    await before.close();
    await cluster.rows('CREATE SCHEMA late', 'grown');
    const database = await openDatabase({ url, poolSize: 2, dataDir: undefined });
    t.teardown(() => database.close());
    t.equal(database.facts.schema, 'public');
    t.same(await applyMigrations(database), []);
    t.equal(await database.prisma.userConnection.count(), 0);
  });

  await t.test('two schemas of one database share no lock and hear nothing of each other', async (t) => {
    const [one, other, same] = [await open(t, 'app'), await open(t, 'postgres', { schema: 'third' }), await open(t, 'app')];
    const held = [await one.tryLock(5), await other.tryLock(5)];
    t.ok(held.every(Boolean));
    t.equal(await same.tryLock(5), undefined);
    await Promise.all(held.map((lock) => lock!.release()));

    const heard: unknown[] = [];
    for (const database of [other, same]) database.invalidations.start();
    await until(() => other.invalidations.connected() && same.invalidations.connected());
    other.invalidations.subscribe('keys', (news) => news && t.fail(`heard ${news} of another schema`));
    same.invalidations.subscribe('keys', (news) => heard.push(news));
    await one.invalidations.publish('keys', 'first');
    await until(() => heard.includes('first'));
    t.not(channelOf('a'), channelOf('b'));
  });
});
