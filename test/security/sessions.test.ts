import t from 'tap';
import { generateToken } from '../../src/auth/key-format.js';
import { asBearer, claimOf, openSession, startBoth } from '../helpers/trust.js';

t.setTimeout(300_000);

const origin = 'https://app.example.com';

t.test('attacks with a session', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  const { id: sessionId, token } = await openSession(gateway, { identity: 'ada' });
  const session = asBearer(gateway, token);

  await t.test('using it on every other route', async (t) => {
    const { claim } = await claimOf(sandbox, 'ada');
    const { id } = (await session('POST', '/connections', { json: claim })).json;
    const document = (await gateway.request('GET', '/openapi.json')).json as { paths: Record<string, Record<string, { 'x-scope'?: string }>> };
    const open: string[] = [];
    for (const [path, operations] of Object.entries(document.paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        if (operation['x-scope'] === undefined) continue;
        const url = path.replace('{id}', id).replace('{platform}', 'gmail').replace(/\{\*\}|\*/, 'x');
        const answer = await session(method.toUpperCase(), url, method === 'get' || method === 'head' ? {} : { json: {} });
        if (answer.status !== 403) open.push(`${method} ${path}`);
        else t.equal(answer.json?.code ?? answer.headers.get('x-authkit-error'), 'insufficient_scope', `${method} ${path}`);
      }
    }
    t.same(open.sort(), ['get /connections', 'post /authkit/token', 'post /connections'], 'three routes, and no other');
    t.equal((await gateway.request('GET', `/connections/${id}`)).status, 200, 'nothing was deleted');
  });

  await t.test('seeing connections of other platforms, and keys and metadata of any', async (t) => {
    for (const platform of ['gmail', 'slack', 'hubspot']) {
      const { claim } = await claimOf(sandbox, 'hal', platform);
      const { id } = (await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'hal' }, json: claim })).json;
      await gateway.request('PATCH', `/connections/${id}`, { json: { metadata: { crm: 42 } } });
    }
    const platformsSeen = (answer: { json: { rows: { platform: string }[] } }) => answer.json.rows.map(({ platform }) => platform).sort();
    const narrow = asBearer(gateway, (await openSession(gateway, { identity: 'hal', platforms: ['gmail', 'hubspot'] })).token);
    const wide = asBearer(gateway, (await openSession(gateway, { identity: 'hal' })).token);
    t.same(platformsSeen(await wide('GET', '/connections')), ['gmail', 'hubspot', 'slack']);
    t.same(platformsSeen(await narrow('GET', '/connections')), ['gmail', 'hubspot']);
    t.same(platformsSeen(await narrow('GET', '/connections?platform=gmail')), ['gmail']);
    t.same(platformsSeen(await narrow('GET', '/connections?platform=slack')), [], 'asked for by name it is not there either');
    const first = (await narrow('GET', '/connections?limit=1')).json;
    t.same([first.rows.length, platformsSeen(await narrow('GET', `/connections?limit=1&cursor=${first.nextCursor}`)).length], [1, 1], 'nor on a later page');
    const claim = (await claimOf(sandbox, 'hal', 'gmail')).claim;
    for (const answer of [await wide('GET', '/connections'), await narrow('GET', '/connections'), await narrow('POST', '/connections', { json: claim })]) {
      t.ok(answer.status < 300, answer.text);
      t.notMatch(answer.text, /"key"|"metadata"|test::|crm/);
    }
    const server = await gateway.request('GET', '/connections?identity=hal&platform=slack');
    t.match(server.json.rows, [{ key: /^test::slack/, metadata: { crm: 42 } }], 'a server sees all of it');
  });

  await t.test('using it for another identity: header, body, query', async (t) => {
    const others: [string, Record<string, unknown>][] = [
      ['x-user-id', { headers: { 'x-user-id': 'bob' } }],
      ['x-identity', { headers: { 'x-identity': 'bob' } }],
      ['the type', { headers: { 'x-identity': 'ada', 'x-identity-type': 'team' } }],
      ['body.identity', { json: { identity: 'bob' } }],
      ['body.user_id', { json: { user_id: 'bob' } }],
    ];
    for (const [name, options] of others) {
      t.match(await session('POST', '/authkit/token', options), { status: 400, json: { code: 'identity_conflict' } }, name);
    }
    t.match(await session('GET', '/connections?identity=bob'), { status: 400, json: { code: 'identity_conflict' } });
    t.equal((await session('POST', '/authkit/token', { headers: { 'x-user-id': 'ada' } })).status, 200, 'saying who one is changes nothing');
  });

  await t.test('using it from another origin, or from none', async (t) => {
    const { token: pinned } = await openSession(gateway, { identity: 'ada', allowedOrigins: [origin] });
    const from = (headers: Record<string, string>) => asBearer(gateway, pinned)('POST', '/authkit/token', { headers });
    t.equal((await from({ origin })).status, 200);
    for (const wrong of ['https://evil.example', 'null', 'https://app.example.com.evil.example', 'http://app.example.com', 'https://app.example.com:8443', `${origin}/`, 'HTTPS://APP.EXAMPLE.COM']) {
      t.match(await from({ origin: wrong }), { status: 403, json: { code: 'origin_not_allowed' } }, wrong);
    }
    t.equal((await from({})).json.code, 'origin_not_allowed', 'outside of a browser');
    t.equal((await from({ 'sec-fetch-site': 'same-origin' })).json.code, 'origin_not_allowed', 'as if from the gateway\'s own page');
  });

  await t.test('using it after its end, after deletion, mistyped, or as another kind of credential', async (t) => {
    const { id, token: ended } = await openSession(gateway, { identity: 'ada' });
    await gateway.database.prisma.authkitSession.update({ where: { id }, data: { expiresAt: new Date(Date.now() - 1) } });
    const deleted = await openSession(gateway, { identity: 'ada' });
    await gateway.request('DELETE', `/authkit/sessions/${deleted.id}`);
    const bodies = new Set<string>();
    for (const dead of [ended, deleted.token, generateToken('ags_')]) {
      const answer = await asBearer(gateway, dead)('GET', '/connections');
      t.equal(answer.status, 401);
      bodies.add(JSON.stringify({ ...answer.json, requestId: '' }));
    }
    t.equal(bodies.size, 1, 'ended, deleted and unknown answer the same');
    for (const wrong of [`${token.slice(0, -1)}${token.endsWith('a') ? 'b' : 'a'}`, token.replace('ags_', 'agk_'), `${token} `.repeat(2).trim(), sessionId]) {
      t.equal((await asBearer(gateway, wrong)('GET', '/connections')).status, 401);
    }
    t.equal((await gateway.request('GET', '/connections', { key: token })).status, 401, 'as x-api-key');
    t.equal((await gateway.request('GET', `/connections?access_token=${token}`, { key: null })).json.code, 'key_in_query');
    t.equal((await gateway.request('GET', `/connections?q=${token}`, { key: null })).json.code, 'key_in_query');
  });

  await t.test('making a session for another identity, or a longer one, with a bound key that ends soon', async (t) => {
    const expiresAt = new Date(Date.now() + 30_000).toISOString();
    const { json: { key } } = await gateway.request('POST', '/api-keys', { json: { name: 'x', scopes: ['authkit:sessions'], identity: 'ada', expiresAt } });
    for (const options of [{ json: { identity: 'bob' } }, { json: { user_id: 'bob' } }, { json: {}, headers: { 'x-user-id': 'bob' } }]) {
      t.equal((await gateway.request('POST', '/authkit/sessions', { key, ...options })).json.code, 'identity_conflict');
    }
    t.equal((await gateway.request('POST', '/authkit/sessions', { key, json: { expiresIn: 3600 } })).json.expiresAt, expiresAt);
  });
});
