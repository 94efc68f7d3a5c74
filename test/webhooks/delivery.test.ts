import t, { type Test } from 'tap';
import { createConnectionStore } from '../../src/connections/store.js';
import type { Database } from '../../src/persistence/database.js';
import { createSweeps } from '../../src/persistence/retention.js';
import { createDispatcher, type Dispatcher } from '../../src/webhooks/dispatcher.js';
import { createDeliveryQueue } from '../../src/webhooks/queue.js';
import { generateSecret } from '../../src/webhooks/secret.js';
import { createSender } from '../../src/webhooks/sender.js';
import { createWebhookService } from '../../src/webhooks/service.js';
import { createWebhookStore } from '../../src/webhooks/store.js';
import { waitAfter, waits } from '../../src/webhooks/waits.js';
import { openTestDatabase } from '../helpers/database.js';
import { startReceiver, until } from '../helpers/receiver.js';

let keys = 0;
const owner = { identity: 'ada', identityType: 'user' as const };

async function start(t: Test) {
  const database = await openTestDatabase(t);
  const connections = createConnectionStore(database.prisma);
  const webhooks = createWebhookStore(database.prisma);
  const receiver = await startReceiver(t);
  const register = () => webhooks.create({ url: receiver.url, events: [], description: null, secret: generateSecret() });
  const connect = async () => (await connections.create({
    ...owner, key: `test::gmail::default::${String(keys += 1).padStart(32, '0')}`, platform: 'gmail', environment: 'test', state: 'operational', name: null, tags: [],
  }))!;
  const rename = (id: string, name: string) => connections.update(id, owner, { name });
  return { database, connections, webhooks, receiver, register, connect, rename };
}

function dispatcherOn(t: Test, database: Database, schedule?: readonly number[], outcomes: string[] = []): Dispatcher {
  const dispatcher = createDispatcher({
    queue: createDeliveryQueue(database.prisma), send: createSender({ allowPrivate: true }), observe: (_, outcome) => void outcomes.push(outcome), onError: t.error,
    ...(schedule ? { schedule } : {}),
  });
  t.teardown(() => dispatcher.stop());
  return dispatcher;
}

/** Pumps until `condition` holds, as the clock of a running gateway would. */
async function pumpUntil(dispatcher: Dispatcher, condition: () => boolean | Promise<boolean>): Promise<void> {
  await until(async () => {
    await dispatcher.pump();
    return condition();
  });
}

t.test('a connection\'s events arrive in order, also past failures, and hold up no other connection', async (t) => {
  const { database, receiver, register, connect, rename } = await start(t);
  await register();
  const [slow, quick] = [await connect(), await connect()];
  for (const name of ['1', '2', '3']) {
    await rename(slow.id, name);
    await rename(quick.id, name);
  }
  let failures = 2;
  const accepted: { id: string; name: string | null }[] = [];
  receiver.answer = ({ event }, response) => {
    if (event.data.id === slow.id && failures > 0) {
      failures -= 1;
      return void response.writeHead(503).end();
    }
    accepted.push(event.data);
    response.writeHead(200).end('thanks');
  };
  await pumpUntil(dispatcherOn(t, database, [2, 2]), () => accepted.length === 8);
  const names = (id: string) => accepted.filter((event) => event.id === id).map(({ name }) => name);
  t.same(names(slow.id), [null, '1', '2', '3']);
  t.same(names(quick.id), [null, '1', '2', '3']);
  t.ok(accepted.findLastIndex(({ id }) => id === quick.id) < accepted.findIndex(({ id }) => id === slow.id), 'the other one was done before');
});

