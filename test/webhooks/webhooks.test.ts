import { Webhook } from 'standardwebhooks';
import t, { type Test } from 'tap';
import { startSandbox } from '../../sandbox/start.js';
import { createWebhookService } from '../../src/webhooks/service.js';
import { createWebhookStore } from '../../src/webhooks/store.js';
import { type Gateway, startGateway } from '../helpers/gateway.js';
import { type Receiver, startReceiver, until } from '../helpers/receiver.js';
import { seed } from '../helpers/sandbox.js';

type Scene = { gateway: Gateway; upstream: string; receiver: Receiver };

async function start(t: Test): Promise<Scene> {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  return { gateway: await startGateway(t, sandbox.url, { WEBHOOK_ALLOW_PRIVATE: 'true' }), upstream: sandbox.url, receiver: await startReceiver(t) };
}

async function store({ gateway, upstream }: Scene, identity = 'ada') {
  const { key } = await seed(upstream, { identity, platform: 'gmail' });
  const { json } = await gateway.request('POST', '/connections', { headers: { 'x-user-id': identity }, json: { key, platform: 'gmail' } });
  return json as { id: string; key: string };
}

const verified = (secret: string, { body, headers }: { body: string; headers: object }): boolean => {
  try {
    new Webhook(secret).verify(body, headers as Record<string, string>);
    return true;
  } catch {
    return false;
  }
};

t.test('a connection\'s life is told, in order, signed, and without its key', async (t) => {
  const scene = await start(t);
  const { gateway, receiver } = scene;
  const { json: webhook } = await gateway.request('POST', '/webhooks', { json: { url: `${receiver.url}/hooks?a=1` } });
  const { id, key } = await store(scene);
  await gateway.request('PATCH', `/connections/${id}`, { json: { name: 'Mine' } });
  await gateway.request('PATCH', `/connections/${id}`, { json: { name: 'Mine' } });
  await gateway.request('DELETE', `/connections/${id}?upstream=false`);
  await until(() => receiver.received.length >= 3);

  t.same(receiver.received.map(({ event }) => event.type), ['connection.created', 'connection.updated', 'connection.deleted'], 'a change of nothing is no event');
  for (const received of receiver.received) {
    t.ok(verified(webhook.secret, received), 'signed with the secret');
    t.equal(received.path, '/hooks?a=1');
    t.equal(received.event.data.id, id);
    t.notMatch(received.body, key.split('::')[3]!, 'no key');
    t.notOk('metadata' in received.event.data);
  }
  t.match(receiver.received[1]!.event, {
    type: 'connection.updated', timestamp: /^\d{4}-.*Z$/,
    data: { id, platform: 'gmail', environment: 'test', identity: 'ada', identityType: 'user', state: 'operational', stateReason: null, name: 'Mine', tags: [] },
  });
  t.equal(new Set(receiver.received.map(({ headers }) => headers['webhook-id'])).size, 3);
  const { json: deliveries } = await gateway.request('GET', `/webhooks/${webhook.id}/deliveries`);
  t.match(deliveries.rows.map(({ status, lastStatus, attempts }: any) => ({ status, lastStatus, attempts })), Array(3).fill({ status: 'delivered', lastStatus: 204, attempts: 1 }));
});

t.test('a state that changes in the vault is told as state_changed, with the state before', async (t) => {
  const scene = await start(t);
  const { gateway, receiver, upstream } = scene;
  const { id, key } = await store(scene);
  await gateway.request('POST', '/webhooks', { json: { url: receiver.url, events: ['connection.state_changed'] } });
  const { rows } = await (await fetch(`${upstream}/__control/connections`)).json() as { rows: { id: string; key: string }[] };
  await fetch(`${upstream}/__control/connections/${encodeURIComponent(rows.find((row) => row.key === key)!.id)}`, {
    method: 'PATCH', headers: { 'content-type': 'application/json' }, body: '{"state":"degraded"}',
  });
  await gateway.request('POST', '/connections/sync', { json: { identity: 'ada' } });
  await gateway.request('PATCH', `/connections/${id}`, { json: { name: 'not asked for' } });
  await until(() => receiver.received.length >= 1);
  t.match(receiver.received.map(({ event }) => event), [{ type: 'connection.state_changed', data: { id, state: 'degraded', previousState: 'operational' } }]);
});

