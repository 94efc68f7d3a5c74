import t from 'tap';
import { digestKey, generateKey, isWellFormedKey } from '../../src/auth/key-format.js';
import { rootKey, startGateway } from '../helpers/gateway.js';

const upstream = 'http://127.0.0.1:9';

t.test('a key is shown once, stored as a digest, listed without its secret', async (t) => {
  const gateway = await startGateway(t, upstream);
  const created = await gateway.request('POST', '/api-keys', { json: { name: 'billing', scopes: ['connections:read', 'proxy:stripe'] } });
  t.equal(created.status, 201);
  t.equal(created.headers.get('cache-control'), 'no-store');
  t.match(created.json.key, /^agk_[0-9A-Za-z]{38}$/);
  t.equal((await gateway.request('GET', '/connections', { key: created.json.key })).status, 200);

  const listed = await gateway.request('GET', '/api-keys');
  t.match(listed.json.rows[0], { id: created.json.id, name: 'billing', scopes: ['connections:read', 'proxy:stripe'], revokedAt: null });
  t.notMatch(listed.text, created.json.key.slice(8));
  const [row] = await gateway.database.prisma.apiKey.findMany();
  t.equal(row!.digest, digestKey(created.json.key));
  t.notMatch(JSON.stringify(row), created.json.key.slice(8));
});

t.test('a revoked key stops at once; revoking again changes nothing', async (t) => {
  const gateway = await startGateway(t, upstream);
  const { json } = await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['connections:read'] } });
  t.equal((await gateway.request('DELETE', `/api-keys/${json.id}`)).status, 204);
  t.equal((await gateway.request('GET', '/connections', { key: json.key })).status, 401);
  t.equal((await gateway.request('DELETE', `/api-keys/${json.id}`)).status, 204);
  t.equal((await gateway.request('DELETE', '/api-keys/01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87')).json.code, 'api_key_not_found');
});

t.test('a rotated key works on for its overlap, then stops', async (t) => {
  const gateway = await startGateway(t, upstream);
  const { json: old } = await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['connections:read'], identity: 'ada' } });
  const rotated = await gateway.request('POST', `/api-keys/${old.id}/rotate`, { json: { overlapSeconds: 60 } });
  t.match(rotated, { status: 201, json: { name: 'x', scopes: ['connections:read'], identity: 'ada', identityType: 'user' } });
  t.not(rotated.json.id, old.id);
  for (const key of [old.key, rotated.json.key]) t.equal((await gateway.request('GET', '/connections', { key })).status, 200);
  const { rows } = (await gateway.request('GET', '/api-keys')).json;
  const left = Date.parse(rows.find(({ id }: { id: string }) => id === old.id).expiresAt) - Date.now();
  t.ok(left > 50_000 && left <= 60_000);

  await gateway.database.prisma.apiKey.update({ where: { id: old.id }, data: { expiresAt: new Date(Date.now() - 1) } });
  await gateway.database.invalidations.publish('api-keys', old.id);
  t.equal((await gateway.request('GET', '/connections', { key: old.key })).status, 401);
  t.equal((await gateway.request('POST', `/api-keys/${old.id}/rotate`)).json.code, 'api_key_not_active');

  const now = await gateway.request('POST', `/api-keys/${rotated.json.id}/rotate`, { json: { overlapSeconds: 0 } });
  t.equal((await gateway.request('GET', '/connections', { key: rotated.json.key })).status, 401, 'no overlap asked, none given');
  t.equal((await gateway.request('GET', '/connections', { key: now.json.key })).status, 200);
});

t.test('a key has one successor: rotated again, or eight times at once, it is 409 but for the first', async (t) => {
  const gateway = await startGateway(t, upstream);
  const { json: old } = await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['connections:read'] } });
  const answers = await Promise.all(Array.from({ length: 8 }, () => gateway.request('POST', `/api-keys/${old.id}/rotate`)));
  t.same(answers.map(({ status }) => status).sort(), [201, ...Array<number>(7).fill(409)]);
  t.equal(answers.find(({ status }) => status === 201)!.json.expiresAt, null, 'the successor lives as long as the old key would have');
  t.equal((await gateway.request('POST', `/api-keys/${old.id}/rotate`)).json.code, 'api_key_not_active');
});

t.test('an end that no calendar or no database can hold is refused, and the list goes on working', async (t) => {
  const gateway = await startGateway(t, upstream);
  for (const expiresAt of ['9999-12-31T23:59:59-23:59', '2030-06-30T23:59:60Z', '2000-01-01T00:00:00Z']) {
    const answer = await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['proxy'], expiresAt } });
    t.same([answer.status, answer.json.errors[0].field], [400, 'body.expiresAt'], expiresAt);
  }
  t.same((await gateway.request('GET', '/api-keys')).json.rows, []);
});