t.test('what fails to the end is parked and listed, lets the next one through, and is sent again by hand', async (t) => {
  const { database, webhooks, receiver, register, connect, rename } = await start(t);
  const webhook = await register();
  const connection = await connect();
  await rename(connection.id, 'later');
  receiver.answer = ({ event }, response) => void response.writeHead(event.type === 'connection.created' ? 500 : 200).end();
  const outcomes: string[] = [];
  const dispatcher = dispatcherOn(t, database, [0.05, 0.05], outcomes);
  await pumpUntil(dispatcher, () => outcomes.includes('delivered'));
  t.same(outcomes, ['failed', 'failed', 'parked', 'delivered']);

  const [parked, ...others] = await webhooks.deliveries(webhook.id, 'parked', undefined, 10);
  t.match(parked, { attempts: 3, lastStatus: 500, lastError: 'status', deliveredAt: null, event: { type: 'connection.created' } });
  t.equal(others.length, 0);
  t.equal(new Set(receiver.received.filter(({ event }) => event.type === 'connection.created').map(({ headers }) => headers['webhook-id'])).size, 1, 'one id for all attempts');

  receiver.answer = (_, response) => void response.writeHead(200).end();
  t.ok(await webhooks.retry(webhook.id, parked!.id));
  await pumpUntil(dispatcher, () => outcomes.length === 5);
  t.match(await webhooks.delivery(webhook.id, parked!.id), { status: 'delivered', lastStatus: 200 });
  t.notOk(await webhooks.retry(webhook.id, parked!.id), 'a delivered one is not sent again');
});

t.test('two dispatchers share the work: everything arrives once, in order per connection', async (t) => {
  const { database, receiver, register, connect, rename } = await start(t);
  await register();
  const connections = await Promise.all(Array.from({ length: 10 }, connect));
  for (const name of ['1', '2', '3', '4']) await Promise.all(connections.map(({ id }) => rename(id, name)));
  const [one, other]: [string[], string[]] = [[], []];
  const dispatchers = [dispatcherOn(t, database, undefined, one), dispatcherOn(t, database, undefined, other)];
  await until(async () => {
    await Promise.all(dispatchers.map((dispatcher) => dispatcher.pump()));
    return one.length + other.length >= 50;
  });
  t.equal(receiver.received.length, 50);
  for (const { id } of connections) {
    t.same(receiver.received.filter(({ event }) => event.data.id === id).map(({ event }) => event.data.name), [null, '1', '2', '3', '4']);
  }
});

t.test('a claim that nobody settles falls due again, and its late settling changes nothing', async (t) => {
  const { database, webhooks, register, connect } = await start(t);
  const webhook = await register();
  await connect();
  const dying = createDeliveryQueue(database.prisma, 3);
  const queue = createDeliveryQueue(database.prisma);
  const [lost] = await dying.claim(10, []);
  t.equal(lost?.attempts, 1);
  t.same(await queue.claim(10, []), [], 'claimed is claimed');
  t.same(await webhooks.retry(webhook.id, lost!.id), false, 'not even by hand');
  let taken = await queue.claim(10, []);
  await until(async () => (taken = taken.length > 0 ? taken : await queue.claim(10, [])).length > 0);
  t.match(taken, [{ id: lost!.id, attempts: 2 }]);
  await dying.failed(lost!, { status: 500, error: 'status' }, undefined);
  t.match(await webhooks.delivery(webhook.id, lost!.id), { status: 'pending' });
  await queue.delivered(taken[0]!, { status: 200, error: undefined });
  t.match(await webhooks.delivery(webhook.id, lost!.id), { status: 'delivered' });
});

t.test('receivers that never answer, however many, hold up no other one', async (t) => {
  const { database, webhooks, receiver, register, connect } = await start(t);
  const silent = await startReceiver(t, () => {});
  for (let count = 0; count < 20; count += 1) await webhooks.create({ url: `${silent.url}/${count}`, events: [], description: null, secret: generateSecret() });
  await register();
  await Promise.all(Array.from({ length: 12 }, connect));
  const dispatcher = createDispatcher({
    queue: createDeliveryQueue(database.prisma, 600), send: createSender({ allowPrivate: true, timeoutMs: 600_000 }), observe: () => {}, onError: t.error,
    graceMs: 0, concurrency: 32,
  });
  t.teardown(() => dispatcher.stop());
  await pumpUntil(dispatcher, () => receiver.received.length === 12);
  for (let count = 0; count < 20; count += 1) {
    const tried = silent.received.filter(({ path }) => path === `/${count}`).length;
    t.ok(tried >= 1 && tried <= 4, `${tried} at once to webhook ${count}`);
  }
});

