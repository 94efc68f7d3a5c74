import t from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { startGateway } from '../helpers/gateway.js';
import { startOkUpstream, storeConnection } from '../helpers/upstream.js';

const database = await openTestDatabase(t);

t.test('off by default', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9', {}, database);
  t.equal((await gateway.request('GET', '/connections')).headers.get('ratelimit-limit'), null);
});

t.test('a key and an identity have their requests a minute each, wherever they come from; strangers are not counted', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9', { RATE_LIMIT_PER_MINUTE: '4' }, database);
  const key = await gateway.createKey(['connections:read']);
  const other = await gateway.createKey(['connections:read']);
  const send = (credential: string, identity?: string) => gateway.request('GET', '/connections', { key: credential, headers: identity ? { 'x-user-id': identity } : {} });
  for (const remaining of ['3', '2', '1', '0']) {
    const { status, headers } = await send(key, 'ada');
    t.match([status, headers.get('ratelimit-limit'), headers.get('ratelimit-remaining')], [200, '4', remaining]);
    t.ok(Number(headers.get('ratelimit-reset')) <= 60);
  }
  const refused = await send(key);
  t.match([refused.status, refused.json.code], [429, 'rate_limited']);
  t.ok(Number(refused.headers.get('retry-after')) > 0);
  t.equal((await send(other, 'ada')).status, 429, 'the identity is used up with any key');
  t.equal((await send(other, 'bob')).status, 200);
  for (let i = 0; i < 6; i += 1) {
    t.equal((await gateway.request('GET', '/connections', { key: 'wrong' })).status, 401);
    t.equal((await gateway.request('GET', '/healthz', { key: null })).status, 200);
  }
});

t.test('a call that names only a connection counts on the connection\'s owner too', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, upstream.url, { RATE_LIMIT_PER_MINUTE: '4', ACTION_RESOLUTION: 'off' }, database);
  const { id } = await storeConnection(gateway, 'gmail', 'grace');
  const keys = [await gateway.createKey(['proxy']), await gateway.createKey(['proxy'])];
  const send = (key: string, headers: Record<string, string>) => gateway.request('GET', '/proxy/gmail/x', { key, headers });
  for (const remaining of ['3', '2', '1']) t.equal((await send(keys[0]!, { 'x-connection-id': id })).headers.get('ratelimit-remaining'), remaining);
  const last = await send(keys[1]!, { 'x-connection-id': id });
  t.match([last.status, last.headers.get('ratelimit-remaining')], [200, '0']);
  const refused = await send(keys[1]!, { 'x-connection-id': id });
  t.match([refused.status, refused.json.code, refused.headers.get('x-authkit-error')], [429, 'rate_limited', 'rate_limited']);
  t.equal((await send(keys[1]!, { 'x-identity': 'grace' })).status, 429, 'however it is named');
  t.equal(upstream.received.length, 4);
});
