import { randomUUID } from 'node:crypto';
import t from 'tap';
import { createRetention, createSweeps, retentionLock, type Sweep } from '../../src/persistence/retention.js';
import { openTestDatabase } from '../helpers/database.js';

const ago = (days: number) => new Date(Date.now() - days * 86_400_000);
const identity = { identity: 'ada', identityType: 'user' };

t.test('what is over goes, and what is not stays', async (t) => {
  const { prisma, tryLock } = await openTestDatabase(t);
  const key = (id: string, more: object) => ({ id, name: id.slice(0, 1), digest: randomUUID(), hint: '…', scopes: [], ...more });
  const ids = Object.fromEntries(['dead', 'recent', 'expired', 'living', 'parent', 'child', 'rotated', 'successor'].map((name) => [name, randomUUID()])) as Record<string, string>;
  await prisma.apiKey.createMany({ data: [
    key(ids['dead']!, { revokedAt: ago(91) }), key(ids['recent']!, { revokedAt: ago(89) }), key(ids['expired']!, { expiresAt: ago(91) }), key(ids['living']!, { expiresAt: ago(-1) }),
    key(ids['parent']!, { revokedAt: ago(91) }), key(ids['child']!, { createdBy: ids['parent'] }),
    key(ids['rotated']!, { revokedAt: ago(91) }), key(ids['successor']!, { rotatedFrom: ids['rotated'] }),
  ] });
  const session = (name: string, expiresAt: Date) => ({ digest: name, ...identity, expiresAt });
  await prisma.authkitSession.createMany({ data: [session('over', ago(0.01)), session('open', ago(-0.01))] });
  const write = (name: string, expiresAt: Date) => ({ owner: 'user:ada', key: name, claim: randomUUID(), fingerprint: 'f', state: 'answered', leaseUntil: expiresAt, expiresAt });
  await prisma.idempotencyKey.createMany({ data: [write('over', ago(0.01)), write('open', ago(-0.01))] });
  const hook = (name: string, active: boolean) => prisma.webhook.create({ data: { url: `https://${name}.example.com`, secret: 's', active, previousSecret: 'p', previousSecretUntil: ago(active ? 1 : -1) } });
  const [on, off] = [await hook('on', true), await hook('off', false)];
  const event = async (type: string, days: number, deliveries: { webhookId: string; status: string }[] = []) => {
    const { id, sequence, connectionId } = await prisma.webhookEvent.create({ data: { type, connectionId: randomUUID(), data: {}, createdAt: ago(days) } });
    await prisma.webhookDelivery.createMany({ data: deliveries.map((each) => ({ ...each, eventId: id, connectionId, sequence })) });
  };
  await event('old, delivered', 31, [{ webhookId: on.id, status: 'delivered' }]);
  await event('old, parked', 31, [{ webhookId: on.id, status: 'parked' }]);
  await event('old, for nobody', 31);
  await event('old, waiting for a webhook that is off', 31, [{ webhookId: off.id, status: 'pending' }]);
  await event('old, waiting', 31, [{ webhookId: on.id, status: 'pending' }]);
  await event('young', 29, [{ webhookId: on.id, status: 'delivered' }]);

  const said: unknown[] = [];
  const retention = createRetention({ sweeps: createSweeps(prisma, { webhooks: 30 }), tryLock: () => tryLock(retentionLock), log: ({ table, deleted, done }) => said.push([table, deleted, done]) });
  await retention.run(new AbortController().signal);

  t.same((await prisma.webhookEvent.findMany()).map(({ type }) => type).sort(), ['old, waiting', 'young']);
  t.equal(await prisma.webhookDelivery.count(), 2, 'deliveries go with their event');
  t.same((await prisma.authkitSession.findMany()).map(({ digest }) => digest), ['open']);
  t.same((await prisma.idempotencyKey.findMany()).map(({ key: name }) => name), ['open']);
  const left = new Set((await prisma.apiKey.findMany()).map(({ id }) => id));
  t.same(Object.keys(ids).filter((name) => !left.has(ids[name]!)), ['dead', 'expired'], 'a key that made a living one, or was rotated into one, is still found');
  t.same((await prisma.webhook.findMany({ orderBy: { url: 'asc' } })).map(({ previousSecret }) => previousSecret), ['p', null], 'a secret is kept until it stops signing');
  t.same(said, [['idempotency_keys', 1, true], ['authkit_sessions', 1, true], ['webhook_events', 4, true], ['api_keys', 2, true], ['webhooks (previous secrets)', 1, true]]);
});