t.test('silent receivers of any number take no slot of one that answers', async (t) => {
  const { database, webhooks, receiver, register, connect } = await start(t);
  const silent = await startReceiver(t, () => {});
  for (let count = 0; count < 70; count += 1) await webhooks.create({ url: `${silent.url}/${count}`, events: [], description: null, secret: generateSecret() });
  const first = await connect();
  const dispatcher = createDispatcher({
    queue: createDeliveryQueue(database.prisma, 600), send: createSender({ allowPrivate: true, timeoutMs: 600_000 }), observe: () => {}, onError: t.error,
    graceMs: 0, slowMs: 50,
  });
  t.teardown(() => dispatcher.stop());
  await pumpUntil(dispatcher, () => new Set(silent.received.map(({ path }) => path)).size === 70);
  await register();
  const later = await Promise.all(Array.from({ length: 5 }, connect));
  await pumpUntil(dispatcher, () => receiver.received.length === 5);
  t.same(receiver.received.map(({ event }) => event.data.id).sort(), later.map(({ id }) => id).sort());
  t.ok(silent.received.length <= 64 + 70 + 32, `${silent.received.length} attempts wait`);
  t.ok(silent.received.every(({ event }) => event.data.id !== undefined) && first.id);
});

t.test('a claim is renewed while its attempt goes on, and falls due soon after its process has died', async (t) => {
  const { database, webhooks, receiver, register, connect } = await start(t);
  const webhook = await register();
  await connect();
  receiver.answer = () => {};
  const dispatcher = createDispatcher({
    queue: createDeliveryQueue(database.prisma, 4), send: createSender({ allowPrivate: true, timeoutMs: 600_000 }), observe: () => {}, onError: t.error, graceMs: 0,
  });
  t.teardown(() => dispatcher.stop());
  await dispatcher.pump();
  const due = async () => (await database.prisma.webhookDelivery.findFirstOrThrow({ where: { webhookId: webhook.id } })).nextAttemptAt.getTime();
  const claimed = await due();
  await until(async () => await due() > claimed + 4_000, 60_000);
  t.equal(receiver.received.length, 1, 'nobody else has sent it');
  t.match(await webhooks.deliveries(webhook.id, 'pending', undefined, 10), [{ attempts: 1 }]);
});

t.test('a receiver that answers 410 Gone is switched off, and says so; what waits is sent when it is switched on again', async (t) => {
  const { database, receiver, register, connect, rename } = await start(t);
  const webhook = await register();
  const service = createWebhookService(createWebhookStore(database.prisma), { allowPrivate: true });
  const connection = await connect();
  await rename(connection.id, 'later');
  receiver.answer = (_, response) => void response.writeHead(410).end();
  const outcomes: string[] = [];
  const dispatcher = dispatcherOn(t, database, undefined, outcomes);
  await pumpUntil(dispatcher, () => outcomes.length > 0);
  t.same(outcomes, ['gone']);
  t.match(await service.get(webhook.id), { active: false, inactiveReason: 'gone' });
  t.match(await service.deliveries(webhook.id, 'pending', undefined, 10), { rows: [{ attempts: 0 }, { attempts: 1, lastStatus: 410, lastError: 'status' }] });
  await rename(connection.id, 'unheard');
  await dispatcher.pump();
  t.equal(receiver.received.length, 1);

  receiver.answer = (_, response) => void response.writeHead(204).end();
  t.match(await service.change(webhook.id, { active: true }, undefined), { active: true, inactiveReason: null });
  await pumpUntil(dispatcher, () => outcomes.length === 3);
  t.same(receiver.received.slice(1).map(({ event }) => event.data.name), [null, 'later']);

  await rename(connection.id, 'moved');
  const queue = createDeliveryQueue(database.prisma);
  const [claimed] = await queue.claim(10, []);
  await service.change(webhook.id, { url: `${receiver.url}/moved` }, undefined);
  await queue.gone(claimed!, { status: 410, error: 'status' });
  t.match(await service.get(webhook.id), { active: true, inactiveReason: null }, 'not for an answer of where it pointed before');
  await pumpUntil(dispatcher, () => outcomes.length === 4);
  t.equal(receiver.received.at(-1)!.path, '/moved');
});