t.test('unknown, malformed, expired and revoked keys answer the same 401', async (t) => {
  const gateway = await startGateway(t, upstream);
  const make = async () => (await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['connections:read'] } })).json;
  const expired = await make();
  await gateway.database.prisma.apiKey.update({ where: { id: expired.id }, data: { expiresAt: new Date(0) } });
  const revoked = await make();
  await gateway.request('DELETE', `/api-keys/${revoked.id}`);
  const bodies = [];
  for (const key of [generateKey(), 'agk_typo', 'nonsense', expired.key, revoked.key]) {
    const answer = await gateway.request('GET', '/connections', { key });
    t.equal(answer.status, 401);
    t.match(answer.headers.get('www-authenticate'), 'Bearer');
    bodies.push(JSON.stringify({ ...answer.json, requestId: '' }));
  }
  t.equal(new Set(bodies).size, 1);
});

t.test('keys arrive as x-api-key or as a bearer token, and two different ones are refused', async (t) => {
  const gateway = await startGateway(t, upstream);
  const key = await gateway.createKey(['connections:read']);
  const get = async (headers: Record<string, string>) => (await gateway.request('GET', '/connections', { key: null, headers })).status;
  t.equal(await get({ authorization: `Bearer ${key}` }), 200);
  t.equal(await get({ authorization: `bearer ${key}` }), 200);
  t.equal(await get({ authorization: `Bearer ${key}`, 'x-api-key': key }), 200);
  t.equal(await get({ authorization: `Bearer ${generateKey()}`, 'x-api-key': key }), 401);
  t.equal(await get({ authorization: `Basic ${Buffer.from(`a:${key}`).toString('base64')}` }), 401);
  t.equal(await get({}), 401);
});

t.test('of two root keys each opens everything, and neither may stand in a query', async (t) => {
  const second = 'second-root-key-e1d0c9b8a7968574635241';
  const gateway = await startGateway(t, upstream, { ADMIN_API_KEY: `${rootKey},${second}` });
  for (const key of [rootKey, second]) {
    t.equal((await gateway.request('GET', '/api-keys', { key })).status, 200);
    t.equal((await gateway.request('GET', `/connections?tag=${key}`)).json.code, 'key_in_query');
  }
  for (const key of [`${rootKey},${second}`, `${second}x`]) t.equal((await gateway.request('GET', '/api-keys', { key })).status, 401);
});

t.test('a key cannot grant what it does not have', async (t) => {
  const gateway = await startGateway(t, upstream);
  const manager = await gateway.createKey(['api-keys:manage', 'proxy:gmail']);
  const create = (json: Record<string, unknown>, key = manager) => gateway.request('POST', '/api-keys', { key, json: { name: 'x', ...json } });
  t.equal((await create({ scopes: ['proxy:gmail'] })).status, 201);
  for (const scopes of [['proxy'], ['proxy:slack'], ['connections:read'], ['proxy:gmail', 'connections:write']]) {
    t.same([(await create({ scopes })).status, (await create({ scopes })).json.code], [403, 'insufficient_scope'], String(scopes));
  }

  const bound = await gateway.createKey(['api-keys:manage', 'connections:read'], { identity: 'ada' });
  t.equal((await create({ scopes: ['connections:read'] }, bound)).json.identity, 'ada', 'a bound key makes keys bound to the same identity');
  t.equal((await create({ scopes: ['connections:read'], identity: 'bob' }, bound)).json.code, 'identity_conflict');
  const others = (await gateway.request('GET', '/api-keys', { key: bound })).json.rows;
  t.ok(others.every(({ identity }: { identity: string }) => identity === 'ada'), 'and sees no others');
  const root = (await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['connections:read'] } })).json;
  t.equal((await gateway.request('DELETE', `/api-keys/${root.id}`, { key: bound })).status, 404);
});

t.test('every route asks for its scope', async (t) => {
  const gateway = await startGateway(t, upstream);
  const document = (await gateway.request('GET', '/openapi.json', { key: null })).json as { paths: Record<string, Record<string, any>> };
  const none = await gateway.createKey(['authkit:sessions']);
  let checked = 0;
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const url = path.replace('{id}', '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87').replace('{platform}', 'gmail').replace('{*}', 'x').replace('*', 'x');
      const scope = operation['x-scope'] as string | undefined;
      const anonymous = await gateway.request(method.toUpperCase(), url, { key: null });
      if (scope === undefined) {
        t.not(anonymous.status, 401, `${method} ${path} is public`);
      } else if (scope !== 'authkit:sessions') {
        t.equal(anonymous.status, 401, `${method} ${path} without a key`);
        const lacking = await gateway.request(method.toUpperCase(), url, { key: none });
        t.equal(lacking.status, 403, `${method} ${path} without ${scope}`);
        const forSessions = ['post /authkit/token', 'post /connections', 'get /connections'].includes(`${method} ${path}`);
        t.same(operation.security, [{ apiKey: [scope] }, { bearer: [scope] }, ...(forSessions ? [{ session: [] }] : [])], 'the document says the same');
        checked += 1;
      }
    }
  }
  t.ok(checked >= 12);
});

t.test('the checksum tells a typo from a key without a look-up', async (t) => {
  for (let round = 0; round < 200; round += 1) {
    const key = generateKey();
    t.ok(isWellFormedKey(key));
    const at = 4 + (round % 38);
    const typo = key.slice(0, at) + (key[at] === 'a' ? 'b' : 'a') + key.slice(at + 1);
    t.notOk(isWellFormedKey(typo));
  }
});