t.test('a secret is shown once, and during a rotation two of them sign', async (t) => {
  const scene = await start(t);
  const { gateway, receiver } = scene;
  const created = await gateway.request('POST', '/webhooks', { json: { url: receiver.url } });
  t.equal(created.status, 201);
  t.match(created.json.secret, /^whsec_[A-Za-z0-9+/]{43}=$/);
  t.equal(created.headers.get('cache-control'), 'no-store');
  const path = `/webhooks/${created.json.id}`;

  const rotated = await gateway.request('PATCH', path, { json: { rotateSecret: true, overlapSeconds: 60 } });
  t.not(rotated.json.secret, created.json.secret);
  t.ok(rotated.json.previousSecretUntil);
  for (const answer of [await gateway.request('GET', path), await gateway.request('GET', '/webhooks'), await gateway.request('PATCH', path, { json: { description: 'x' } })]) {
    t.equal(answer.status, 200);
    t.notMatch(answer.text, /whsec_/);
  }
  await store(scene);
  await until(() => receiver.received.length >= 1);
  t.ok(verified(created.json.secret, receiver.received[0]!), 'the old secret');
  t.ok(verified(rotated.json.secret, receiver.received[0]!), 'and the new one');

  const last = await gateway.request('PATCH', path, { json: { rotateSecret: true, overlapSeconds: 0 } });
  await store(scene, 'bob');
  await until(() => receiver.received.length >= 2);
  t.notOk(verified(rotated.json.secret, receiver.received[1]!), 'no overlap: the one before has stopped');
  t.ok(verified(last.json.secret, receiver.received[1]!));
});

t.test('webhooks are for unbound keys with their scope', async (t) => {
  const { gateway, receiver } = await start(t);
  const key = await gateway.createKey(['webhooks:manage']);
  const bound = await gateway.createKey(['webhooks:manage'], { identity: 'ada' });
  const other = await gateway.createKey(['connections:write', 'api-keys:manage']);
  const json = { url: receiver.url };
  t.equal((await gateway.request('POST', '/webhooks', { json, key })).status, 201);
  t.match(await gateway.request('POST', '/webhooks', { json, key: bound }), { status: 403, json: { code: 'unbound_key_required' } });
  t.match(await gateway.request('GET', '/webhooks', { key: bound }), { status: 403 });
  t.match(await gateway.request('POST', '/webhooks', { json, key: other }), { status: 403, json: { code: 'insufficient_scope' } });
});