t.test('Retry-After is honoured where a receiver is busy (429, 503), and nowhere else', async (t) => {
  const { database, receiver, register, connect } = await start(t);
  const webhook = await register();
  const outcomes: string[] = [];
  const dispatcher = dispatcherOn(t, database, undefined, outcomes);
  const answers = [[429, '3600'], [503, new Date(Date.now() + 3_600_000).toUTCString()], [500, '3600'], [503, 'soon']] as const;
  for (const [status, after] of answers) {
    receiver.answer = (_, response) => void response.writeHead(status, { 'retry-after': after }).end();
    await connect();
    const before = outcomes.length;
    await pumpUntil(dispatcher, () => outcomes.length > before);
    const [delivery] = await database.prisma.webhookDelivery.findMany({ where: { webhookId: webhook.id }, orderBy: { sequence: 'desc' }, take: 1 });
    const wait = (delivery!.nextAttemptAt.getTime() - delivery!.lastAttemptAt!.getTime()) / 1000;
    if (status === 500 || after === 'soon') t.ok(wait < 1800, `${status}, ${after}: ${wait} s`);
    else t.ok(wait > 1800 && delivery!.waitedSeconds > 1800, `${status}, ${after}: ${wait} s`);
  }
});

t.test('a stop gives back what is being sent', async (t) => {
  const { database, webhooks, receiver, register, connect } = await start(t);
  const webhook = await register();
  await connect();
  receiver.answer = () => {};
  const dispatcher = createDispatcher({
    queue: createDeliveryQueue(database.prisma), send: createSender({ allowPrivate: true }), observe: () => {}, onError: t.error, graceMs: 50,
  });
  await dispatcher.pump();
  await until(() => receiver.received.length === 1);
  await dispatcher.stop();
  t.match(await webhooks.deliveries(webhook.id, 'pending', undefined, 10), [{ attempts: 0 }]);
  t.equal((await createDeliveryQueue(database.prisma).claim(10, [])).length, 1, 'for whoever comes next');
});

t.test('no event without its change, no delivery without a listener, and old events are forgotten', async (t) => {
  const { database, connections, webhooks, register, connect } = await start(t);
  const events = () => database.prisma.webhookEvent.count();
  await connect();
  t.equal(await events(), 0, 'nobody listens');
  const webhook = await register();
  const connection = await connect();
  const { id: _id, createdAt: _createdAt, updatedAt: _updatedAt, lastUsedAt: _lastUsedAt, stateReason: _reason, metadata: _metadata, ...same } = connection;
  t.equal(await connections.create({ ...same, ...owner }), undefined);
  t.equal(await connections.update('01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87', owner, { name: 'x' }), undefined);
  t.equal(await connections.remove('01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87'), false);
  await t.rejects(connections.update(connection.id, owner, { name: 'x'.repeat(3), state: null as unknown as string }));
  t.equal(await events(), 1, 'only what was stored');

  await database.prisma.webhookEvent.updateMany({ data: { createdAt: new Date('2020-01-01') } });
  const queue = createDeliveryQueue(database.prisma);
  const sweep = createSweeps(database.prisma, { webhooks: 30 }).find(({ table }) => table === 'webhook_events')!;
  await sweep.remove(10);
  t.equal(await events(), 1, 'it still waits');
  const [claimed] = await queue.claim(1, []);
  await queue.failed(claimed!, { status: undefined, error: 'timeout' }, undefined);
  await sweep.remove(10);
  t.equal(await events(), 0);
  t.same(await webhooks.deliveries(webhook.id, undefined, undefined, 10), []);
});

t.test('the waits grow and add up to a day', async (t) => {
  t.same([...waits].sort((one, other) => one - other), waits);
  const sum = waits.reduce((total, wait) => total + wait, 0);
  t.ok(sum > 23 * 3600 && sum <= 24 * 3600, `${sum} s`);
  const after = (attempts: number, waitedSeconds = 0, retryAfter?: number) => waitAfter({ attempts, waitedSeconds, retryAfter }, waits, () => 0.5);
  t.equal(after(1), 5);
  t.equal(after(waits.length + 1), undefined);
  t.equal(after(1, 0, 1), 5, 'a receiver may ask for more time, not for less');
  t.equal(after(1, 0, 3600), 3600);
  t.equal(after(4, 80_000, 7200), 6400, 'within the day');
  t.equal(after(4, 86_400, 7200), undefined, 'then it is parked');
  t.equal(after(waits.length + 1, 0, 3600), undefined);
});
