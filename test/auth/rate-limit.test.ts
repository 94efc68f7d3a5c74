import t from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { startGateway } from '../helpers/gateway.js';
import { asBearer, openSession } from '../helpers/trust.js';
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

t.test('an identity counts wherever the request names it', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9', { RATE_LIMIT_PER_MINUTE: '4' }, database);
  // Makes keys without using up the root key's own requests.
  const maker = await startGateway(t, 'http://127.0.0.1:9', {}, database);
  const scopes = ['authkit:sessions', 'connections:read', 'connections:write'];
  const session = (json: Record<string, unknown>, key: string) => gateway.request('POST', '/authkit/sessions', { key, json });
  const ways: [string, (name: string, key: string) => Promise<{ status: number }>][] = [
    ['body.identity', (identity, key) => session({ identity }, key)], ['body.user_id', (user_id, key) => session({ user_id }, key)],
    ['query.identity', (identity, key) => gateway.request('GET', `/connections?identity=${identity}`, { key })],
    ['header', (identity, key) => gateway.request('GET', '/connections', { key, headers: { 'x-user-id': identity } })],
  ];
  for (const [where, send] of ways) {
    const name = where.replace('.', '-');
    const keys = [await maker.createKey(scopes), await maker.createKey(scopes)];
    for (let call = 0; call < 4; call += 1) t.ok((await send(name, keys[call % 2]!)).status < 300, where);
    t.match(await send(name, keys[0]!), { status: 429, json: { code: 'rate_limited' } }, where);
    for (const [other, again] of ways) t.equal((await again(name, await maker.createKey(scopes))).status, 429, `${where}, then ${other}`);
  }
});

t.test('sessions of one identity have a limit together, where keys have none', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9', { BROWSER_RATE_LIMIT_PER_MINUTE: '3' }, database);
  const tokens = [await openSession(gateway, { identity: 'ann' }), await openSession(gateway, { identity: 'ann' })].map(({ token }) => token);
  const list = (token: string) => asBearer(gateway, token)('GET', '/connections');
  for (let call = 0; call < 3; call += 1) t.equal((await list(tokens[call % 2]!)).status, 200);
  for (const token of tokens) t.match(await list(token), { status: 429, json: { code: 'rate_limited' } });
  t.equal((await list((await openSession(gateway, { identity: 'ben' })).token)).status, 200, 'another identity has its own');
  for (let call = 0; call < 6; call += 1) t.equal((await gateway.request('GET', '/connections', { headers: { 'x-user-id': 'ann' } })).status, 200, 'and servers go on');
});
