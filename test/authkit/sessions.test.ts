import t from 'tap';
import { createSessionService } from '../../src/auth/session-service.js';
import { createSessionStore } from '../../src/auth/session-store.js';
import { rootPrincipal } from '../../src/auth/principal.js';
import { narrowToken } from '../../src/authkit/narrow-token.js';
import { openTestDatabase } from '../helpers/database.js';
import { asBearer, claimOf, openSession, startBoth } from '../helpers/trust.js';

t.setTimeout(300_000);

const origin = 'https://app.example.com';

t.test('sessions', async (t) => {
  const { gateway, sandbox } = await startBoth(t);

  await t.test('a session asks tokens, claims and lists, for its identity', async (t) => {
    const before = Date.now();
    const answer = await gateway.request('POST', '/authkit/sessions', { json: { identity: 'ada', identityType: 'team' } });
    t.equal(answer.status, 201);
    t.equal(answer.headers.get('cache-control'), 'no-store');
    t.same(Object.keys(answer.json).sort(), ['expiresAt', 'id', 'token']);
    t.match(answer.json.token, /^ags_[0-9A-Za-z]{38}$/);
    t.ok(Math.abs(Date.parse(answer.json.expiresAt) - before - 600_000) < 5_000, 'ten minutes unless asked otherwise');

    const session = asBearer(gateway, answer.json.token);
    const { claim } = await claimOf(sandbox, 'ada', 'gmail', { identityType: 'team' });
    t.match(await session('POST', '/connections', { json: claim }), { status: 201, json: { identity: 'ada', identityType: 'team' } });
    t.match(await session('GET', '/connections'), { status: 200, json: { rows: [{ platform: 'gmail', identity: 'ada', identityType: 'team' }] } });
    const token = await session('POST', '/authkit/token');
    t.equal(token.status, 200);
    t.ok(token.json.rows.length > 30, 'all integrations');
  });

  await t.test('only its digest is stored', async (t) => {
    const { id, token } = await openSession(gateway, { identity: 'ada' });
    const row = await gateway.database.prisma.authkitSession.findUnique({ where: { id } });
    t.notMatch(JSON.stringify(row), token.slice(4));
    t.match(row!.digest, /^[0-9a-f]{64}$/);
  });

  await t.test('the scope, the lifetime and every member are checked', async (t) => {
    const key = await gateway.createKey(['authkit:token']);
    t.equal((await gateway.request('POST', '/authkit/sessions', { key, json: { identity: 'ada' } })).json.code, 'insufficient_scope');
    t.equal((await gateway.request('POST', '/authkit/sessions', { json: {} })).json.code, 'identity_required');
    const wrong = { expiresIn: 3601, allowedOrigins: ['https://app.example.com/'], platforms: [], reconnect: { connectionId: 'x' } };
    for (const [member, value] of [...Object.entries(wrong), ['expiresIn', 0], ['allowedOrigins', ['*']], ['unknown', 1]] as const) {
      const answer = await gateway.request('POST', '/authkit/sessions', { json: { identity: 'ada', [member]: value } });
      t.match(answer, { status: 400, json: { code: 'invalid_request' } }, member);
      t.match(answer.json.errors[0].field, new RegExp(`^body\\.${member}`));
    }
    t.equal((await gateway.request('POST', '/authkit/sessions', { json: { identity: 'ada', expiresIn: 3600 } })).status, 201);
  });

  await t.test('platforms narrow the token and the claims, in both of the token\'s shapes', async (t) => {
    const { token } = await openSession(gateway, { identity: 'ada', platforms: ['gmail', 'slack'] });
    const session = asBearer(gateway, token);
    const answer = await session('POST', '/authkit/token');
    t.same(answer.json.rows.map(({ platform }: { platform: string }) => platform).sort(), ['gmail', 'slack']);
    t.equal(answer.json.total, 2);
    t.type(answer.json.requestId, 'string', 'the rest stays');
    const { claim } = await claimOf(sandbox, 'ada', 'github');
    t.match(await session('POST', '/connections', { json: claim }), { status: 403, json: { code: 'platform_not_allowed' } });
    const allowed = await claimOf(sandbox, 'ada', 'slack');
    t.equal((await session('POST', '/connections', { json: allowed.claim })).status, 201);

    const embedded = { linkSettings: { connectedPlatforms: [{ type: 'gmail' }, { type: 'github' }], eventIncToken: 'e' }, sessionId: 's' };
    t.same(narrowToken(embedded, ['gmail']), { linkSettings: { connectedPlatforms: [{ type: 'gmail' }], eventIncToken: 'e' }, sessionId: 's' });
    t.same(narrowToken({ rows: [{ platform: 'a' }, null, 3], total: 300, pages: 3 }, ['a']), { rows: [{ platform: 'a' }], total: 300, pages: 3 }, 'the count of several pages stays');
    t.equal(narrowToken(embedded, []), embedded, 'without platforms nothing is touched');
  });

  await t.test('a reconnecting session is only for a connection of its identity', async (t) => {
    const { claim } = await claimOf(sandbox, 'ada');
    const { id } = (await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'ada' }, json: claim })).json;
    const make = (identity: string, connectionId: string) => gateway.request('POST', '/authkit/sessions', { json: { identity, reconnect: { connectionId } } });
    t.equal((await make('ada', id)).status, 201);
    const foreign = await make('bob', id);
    const unknown = await make('bob', '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87');
    t.match(foreign, { status: 404, json: { code: 'connection_not_found' } });
    t.same({ ...foreign.json, requestId: '' }, { ...unknown.json, requestId: '' });

    const { token } = (await make('ada', id)).json;
    const other = await claimOf(sandbox, 'ada', 'slack');
    t.equal((await asBearer(gateway, token)('POST', '/connections', { json: other.claim })).json.code, 'connection_claim_rejected', 'and of its platform');
    await gateway.request('DELETE', `/connections/${id}`);
    const late = await claimOf(sandbox, 'ada');
    t.equal((await asBearer(gateway, token)('POST', '/connections', { json: late.claim })).json.code, 'connection_not_found');
  });

  await t.test('origins: the page\'s own, the widget\'s, and a same-origin read, which browsers send none for', async (t) => {
    const { token } = await openSession(gateway, { identity: 'ada', allowedOrigins: [origin, gateway.url] });
    const from = async (headers: Record<string, string>) => {
      const answer = await gateway.app.inject({ method: 'GET', url: '/connections', headers: { authorization: `Bearer ${token}`, ...headers } });
      return answer.statusCode;
    };
    t.equal(await from({ origin }), 200);
    const host = new URL(gateway.url).host;
    t.equal(await from({ 'sec-fetch-site': 'same-origin', host }), 200);
    t.equal(await from({ 'sec-fetch-site': 'same-origin', host: 'elsewhere.example.com' }), 403);
  });

  await t.test('a deleted session ends at once, on every replica, and is then unknown', async (t) => {
    const { id, token } = await openSession(gateway, { identity: 'ada' });
    const session = asBearer(gateway, token);
    t.equal((await session('GET', '/connections')).status, 200);
    const bound = await gateway.createKey(['authkit:sessions'], { identity: 'bob' });
    t.equal((await gateway.request('DELETE', `/authkit/sessions/${id}`, { key: bound })).json.code, 'session_not_found', 'not for another identity\'s key');
    t.equal((await gateway.request('DELETE', `/authkit/sessions/${id}`)).status, 204);
    t.equal((await session('GET', '/connections')).status, 401);
    t.equal((await gateway.request('DELETE', `/authkit/sessions/${id}`)).json.code, 'session_not_found');
  });

  await t.test('a session ends with the key that made it', async (t) => {
    const { json: key } = await gateway.request('POST', '/api-keys', {
      json: { name: 'x', scopes: ['authkit:sessions'], expiresAt: new Date(Date.now() + 60_000).toISOString() },
    });
    const { json } = await gateway.request('POST', '/authkit/sessions', { key: key.key, json: { identity: 'ada' } });
    t.equal(json.expiresAt, key.expiresAt, 'no later than the key');
    t.equal((await asBearer(gateway, json.token)('GET', '/connections')).status, 200);
    await gateway.request('DELETE', `/api-keys/${key.id}`);
    t.equal((await asBearer(gateway, json.token)('GET', '/connections')).status, 401);
  });
});

t.test('a session ends by the clock', async (t) => {
  const { prisma } = await openTestDatabase(t);
  let now = Date.parse('2026-01-01T00:00:00Z');
  const sessions = createSessionService(createSessionStore(prisma), async () => undefined, () => new Date(now));
  const owner = { identity: 'ada', identityType: 'user' } as const;
  const { token } = await sessions.create(rootPrincipal, owner, { expiresInSeconds: 60, allowedOrigins: [], platforms: [], reconnectId: undefined });
  now += 59_999;
  t.match(await sessions.authenticate(token), { kind: 'session', identity: owner, scopes: [] });
  now += 1;
  await t.rejects(sessions.authenticate(token), { code: 'unauthorized' });
});
