import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import t from 'tap';
import { request } from 'undici';
import { LIVE_SECRET, sandbox, test, TEST_SECRET } from './fixtures/harness.js';

t.test('the echo shows what arrived byte for byte, and keeps the credentials to itself', async (t) => {
  const { url, call, seed } = await sandbox(t);
  const { key } = await seed({ platform: 'exa', identity: 'u1' });
  // A raw socket: clients tidy dot segments and stray percent signs away.
  const target = '/v1/passthrough/exa/a/../%2e%2E/%zz//b?q=1&q=%20&=';
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  socket.end(`PROPFIND ${target} HTTP/1.1\r\nhost: x\r\nX-Pica-Secret: ${TEST_SECRET}\r\nx-pica-connection-key: ${key}\r\n` +
    'Content-Type: ;;\r\nX-Odd: a\r\nX-Odd: b\r\ncontent-length: 3\r\nconnection: close\r\n\r\n\xff\x00!', 'latin1');
  const text = Buffer.concat(await socket.toArray()).toString();
  const echoed = JSON.parse(text.slice(text.indexOf('\r\n\r\n') + 4));
  t.match(echoed, {
    method: 'PROPFIND', url: target, path: '/a/../%2e%2E/%zz//b', query: 'q=1&q=%20&=', platform: 'exa', connectionKey: `…${key.slice(-4)}`,
    body: { base64: Buffer.from('\xff\x00!', 'latin1').toString('base64'), length: 3 },
  });
  t.match(echoed.headers.slice(3), [['Content-Type', ';;'], ['X-Odd', 'a'], ['X-Odd', 'b']]);
  t.notOk(text.includes(key) || text.includes(TEST_SECRET));
  t.equal((await call('GET', '/__control/requests')).json.rows[0].url, target);
});

t.test('provider headers are prefixed, in the prefix of the caller', async (t) => {
  const { call, seed } = await sandbox(t);
  const { key } = await seed({ platform: 'exa' });
  const pica = await call('GET', '/v1/passthrough/exa/__provider/headers', { headers: { ...test, 'x-pica-connection-key': key } });
  t.match(pica.headers, {
    'content-type': 'application/octet-stream', 'content-length': String(pica.text.length), 'x-pica-passthrough-etag': '"sandbox-1"',
    'x-pica-passthrough-set-cookie': { length: 2 }, 'x-pica-passthrough-content-type': /json/, 'x-pica-rate-limit-remainings': String,
  });
  t.notOk('etag' in pica.headers || 'set-cookie' in pica.headers);
  const one = await call('GET', '/v1/passthrough/exa/__provider/headers', { headers: { 'x-one-secret': TEST_SECRET, 'x-one-connection-key': key } });
  t.match(one.headers, { 'x-one-passthrough-etag': '"sandbox-1"', 'x-one-rate-limit-limit': String });
});

t.test('keys: environment rule, unknown, missing, of another platform', async (t) => {
  const { call, seed } = await sandbox(t);
  const { key } = await seed({ platform: 'exa' });
  const send = (headers: Record<string, string>, path = 'exa/x') => call('GET', `/v1/passthrough/${path}`, { headers });
  t.match(await send({ 'x-pica-secret': LIVE_SECRET, 'x-pica-connection-key': key }), {
    status: 404, json: { type: 'NotFound', code: 2005, status: 404, message: 'Invalid connection header', meta: null },
  });
  t.match(await send({ ...test, 'x-pica-connection-key': `${key}0` }), { status: 404, json: { message: 'Connection not found' } });
  t.equal((await send({ ...test, 'x-pica-connection-key': key }, 'gmail/x')).status, 404);
  t.equal((await send(test)).status, 400);
  t.equal((await send({ 'x-pica-connection-key': key })).status, 401);
});

t.test('with an action id the action decides method and platform', async (t) => {
  const { call, seed, settings } = await sandbox(t);
  await settings({ provider: 'echo', requireActionId: true });
  const { key } = await seed({ platform: 'gmail' });
  const headers = { ...test, 'x-pica-connection-key': key };
  const { rows } = (await call('GET', '/v1/knowledge?connectionPlatform=github&limit=100', { headers: test })).json;
  const merge = rows.find((row: { method: string }) => row.method === 'PUT');
  t.match(await call('GET', '/v1/passthrough/repos/a/b', { headers: { ...headers, 'x-pica-action-id': merge._id } }), {
    json: { method: 'PUT', platform: 'github', path: '/repos/a/b', actionId: merge._id },
  });
  t.match(await call('GET', '/v1/passthrough/x', { headers: { ...headers, 'x-pica-action-id': 'nope' } }), { status: 404, json: { code: 2005 } });
  t.equal((await call('GET', '/v1/passthrough/gmail/x', { headers })).status, 400);
});