t.test('bad input is refused with its place', async (t) => {
  const { gateway, receiver } = await start(t);
  const unknown = '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87';
  for (const json of [{}, { url: 5 }, { url: receiver.url, events: ['connection.exploded'] }, { url: receiver.url, secret: 'mine' }, { url: 'x'.repeat(3000) }]) {
    t.match(await gateway.request('POST', '/webhooks', { json }), { status: 400, json: { code: 'invalid_request' } }, JSON.stringify(json).slice(0, 60));
  }
  for (const url of ['nonsense', 'ftp://example.com', 'http://example.com', 'https://user:password@example.com/']) {
    t.match(await gateway.request('POST', '/webhooks', { json: { url } }), { status: 422, json: { code: 'webhook_target_refused' } }, url);
  }
  const { json: { id } } = await gateway.request('POST', '/webhooks', { json: { url: receiver.url } });
  t.match(await gateway.request('PATCH', `/webhooks/${id}`, { json: {} }), { status: 400 });
  for (const json of [{ overlapSeconds: 5 }, { overlapSeconds: 5, active: false }]) {
    t.match(await gateway.request('PATCH', `/webhooks/${id}`, { json }), { status: 400, json: { code: 'invalid_request', errors: [{ field: 'body.overlapSeconds' }] } });
  }
  t.match(await gateway.request('GET', `/webhooks/${id}`), { json: { active: true } }, 'nothing of it was done');
  t.match(await gateway.request('PATCH', `/webhooks/${id}`, { json: { url: 'http://example.com' } }), { status: 422 });
  for (const [method, path] of [['GET', ''], ['PATCH', ''], ['DELETE', ''], ['GET', '/deliveries'], ['POST', `/deliveries/${unknown}/retry`]] as const) {
    const json = method === 'PATCH' ? { description: 'x' } : undefined;
    t.match(await gateway.request(method, `/webhooks/${unknown}${path}`, { json }), { status: 404, json: { code: 'webhook_not_found' } }, `${method} ${path}`);
  }
  t.match(await gateway.request('POST', `/webhooks/${id}/deliveries/${unknown}/retry`), { status: 404, json: { code: 'webhook_delivery_not_found' } });
  t.equal((await gateway.request('DELETE', `/webhooks/${id}`)).status, 204);
  t.equal((await gateway.request('GET', `/webhooks/${id}`)).status, 404);
});

t.test('an inactive webhook hears of nothing new', async (t) => {
  const scene = await start(t);
  const { gateway, receiver } = scene;
  const { json: { id } } = await gateway.request('POST', '/webhooks', { json: { url: receiver.url } });
  await gateway.request('PATCH', `/webhooks/${id}`, { json: { active: false } });
  await store(scene);
  await gateway.request('PATCH', `/webhooks/${id}`, { json: { active: true } });
  await store(scene, 'bob');
  await until(() => receiver.received.length >= 1);
  t.same(receiver.received.map(({ event }) => event.data.identity), ['bob']);
});

t.test('a delivery of an inactive webhook is not retried until the webhook is active again', async (t) => {
  const scene = await start(t);
  const { gateway, receiver } = scene;
  receiver.answer = (_, response) => void response.writeHead(500).end();
  const { json: { id } } = await gateway.request('POST', '/webhooks', { json: { url: receiver.url } });
  await store(scene);
  const deliveries = async () => (await gateway.request('GET', `/webhooks/${id}/deliveries`)).json.rows;
  await until(async () => (await deliveries())[0]?.lastStatus === 500);
  await gateway.database.prisma.webhookDelivery.updateMany({ data: { status: 'parked', lease: null } });
  await gateway.request('PATCH', `/webhooks/${id}`, { json: { active: false } });
  const [before] = await deliveries();
  const retry = () => gateway.request('POST', `/webhooks/${id}/deliveries/${before.id}/retry`);
  t.match(await retry(), { status: 409, json: { code: 'webhook_delivery_not_waiting', detail: /inactive/ } });
  t.same(await deliveries(), [before]);

  receiver.answer = (_, response) => void response.writeHead(204).end();
  await gateway.request('PATCH', `/webhooks/${id}`, { json: { active: true } });
  t.equal((await retry()).status, 202);
  await until(async () => (await deliveries())[0].status === 'delivered');
});

t.test('a name server that never answers keeps nobody waiting: the URL is checked again before each attempt', async (t) => {
  const { gateway: { database } } = await start(t);
  const service = createWebhookService(createWebhookStore(database.prisma), { allowPrivate: true, resolve: () => new Promise(() => {}) });
  t.match(await service.create({ url: 'https://hooks.example/', events: [], description: null }), { url: 'https://hooks.example/' });
  await t.rejects(service.create({ url: 'http://hooks.example/', events: [], description: null }), { code: 'webhook_target_refused' }, 'nor is it loopback');
});
