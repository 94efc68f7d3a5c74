import t from 'tap';
import { startBoth } from '../helpers/trust.js';

t.setTimeout(300_000);

const origin = 'https://app.example.com';
const browser = { origin, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'cors' };

t.test('publishable keys', async (t) => {
  const { gateway } = await startBoth(t);
  const create = (json: Record<string, unknown>) => gateway.request('POST', '/api-keys', { json: { name: 'page', ...json } });
  const token = (key: string, headers: Record<string, string>, json?: unknown) => gateway.request('POST', '/authkit/token', { key, headers, json });

  await t.test('are made by giving a token key its origins, which answers then show', async (t) => {
    const { status, json } = await create({ scopes: ['authkit:token'], allowedOrigins: [origin, 'http://localhost:5173'] });
    t.equal(status, 201);
    t.same(json.allowedOrigins, [origin, 'http://localhost:5173']);
    t.same((await gateway.request('GET', '/api-keys')).json.rows[0].allowedOrigins, json.allowedOrigins);
    const { json: rotated } = await gateway.request('POST', `/api-keys/${json.id}/rotate`);
    t.same(rotated.allowedOrigins, json.allowedOrigins, 'a successor keeps them');
    t.same((await create({ scopes: ['authkit:token'] })).json.allowedOrigins, []);
  });

  await t.test('carry no other scope, and only origins', async (t) => {
    for (const scopes of [['authkit:token', 'connections:read'], ['authkit:sessions'], ['proxy']]) {
      const answer = await create({ scopes, allowedOrigins: [origin] });
      t.match(answer, { status: 400, json: { code: 'invalid_request', errors: [{ field: 'body.allowedOrigins' }] } }, String(scopes));
    }
    for (const wrong of ['*', 'app.example.com', `${origin}/`, `${origin}:443`, 'https://APP.example.com', 'https://*.example.com', 'null', 'ftp://example.com', 'javascript:1']) {
      const answer = await create({ scopes: ['authkit:token'], allowedOrigins: [wrong] });
      t.match(answer, { status: 400, json: { errors: [{ field: 'body.allowedOrigins.0' }] } }, wrong);
    }
    t.equal((await create({ scopes: ['authkit:token'], allowedOrigins: [] })).status, 400);
  });

  await t.test('take the identity from x-user-id in a browser, on their origins only', async (t) => {
    const { key } = (await create({ scopes: ['authkit:token'], allowedOrigins: [origin] })).json;
    t.equal((await token(key, { ...browser, 'x-user-id': 'ada' })).status, 200);
    t.match(await token(key, { ...browser, origin: 'https://evil.example', 'x-user-id': 'ada' }), { status: 403, json: { code: 'origin_not_allowed' } });
    t.match(await token(key, { 'x-user-id': 'ada' }), { status: 403, json: { code: 'origin_not_allowed' } });
    t.equal((await token(key, browser)).json.code, 'identity_required');
    t.equal((await gateway.request('GET', '/connections', { key, headers: { ...browser, 'x-user-id': 'ada' } })).json.code, 'insufficient_scope');
  });

  await t.test('any other unbound key names nobody from a browser, by whatever means', async (t) => {
    const tokens = (await create({ scopes: ['authkit:token'] })).json.key as string;
    const all = await gateway.createKey(['authkit:token', 'authkit:sessions', 'connections:read', 'connections:write']);
    for (const key of [tokens, all]) {
      for (const from of [{ origin }, { origin: 'null' }, { 'sec-fetch-site': 'same-origin' }] as Record<string, string>[]) {
        t.match(await token(key, { ...from, 'x-user-id': 'ada' }), { status: 403, json: { code: 'identity_not_trusted' } });
      }
      t.equal((await token(key, { ...browser, 'x-identity': 'ada' })).json.code, 'identity_not_trusted');
      t.equal((await token(key, browser, { identity: 'ada' })).json.code, 'identity_not_trusted');
      t.equal((await token(key, browser, { user_id: 'ada' })).json.code, 'identity_not_trusted');
    }
    t.equal((await gateway.request('POST', '/connections', {
      key: all, headers: browser, json: { key: `test::gmail::default::${'0'.repeat(32)}`, platform: 'gmail', identity: 'ada' },
    })).json.code, 'identity_not_trusted', 'nor by a connection\'s record');
    t.match(await gateway.request('GET', '/connections?identity=ada', { key: all, headers: browser }), {
      status: 403, json: { code: 'identity_not_trusted', errors: [{ field: 'query.identity' }] },
    }, 'nor by a query');
    t.equal((await gateway.request('GET', '/connections?identity=ada', { key: all })).status, 200, 'as a server may');
    t.equal((await gateway.request('POST', '/authkit/sessions', { headers: browser, json: { identity: 'ada' } })).json.code, 'identity_not_trusted', 'the root key included');
  });

  await t.test('servers, and browsers with a bound key, go on as before', async (t) => {
    const server = await gateway.createKey(['authkit:token']);
    t.equal((await token(server, { 'x-user-id': 'ada' })).status, 200);
    // Node's own fetch calls itself that.
    t.equal((await token(server, { 'x-user-id': 'ada', 'sec-fetch-mode': 'cors' })).status, 200);
    const bound = await gateway.createKey(['authkit:token', 'connections:read'], { identity: 'ada' });
    t.equal((await token(bound, browser)).status, 200);
    t.equal((await token(bound, { ...browser, 'x-user-id': 'ada' })).status, 200);
    t.equal((await gateway.request('GET', '/connections', { key: bound, headers: browser })).status, 200);
  });
});