t.test('a custom action acts with the connection that its body names, whichever the header has', async (t) => {
  const { call, seed } = await sandbox(t);
  const [mary, bob, slack] = [await seed({ platform: 'gmail', identity: 'mary' }), await seed({ platform: 'gmail', identity: 'bob' }), await seed({ platform: 'slack' })];
  const { rows } = (await call('GET', '/v1/knowledge?connectionPlatform=gmail&limit=100', { headers: test })).json;
  const action = rows.find((row: { tags: string[] }) => row.tags.includes('custom'));
  const headers = { ...test, 'x-pica-connection-key': mary.key };
  for (const [path, extra] of [[action.path, { 'x-pica-action-id': action._id }], ['/gmail/send-email', {}]] as const) {
    const send = (json: unknown) => call('POST', `/v1/passthrough${path}`, { headers: { ...headers, ...extra }, json });
    t.match((await send({ connectionKey: bob.key, to: 'x' })).json, { from: 'bob@gmail.example', to: 'x' });
    t.match(await send({ to: 'x' }), { status: 400, json: { message: 'connectionKey is required' } });
    t.equal((await send({ connectionKey: slack.key })).status, 404);
  }
});

t.test('realistic answers, and the provider’s own refusal of a dead credential', async (t) => {
  const { call, seed } = await sandbox(t);
  const keys = new Map<string, string>();
  for (const platform of ['gmail', 'slack', 'hubspot', 'github', 'stripe', 'notion', 'google-calendar']) {
    keys.set(platform, (await seed({ platform, identity: 'ada' })).key);
  }
  const send = (method: string, platform: string, path: string, json?: unknown) =>
    call(method, `/v1/passthrough/${platform}${path}`, { headers: { ...test, 'x-pica-connection-key': keys.get(platform) as string }, json });
  t.match((await send('GET', 'gmail', '/gmail/v1/users/me/messages')).json, { messages: [{ id: String }] });
  t.match((await send('GET', 'gmail', '/users/me/profile')).json, { emailAddress: 'ada@gmail.example' });
  t.match((await send('GET', 'slack', '/api/conversations.list')).json, { ok: true, channels: [{ name: 'general' }] });
  t.match((await send('POST', 'slack', '/api/chat.postMessage', { channel: 'C1', text: 'hi' })).json, { ok: true, message: { text: 'hi' } });
  t.match((await send('GET', 'hubspot', '/crm/v3/objects/contacts')).json, { results: { length: 3 } });
  t.match((await send('GET', 'github', '/user/repos')).json, [{ full_name: 'acme/api' }]);
  t.match((await send('GET', 'stripe', '/v1/customers')).json, { object: 'list' });
  t.match((await send('GET', 'google-calendar', '/calendar/v3/calendars/primary/events')).json, { items: { length: 3 } });
  t.match((await send('POST', 'notion', '/v1/search', {})).json, { results: { length: 2 } });
  t.match((await send('POST', 'gmail', '/elsewhere', { a: 1 })).json, { body: { text: '{"a":1}' } });

  keys.set('gmail', (await seed({ platform: 'gmail', state: 'failed' })).key);
  t.match(await send('GET', 'gmail', '/users/me/profile'), { status: 401, headers: { 'x-pica-passthrough-content-type': /json/ } });
});

t.test('bodies stream both ways', async (t) => {
  const { url, call, seed } = await sandbox(t);
  const { key } = await seed({ platform: 'exa' });
  const headers = { ...test, 'x-pica-connection-key': key };
  const at = (path: string) => `${url}/v1/passthrough/exa/__provider/${path}`;

  const size = 5 * 1024 * 1024;
  const block = Buffer.alloc(size / 80, 7);
  const sink = await request(at('sink'), { method: 'POST', headers, body: Readable.from(Array.from({ length: 80 }, () => block)) });
  t.same(await sink.body.json(), { length: size, sha256: createHash('sha256').update(Buffer.alloc(size, 7)).digest('hex') });
  const recorded = (await call('GET', '/__control/requests')).json.rows[0];
  t.equal(recorded.length, size);
  t.equal(Buffer.from(recorded.body, 'base64').length, 65_536);

  const bytes = await request(at('bytes/1000003'), { headers });
  t.equal(bytes.headers['content-length'], '1000003');
  t.equal((await bytes.body.arrayBuffer()).byteLength, 1_000_003);

  const gzip = await request(at('gzip'), { headers });
  t.equal(gzip.headers['x-pica-passthrough-content-encoding'], 'gzip');
  t.match(JSON.parse(gunzipSync(Buffer.from(await gzip.body.arrayBuffer())).toString()), { compressed: true });

  const events = await request(at('sse?count=3&interval=5'), { headers });
  t.equal((await events.body.text()).match(/^event: tick$/gm)?.length, 3);
  t.equal(await (await request(at('slow?ms=5&chunks=3&gap=5'), { headers })).body.text(), 'part 1\npart 2\npart 3\n');

  for (const status of [204, 304, 404, 418, 500]) t.equal((await request(at(`status/${status}`), { headers })).statusCode, status);
  const head = await request(at('bytes/10'), { method: 'HEAD', headers });
  t.equal(head.headers['content-length'], '10');
  t.equal(await head.body.text(), '');
});
