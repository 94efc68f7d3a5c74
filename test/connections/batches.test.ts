import t, { type Test } from 'tap';
import { announceChanges } from '../../src/connections/cached-choice.js';
import { createConnectionStore, type NewConnection } from '../../src/connections/store.js';
import { localInvalidations } from '../../src/persistence/invalidations.js';
import { openTestDatabase, postgresUrl } from '../helpers/database.js';
import { storedFrom, vaultRow } from '../helpers/vault.js';

const ada = { identity: 'ada', identityType: 'user' as const };
const many = 1_200;

/** A store, and what it wrote for webhooks, in the order of their sequence. */
async function start(t: Test) {
  const { prisma } = await openTestDatabase(t);
  const listener = await prisma.webhook.create({ data: { url: 'https://app.example.com/', secret: 'unused' } });
  await prisma.webhook.create({ data: { url: 'https://other.example.com/', secret: 'unused', events: ['connection.deleted'] } });
  await prisma.webhook.create({ data: { url: 'https://off.example.com/', secret: 'unused', active: false } });
  const invalidations = localInvalidations();
  const told: string[] = [];
  invalidations.subscribe('connections', (news) => void told.push(String(news)));
  const store = announceChanges(createConnectionStore(prisma), invalidations);
  const events = async () => (await prisma.webhookEvent.findMany({ orderBy: { sequence: 'asc' } }));
  const deliveries = async () => (await prisma.webhookDelivery.findMany({ orderBy: { sequence: 'asc' } }));
  return { prisma, store, events, deliveries, listener, told };
}

const fresh = (count: number, identity = 'ada'): NewConnection[] => Array.from({ length: count }, () => storedFrom(vaultRow(identity)));

t.test('many connections are stored as one after the other would be: rows and events in their order, each once', async (t) => {
  const { prisma, store, events, deliveries, listener, told } = await start(t);
  const wanted = fresh(many).map((row, index) => ({ ...row, name: index % 2 ? null : `Ünï "${index}" \\ ${index}`, tags: index % 3 ? [] : ['a,b', '{c}', `"${index}"`] }));
  // In no order of their keys.
  wanted.sort((one, next) => one.key.slice(-2).localeCompare(next.key.slice(-2)) || one.key.localeCompare(next.key));
  const [taken] = fresh(1, 'bob');
  await store.create({ ...taken!, key: wanted[7]!.key });
  told.length = 0;

  const created = await store.createAll(wanted);
  const stored = wanted.filter((_, index) => index !== 7);
  t.same(created.map(({ key }) => key), stored.map(({ key }) => key), 'all but the one that was stored before');
  t.match(told, [/ user:ada$/], 'caches hear of the owner once');
  const rows = (await prisma.userConnection.findMany({ where: ada, orderBy: [{ createdAt: 'desc' }, { id: 'desc' }] })).reverse();
  t.same(rows, created, 'what was answered is what is there, the first one first');
  t.same(rows.map(({ name, tags, key }) => ({ name, tags, key })), stored.map(({ name, tags, key }) => ({ name, tags, key })));
  t.match(created[0]!.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);

  const [, ...written] = await events();
  t.same(written.map(({ connectionId }) => connectionId), created.map(({ id }) => id));
  t.match(written[0], { type: 'connection.created', data: { id: created[0]!.id, state: 'operational' } });
  t.notMatch(JSON.stringify(written.map(({ data }) => data)), /::/, 'no key');
  const sent = await deliveries();
  t.same(sent.slice(1).map(({ eventId, sequence, connectionId }) => ({ eventId, sequence, connectionId })), written.map(({ id, sequence, connectionId }) => ({ eventId: id, sequence, connectionId })));
  t.ok(sent.every(({ webhookId }) => webhookId === listener.id), 'to who wants them');
  t.same(await store.createAll([]), []);
});

t.test('many states change at once, but not those of rows that have changed since', async (t) => {
  const { store, events, told } = await start(t);
  const created = await store.createAll(fresh(6));
  const [a, b, c, d, e, f] = created.map(({ id }) => id) as [string, string, string, string, string, string];
  await store.update(b, ada, { state: 'degraded' });
  await store.update(c, ada, { identity: 'bob' });
  await store.remove(d);
  const before = (await events()).length;
  told.length = 0;
  const changed = await store.takeStates(created.map((row) => ({ row, state: row.id === f ? 'unknown' : 'failed', stateReason: row.id === f ? null : 'not_in_vault' })));
  t.same(changed.map(({ id, state, stateReason }) => ({ id, state, stateReason })), [
    { id: a, state: 'failed', stateReason: 'not_in_vault' }, { id: e, state: 'failed', stateReason: 'not_in_vault' }, { id: f, state: 'unknown', stateReason: null },
  ]);
  for (const row of changed) t.same(await store.find(row.id, ada), row);
  t.same(told.map((news) => news.split(' ')[0]), [a, e, f]);
  const written = (await events()).slice(before);
  t.match(written, [
    { type: 'connection.state_changed', connectionId: a, data: { previousState: 'operational', stateReason: 'not_in_vault' } },
    { type: 'connection.state_changed', connectionId: e }, { type: 'connection.state_changed', connectionId: f },
  ]);
  t.equal(written.length, 3);
});

t.test('a connection that was just replaced by another key is not stored again', async (t) => {
  const { store, events } = await start(t);
  const [old, next, other] = fresh(3) as [NewConnection, NewConnection, NewConnection];
  const current = (await store.create(old))!;
  await store.replaceKey(current, ada, { key: next.key, state: 'operational' }, new Date(0));
  const before = (await events()).length;
  t.match(await store.createAll([old, other]), [{ key: other.key }]);
  t.equal(await store.findByKey(old.key), undefined);
  t.equal((await events()).length, before + 1);
  t.match(await store.createAll([{ ...old, identity: 'bob' }]), [{ identity: 'bob' }], 'another identity\'s may have that key');
});

t.test('batches that meet wait for each other', { skip: postgresUrl ? false : 'needs TEST_DATABASE_URL: the embedded database has one connection' }, async (t) => {
  const { prisma, store, events } = await start(t);
  const wanted = fresh(900);
  const created = (await Promise.all([store.createAll(wanted), store.createAll([...wanted].reverse()), store.createAll(shuffledOf(wanted))])).flat();
  t.equal(created.length, 900, 'each once');
  t.equal(await prisma.userConnection.count(), 900);
  t.equal((await events()).length, 900);

  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  let locked = () => {};
  const holding = new Promise<void>((resolve) => (locked = resolve));
  const first = created[0]!;
  const other = prisma.$transaction(async (tx) => {
    await tx.$executeRaw`SELECT 1 FROM user_connections WHERE id = ${first.id}::uuid FOR UPDATE`;
    locked();
    await held;
  }, { timeout: 60_000 });
  await holding;
  const changing = [store.takeStates(created.map((row) => ({ row, state: 'degraded', stateReason: null }))), store.takeStates(shuffledOf(created).map((row) => ({ row, state: 'degraded', stateReason: null })))];
  while (await prisma.userConnection.count({ where: { state: 'degraded' } }) < 899) await new Promise((resolve) => setTimeout(resolve, 20));
  release();
  await other;
  t.equal((await Promise.all(changing)).flat().length, 900, 'each once, the one that was locked too');
  t.equal((await events()).length, 1_800);
});

function shuffledOf<T>(all: readonly T[]): T[] {
  return [...all].sort(() => Math.random() - 0.5);
}