t.test('a hundred thousand rows go in batches, oldest first, while new ones arrive', async (t) => {
  const { prisma, tryLock } = await openTestDatabase(t);
  await prisma.$executeRaw`
    INSERT INTO webhook_events (id, type, connection_id, data, created_at)
    SELECT gen_random_uuid(), 'connection.updated', gen_random_uuid(), '{}', now() - interval '40 days' - n * interval '1 second' FROM generate_series(1, 100000) n`;
  await prisma.webhookEvent.create({ data: { type: 'young', connectionId: randomUUID(), data: {} } });
  const [events] = createSweeps(prisma, { webhooks: 30 }).filter(({ table }) => table === 'webhook_events');
  t.equal(await events!.remove(10), 10);
  const [{ oldest }] = await prisma.$queryRaw<[{ oldest: number }]>`SELECT (extract(epoch FROM now() - min(created_at) - interval '40 days') / 10)::int AS oldest FROM webhook_events`;
  t.equal(oldest, 9_999, 'the ten oldest went');
  const batches: number[] = [];
  const counted: Sweep = { ...events!, remove: async (limit) => (batches.push(limit), events!.remove(limit)) };
  await createRetention({ sweeps: [counted], tryLock: () => tryLock(retentionLock), log: () => {} }).run(new AbortController().signal);
  t.equal(await prisma.webhookEvent.count(), 1);
  t.ok(batches.length > 19 && batches.every((limit) => limit <= 5_000), `${batches.length} statements`);
});

t.test('batches shrink when they are slow, grow when they are quick, and progress is told every ten seconds', async (t) => {
  let now = 0;
  let left = 20_000;
  const limits: number[] = [];
  const told: number[] = [];
  const slow: Sweep = {
    table: 'slow',
    remove: async (limit) => {
      limits.push(limit);
      now += limits.length < 3 ? 50 : limits.length < 5 ? 600 : 3_000;
      const count = Math.min(limit, left);
      left -= count;
      return count;
    },
  };
  await createRetention({
    sweeps: [slow], tryLock: async () => ({ lost: new AbortController().signal, release: async () => {} }), log: ({ deleted }) => told.push(deleted), clock: () => now,
  }).run(new AbortController().signal);
  t.same(limits.slice(0, 9), [500, 1_000, 2_000, 1_000, 500, 250, 125, 62, 31]);
  t.ok(limits.every((limit) => limit >= 10));
  t.equal(told.at(-1), 20_000);
  t.ok(told.length > 10);
});

t.test('one replica at a time deletes, and it stops when it is told to or loses the lock', async (t) => {
  const endless = (onBatch: () => void): Sweep => ({ table: 'endless', remove: async (limit) => (onBatch(), limit) });
  let batches = 0;
  await createRetention({ sweeps: [endless(() => (batches += 1))], tryLock: async () => undefined, log: () => {} }).run(new AbortController().signal);
  t.equal(batches, 0, 'another replica holds the lock');

  for (const which of ['the signal', 'the lock'] as const) {
    const [signal, lost] = [new AbortController(), new AbortController()];
    let released = false;
    batches = 0;
    const retention = createRetention({
      sweeps: [endless(() => void ((batches += 1) === 3 && (which === 'the signal' ? signal : lost).abort()))],
      tryLock: async () => ({ lost: lost.signal, release: async () => void (released = true) }), log: () => {},
    });
    await retention.run(signal.signal);
    t.same([batches, released], [3, true], which);
  }
});
