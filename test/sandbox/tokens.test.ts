import { createRequire } from 'node:module';
import t from 'tap';
import { LIVE_SECRET, sandbox, test, TEST_SECRET } from './fixtures/harness.js';

// The package's types are its TypeScript sources, which do not compile as a module.
const { AuthKitToken } = createRequire(import.meta.url)('@picahq/authkit-node') as {
  AuthKitToken: new (secret: string, options: { baseUrl: string }) => { create(payload: Record<string, unknown>): Promise<any> };
};

t.test('the real SDK gets an embed token bound to its identity', async (t) => {
  const { url, call } = await sandbox(t);
  process.env.PICA_API_BASE_URL = `${url}/v1`;
  t.teardown(() => delete process.env.PICA_API_BASE_URL);

  const sdk = new AuthKitToken(TEST_SECRET, { baseUrl: `${url}/internal` });
  const token = await sdk.create({ identity: 'user-1', identityType: 'user' });
  t.match(token, { identity: 'user-1', identityType: 'user', environment: 'test', sessionId: /^session_id::/ });
  t.ok(token.linkSettings.connectedPlatforms.length >= 60);
  t.match(
    token.linkSettings.connectedPlatforms.find((platform: { type: string }) => platform.type === 'gmail'),
    { title: 'Gmail', environment: 'test', oauth: true, form: [], image: `${url}/marks/gmail.svg` },
  );

  const stored = await call('POST', '/widget/connections', { json: { proof: token.linkSettings.eventIncToken, platform: 'gmail' } });
  t.match(stored.json, { identity: 'user-1', identityType: 'user', environment: 'test', key: /^test::gmail::default::[0-9a-f]{32}\|user-1$/ });

  const live = await new AuthKitToken(LIVE_SECRET, { baseUrl: `${url}/internal` }).create({ identity: 'team-1', identityType: 'team' });
  t.match(live, { environment: 'live', identityType: 'team' });
  t.ok(live.linkSettings.connectedPlatforms.every((platform: { environment: string }) => platform.environment === 'live'));

  const refused = await new AuthKitToken('sk_test_wrong', { baseUrl: `${url}/internal` }).create({ identity: 'user-1' });
  t.match(refused, { type: 'Unauthorized', code: 2010, status: 401, key: 'err::application::unauthorized', meta: null });
});

t.test('an embed token is refused for an event link of another identity', async (t) => {
  const { call } = await sandbox(t);
  const link = await call('POST', '/internal/v1/event-links/create', { headers: test, json: { identity: 'a', identityType: 'user' } });
  const body = { linkSettings: { connectedPlatforms: [], eventIncToken: link.json.token }, environment: 'test', sessionId: 's', identity: 'b' };
  t.equal((await call('POST', '/internal/v1/embed-tokens/create', { headers: test, json: body })).status, 403);
});

t.test('the authkit protocol pages through the platforms', async (t) => {
  const { call, settings } = await sandbox(t);
  await settings({ maxPageSize: 20, whiteLabel: true });
  const json = { identity: 'org-1', identityType: 'organization' };
  const first = (await call('POST', '/v1/authkit?limit=100&page=1', { headers: test, json })).json;
  t.equal(first.rows.length, 20);
  t.match(first, { page: 1, pages: Math.ceil(first.total / 20), requestId: /^req_/ });
  t.match(first.rows[0], { name: String, key: String, platform: String, category: String, image: /^http/, oauth: Boolean, environment: 'test' });

  const names = new Set<string>();
  for (let page = 1; page <= first.pages; page += 1) {
    const { rows } = (await call('POST', `/v1/authkit?limit=100&page=${page}`, { headers: test, json })).json;
    for (const row of rows) names.add(row.platform);
  }
  t.equal(names.size, first.total);
  t.same((await call('GET', '/v1/users/flags', { headers: test })).json, { isWhiteLabel: true });

  const stored = await call('POST', '/widget/connections', { json: { proof: first.requestId, platform: 'exa', form: { apiKey: 'k' } } });
  t.match(stored.json, { identity: 'org-1', identityType: 'organization', platform: 'exa' });
});

t.test('the one protocol takes x-one-secret and answers in its form', async (t) => {
  const { call } = await sandbox(t);
  const headers = { 'x-one-secret': LIVE_SECRET };
  const page = (await call('POST', '/v1/authkit/token?page=1&limit=9999', { headers, json: { identity: 'p', identityType: 'project' } })).json;
  t.equal(page.pages, 1);
  t.ok(page.rows.every((row: { environment: string }) => row.environment === 'live'));

  const refused = await call('POST', '/v1/authkit/token', { headers: { 'x-one-secret': 'nope' }, json: { identity: 'p' } });
  t.equal(refused.status, 401);
  t.same(Object.keys(refused.json).sort(), ['correlationId', 'key', 'message', 'status', 'type']);
  t.equal(refused.headers['x-one-correlation-id'], refused.json.correlationId);
});

t.test('bad bodies are refused the way the wire does', async (t) => {
  const { call, settings } = await sandbox(t);
  const send = (json: unknown) => call('POST', '/v1/authkit', { headers: test, json });
  t.equal((await send({ identity: 'x', identityType: 'robot' })).status, 422);
  t.equal((await send({ identity: 7 })).status, 422);
  t.match(await send({ identityType: 'user' }), { status: 400, json: { type: 'BadRequest', code: 2000 } });
  const malformed = await call('POST', '/v1/authkit', { headers: { ...test, 'content-type': 'application/json' }, body: '{' });
  t.match(malformed, { status: 400, headers: { 'content-type': /text\/plain/ } });
  t.match(await call('POST', '/v1/authkit', { headers: { ...test, 'content-type': 'text/csv' }, body: 'a' }), { status: 415, json: undefined });

  await settings({ unauthorizedBody: 'text' });
  t.match(await call('GET', '/v1/users/flags'), { status: 401, text: 'Unauthorized' });
});
