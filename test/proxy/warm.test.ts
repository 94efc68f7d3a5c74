import { setTimeout as wait } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { openDatabase } from '../../src/persistence/database.js';
import { applyMigrations } from '../../src/persistence/migrate.js';
import { createPostgresDatabase, openTestDatabase, postgresUrl } from '../helpers/database.js';
import { type Gateway, startGateway } from '../helpers/gateway.js';
import { startOkUpstream, storeConnection } from '../helpers/upstream.js';

// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
// Their upstream has no vault.
const unverified = { CONNECTION_VERIFICATION: 'off' };

t.test('warm calls read no database; lastUsedAt is written on shutdown at the latest', async (t) => {
  const upstream = await startOkUpstream(t);
  const queries: string[] = [];
  const prisma = database.prisma.$extends({ query: { $allOperations: ({ operation, args, query }) => {
    queries.push(operation);
    return query(args);
  } } }) as unknown as typeof database.prisma;
  const gateway = await startGateway(t, upstream.url, {}, { ...database, prisma });
  const { id } = await storeConnection(gateway);
  const key = await gateway.createKey(['proxy'], { identity: 'ada' });
  t.equal((await gateway.request('GET', '/proxy/gmail/x', { key })).status, 200);
  queries.length = 0;
  const began = Date.now();
  for (let i = 0; i < 100; i += 1) t.equal((await gateway.request('GET', '/proxy/gmail/x', { key })).status, 200);
  // Every 2.5 seconds each of the two caches renews its entry behind the scenes.
  const renewals = 2 * Math.floor((Date.now() - began) / 2_500 + 1);
  t.ok(queries.filter((operation) => operation.startsWith('find')).length <= renewals);
  await gateway.app.close();
  const used = await database.prisma.$queryRawUnsafe<{ at: Date }[]>(
    `SELECT last_used_at AS at FROM user_connections WHERE id = '${id}' UNION ALL SELECT last_used_at FROM api_keys WHERE last_used_at IS NOT NULL`);
  t.equal(used.length, 2);
  for (const { at } of used) t.ok(Date.now() - at.getTime() < 60_000);
});

async function changesAreSeen(t: Test, one: Gateway, other: Gateway): Promise<void> {
  const ok = async (status: number, key: string, within = 1_000) => {
    const deadline = Date.now() + within;
    let answer = await other.request('GET', '/proxy/gmail/x', { key });
    while (answer.status !== status && Date.now() < deadline) {
      await wait(20);
      answer = await other.request('GET', '/proxy/gmail/x', { key });
    }
    t.equal(answer.status, status, answer.text);
  };
  const { id } = await storeConnection(one, 'gmail', 'eve');
  const key = await one.createKey(['proxy'], { identity: 'eve' });
  await ok(200, key);
  const saved = await one.request('POST', '/connections', {
    json: { identity: 'eve', platform: 'gmail', environment: 'test', key: 'test::gmail::default::0123456789abcdef0123456789abcdef|eve' },
  });
  t.equal(saved.status, 201);
  await ok(409, key);
  t.equal((await one.request('DELETE', `/connections/${saved.json.id}?upstream=false`)).status, 204);
  await ok(200, key);
  t.equal((await one.request('DELETE', `/connections/${id}?upstream=false`)).status, 204);
  await ok(404, key);
  await storeConnection(one, 'gmail', 'eve');
  await ok(200, key);
  const { rows } = (await one.request('GET', '/api-keys')).json;
  const { id: keyId } = rows.find((row: { identity: string | null }) => row.identity === 'eve');
  t.equal((await one.request('DELETE', `/api-keys/${keyId}`)).status, 204);
  await ok(401, key);
}

t.test('a change takes effect at once in its own process', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, upstream.url, unverified, database);
  await changesAreSeen(t, gateway, gateway);
});

t.test('and within a second in another replica', { skip: !postgresUrl && 'needs TEST_DATABASE_URL' }, async (t) => {
  const upstream = await startOkUpstream(t);
  const url = await createPostgresDatabase(t);
  const databases = await Promise.all([1, 2].map(() => openDatabase({ url, poolSize: 3, dataDir: undefined })));
  await applyMigrations(databases[0]!);
  const [one, other] = await Promise.all(databases.map((each) => startGateway(t, upstream.url, unverified, each)));
  t.teardown(() => Promise.all(databases.map((each) => each.close())));
  for (let i = 0; i < 100 && !databases.every((each) => each.invalidations.connected()); i += 1) await wait(20);
  await changesAreSeen(t, one!, other!);
});
