import t from 'tap';
import { createAuthenticator } from '../../src/auth/authenticator.js';
import { digestKey, generateKey } from '../../src/auth/key-format.js';
import { createStrangers } from '../../src/auth/strangers.js';
import type { CachedKeys } from '../../src/auth/cached-keys.js';
import { rootKey } from '../helpers/gateway.js';
import { asBearer, claimOf, openSession, startBoth } from '../helpers/trust.js';

t.setTimeout(300_000);

const soon = () => new Date(Date.now() + 60_000).toISOString();
const later = () => new Date(Date.now() + 3_600_000).toISOString();

t.test('attacks with an API key', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  const create = (key: string, json: Record<string, unknown>) => gateway.request('POST', '/api-keys', { key, json: { name: 'x', ...json } });
  const issue = async (json: Record<string, unknown>) => (await gateway.request('POST', '/api-keys', { json: { name: 'x', ...json } })).json as { id: string; key: string };

  await t.test('minting a stronger key: a scope, a platform, an identity, a longer life', async (t) => {
    const { key } = await issue({ scopes: ['api-keys:manage', 'proxy:gmail', 'authkit:token'] });
    for (const scopes of [['proxy'], ['proxy:slack'], ['proxy:gmail', 'proxy:slack'], ['connections:read'], ['authkit:sessions']]) {
      t.match(await create(key, { scopes }), { status: 403, json: { code: 'insufficient_scope' } }, String(scopes));
    }
    for (const scopes of [['*'], ['proxy:*'], ['proxy:'], ['proxy:Gmail'], ['proxy:gmail '], ['proxy:gmail', 'proxy:gmail'], ['PROXY'], []]) {
      t.match(await create(key, { scopes }), { status: 400, json: { code: 'invalid_request' } }, String(scopes));
    }
    t.equal((await create(key, { scopes: ['proxy:gmail'] })).status, 201);
    const any = await issue({ scopes: ['api-keys:manage', 'proxy'] });
    t.equal((await create(any.key, { scopes: ['proxy:slack'] })).status, 201, 'narrower is fine');

    const bound = await issue({ scopes: ['api-keys:manage', 'connections:read'], identity: 'ada', identityType: 'team' });
    t.equal((await create(bound.key, { scopes: ['connections:read'], identity: 'bob' })).json.code, 'identity_conflict');
    t.equal((await create(bound.key, { scopes: ['connections:read'], identity: 'ada' })).json.code, 'identity_conflict', 'the user of the same name is somebody else');
    t.match((await create(bound.key, { scopes: ['connections:read'] })).json, { identity: 'ada', identityType: 'team' });

    const brief = await issue({ scopes: ['api-keys:manage', 'connections:read'], expiresAt: soon() });
    t.match(await create(brief.key, { scopes: ['connections:read'], expiresAt: later() }), { status: 400, json: { errors: [{ field: 'body.expiresAt' }] } });
    const inherited = await create(brief.key, { scopes: ['connections:read'] });
    t.match(inherited, { status: 201, json: { expiresAt: String } }, 'no end given: that of the key that asks');
    t.ok(Date.parse(inherited.json.expiresAt) <= Date.now() + 60_000);
  });

  await t.test('rotating a stronger key into one\'s own hands', async (t) => {
    const strong = await issue({ scopes: ['connections:write'] });
    const forever = await issue({ scopes: ['api-keys:manage'] });
    const foreign = await issue({ scopes: ['api-keys:manage'], identity: 'bob' });
    const rotate = (key: string, id: string) => gateway.request('POST', `/api-keys/${id}/rotate`, { key });
    const weak = await issue({ scopes: ['api-keys:manage'] });
    t.match(await rotate(weak.key, strong.id), { status: 403, json: { code: 'insufficient_scope' } });
    const brief = await issue({ scopes: ['api-keys:manage'], expiresAt: soon() });
    t.match(await rotate(brief.key, forever.id), { status: 403, json: { code: 'insufficient_scope' } }, 'one that outlives it');
    const bound = await issue({ scopes: ['api-keys:manage'], identity: 'ada' });
    for (const id of [foreign.id, forever.id]) t.match(await rotate(bound.key, id), { status: 404, json: { code: 'api_key_not_found' } });
    t.equal((await gateway.request('DELETE', `/api-keys/${foreign.id}`, { key: bound.key })).status, 404);
    t.equal((await rotate(foreign.key, foreign.id)).status, 201, 'its own it may rotate');
  });

  await t.test('a bound key naming another identity in header, body, query and path', async (t) => {
    const { key } = await issue({ scopes: ['authkit:token', 'authkit:sessions', 'connections:read', 'connections:write', 'proxy'], identity: 'ada' });
    const { claim } = await claimOf(sandbox, 'bob');
    const bobs = (await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'bob' }, json: claim })).json as { id: string };
    const record = { key: `test::gmail::default::${'0'.repeat(32)}`, platform: 'gmail' };
    const routes: [string, string, unknown?][] = [
      ['POST', '/authkit/token', {}], ['POST', '/authkit/sessions', {}], ['POST', '/connections', record], ['POST', '/connections/sync', {}],
      ['GET', '/connections'], ['GET', `/connections/${bobs.id}`], ['PATCH', `/connections/${bobs.id}`, { name: 'x' }],
      ['DELETE', `/connections/${bobs.id}`], ['GET', '/proxy/gmail/x'],
    ];
    for (const [method, path, json] of routes) {
      for (const headers of [{ 'x-user-id': 'bob' }, { 'x-identity': 'bob' }, { 'x-identity': 'ada', 'x-identity-type': 'organization' }] as Record<string, string>[]) {
        t.match(await gateway.request(method, path, { key, headers, json }), { status: 400, json: { code: 'identity_conflict' } }, `${method} ${path} ${JSON.stringify(headers)}`);
      }
      if (json === undefined || method === 'PATCH') continue;
      for (const said of [{ identity: 'bob' }, { user_id: 'bob' }, { identity: 'ada', identityType: 'team' }]) {
        const answer = await gateway.request(method, path, { key, json: { ...json as object, ...said } });
        t.match(answer, { status: 400, json: { code: 'identity_conflict' } }, `${method} ${path} ${JSON.stringify(said)}`);
      }
    }
    for (const query of ['identity=bob', 'identityType=team', 'identity=ada&identityType=team']) {
      t.equal((await gateway.request('GET', `/connections?${query}`, { key })).json.code, 'identity_conflict', query);
    }
    for (const [method, json] of [['GET', undefined], ['PATCH', { name: 'x' }], ['DELETE', undefined]] as const) {
      t.match(await gateway.request(method, `/connections/${bobs.id}`, { key, json }), { status: 404, json: { code: 'connection_not_found' } }, method);
    }
    const proxied = await gateway.request('GET', '/proxy/gmail/x', { key, headers: { 'x-connection-id': bobs.id } });
    t.equal(proxied.status, 404);
    t.equal(proxied.headers.get('x-authkit-error'), 'connection_not_found', 'nor by proxying through it');
    t.match((await gateway.request('GET', `/connections/${bobs.id}`)).json, { identity: 'bob', name: null });
  });

  await t.test('reaching another\'s keys and sessions with an unbound key that says for whom it acts', async (t) => {
    const ada = await issue({ scopes: ['connections:read'], identity: 'ada' });
    const session = await openSession(gateway, { identity: 'ada' });
    const headers = { 'x-user-id': 'bob' };
    t.match(await gateway.request('DELETE', `/api-keys/${ada.id}`, { headers }), { status: 404, json: { code: 'api_key_not_found' } });
    t.match(await gateway.request('POST', `/api-keys/${ada.id}/rotate`, { headers }), { status: 404, json: { code: 'api_key_not_found' } });
    t.match(await gateway.request('DELETE', `/authkit/sessions/${session.id}`, { headers }), { status: 404, json: { code: 'session_not_found' } });
    const { rows } = (await gateway.request('GET', '/api-keys', { headers })).json;
    t.ok(rows.every(({ identity }: { identity: string }) => identity === 'bob'));
    t.match((await gateway.request('POST', '/api-keys', { headers, json: { name: 'x', scopes: ['proxy'] } })).json, { identity: 'bob', identityType: 'user' });
    t.match(await gateway.request('POST', '/api-keys', { headers, json: { name: 'x', scopes: ['proxy'], identity: 'ada' } }), { status: 400, json: { code: 'identity_conflict' } });
    t.equal((await gateway.request('GET', '/connections', { key: ada.key })).status, 200);
    t.equal((await asBearer(gateway, session.token)('GET', '/connections')).status, 200);
    for (const path of [`/api-keys/${ada.id}`, `/authkit/sessions/${session.id}`]) {
      t.equal((await gateway.request('DELETE', path, { headers: { 'x-user-id': 'ada' } })).status, 204, path);
    }
  });

  await t.test('a platform\'s proxy key on another platform', async (t) => {
    const { claim } = await claimOf(sandbox, 'ada', 'slack');
    const slack = (await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'ada' }, json: claim })).json as { id: string };
    const { key } = await issue({ scopes: ['proxy:gmail'], identity: 'ada' });
    t.equal((await gateway.request('GET', '/proxy/slack/x', { key })).headers.get('x-authkit-error'), 'insufficient_scope');
    const answer = await gateway.request('GET', '/proxy/gmail/x', { key, headers: { 'x-connection-id': slack.id } });
    t.equal(answer.headers.get('x-authkit-error'), 'platform_mismatch', 'the connection decides too');
    for (const path of ['/proxy/GMAIL/x', '/proxy/gmail%2Fslack/x', '/proxy/gmail%00/x']) t.not((await gateway.request('GET', path, { key })).status, 200, path);
    t.equal((await asBearer(gateway, key)('GET', '/proxy/gmail/__provider/echo')).headers.get('x-authkit-error'), 'connection_not_found');
  });

  await t.test('living on in the keys that a revoked management key made', async (t) => {
    const manager = await issue({ scopes: ['api-keys:manage', 'connections:read'] });
    const make = async (key: string) => (await create(key, { scopes: ['api-keys:manage', 'connections:read'] })).json as { id: string; key: string };
    const child = await make(manager.key);
    const grandchild = await make(child.key);
    const successor = (await gateway.request('POST', `/api-keys/${grandchild.id}/rotate`, { key: child.key })).json as { id: string; key: string };
    const great = await make(successor.key);
    const stranger = await make(rootKey);
    const session = await gateway.request('POST', '/authkit/sessions', { json: { identity: 'ada' } });
    const works = async ({ key }: { key: string }) => (await gateway.request('GET', '/connections', { key })).status;
    const family = [manager, child, grandchild, successor, great];
    for (const one of [...family, stranger]) t.equal(await works(one), 200);

    const found = async (query: string) => ((await gateway.request('GET', `/api-keys?${query}`)).json.rows as { id: string }[]).map(({ id }) => id);
    t.same(await found(`createdBy=${manager.id}`), [child.id], 'what a key made can be found');
    t.same(await found(`createdBy=${child.id}`), [successor.id, grandchild.id]);
    t.same(await found(`createdBy=${child.id}&limit=1`), [successor.id]);
    t.same(await found(`rotatedFrom=${grandchild.id}`), [successor.id]);
    t.ok((await found('createdBy=root&limit=100')).includes(stranger.id));
    t.match((await gateway.request('GET', `/api-keys?rotatedFrom=${grandchild.id}`)).json.rows, [{ createdBy: child.id, rotatedFrom: grandchild.id }]);
    for (const query of ['createdBy=me', 'rotatedFrom=root', 'createdBy=']) t.equal((await gateway.request('GET', `/api-keys?${query}`)).status, 400, query);

    t.equal((await gateway.request('DELETE', `/api-keys/${child.id}?descendants=maybe`)).status, 400);
    t.equal((await gateway.request('DELETE', `/api-keys/${manager.id}`)).status, 204);
    t.same([await works(manager), await works(child)], [401, 200], 'without asking for it, the others stay');
    for (let round = 0; round < 2; round += 1) t.equal((await gateway.request('DELETE', `/api-keys/${manager.id}?descendants=true`)).status, 204);
    for (const one of family) t.equal(await works(one), 401);
    t.equal(await works(stranger), 200);
    t.equal(session.status, 201);
  });

  await t.test('making one more while the family is revoked', async (t) => {
    const manager = await issue({ scopes: ['api-keys:manage', 'connections:read'] });
    const child = (await create(manager.key, { scopes: ['api-keys:manage', 'connections:read'] })).json as { key: string };
    const racing = Array.from({ length: 8 }, () => create(child.key, { scopes: ['connections:read'] }));
    const [revoked, ...made] = await Promise.all([gateway.request('DELETE', `/api-keys/${manager.id}?descendants=true`), ...racing]);
    t.equal(revoked.status, 204);
    for (const { status, json } of made) {
      if (status !== 201) t.equal(status, 401);
      else t.equal((await gateway.request('GET', '/connections', { key: json.key })).status, 401, 'made just before, it went with the rest');
    }
  });

  await t.test('seeing a key in a listing', async (t) => {
    const made = await issue({ scopes: ['connections:read'] });
    const listing = await gateway.request('GET', '/api-keys?limit=100');
    t.notMatch(listing.text, made.key.slice(8));
    t.notMatch(listing.text, digestKey(made.key));
    t.notOk(listing.json.rows.some((row: object) => 'key' in row || 'digest' in row));
  });
});

t.test('timing of known against unknown keys: by construction there is nothing to time', async (t) => {
  const key = generateKey();
  const root = 'root-key-of-the-tests-0123456789abcdef';
  const asked: string[] = [];
  const store = {
    held: () => undefined,
    findByDigest: async (digest: string) => {
      asked.push(digest);
      return digest === digestKey(key) ? { id: '1', digest, scopes: [], boundTo: undefined, revokedAt: null, expiresAt: null, allowedOrigins: [] } : undefined;
    },
  } as unknown as CachedKeys;
  const authenticator = createAuthenticator([root], store, createStrangers({ atOnce: 4, failuresPerMinute: 0 }));
  const almost = [generateKey(), `${key.slice(0, 4)}${generateKey().slice(4)}`];
  t.equal((await authenticator.authenticate(key)).id, '1');
  for (const wrong of almost) await t.rejects(async () => authenticator.authenticate(wrong), { code: 'unauthorized' });
  for (const wrong of [`${root.slice(0, -1)}x`, root.slice(0, 10), '']) await t.rejects(async () => authenticator.authenticate(wrong), { code: 'unauthorized' });
  t.same(asked, [key, ...almost].map(digestKey), 'the store sees digests only: how much of a key is right says nothing about its digest');

  const { readFile } = await import('node:fs/promises');
  const source = await readFile('src/auth/authenticator.ts', 'utf8');
  t.match(source, 'timingSafeEqual');
  t.notMatch(source, /credential ===|=== credential|rootKey ===|=== rootKey/, 'and no text is compared with a secret one');
});
