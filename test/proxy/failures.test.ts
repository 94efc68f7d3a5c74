import { hash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { rootKey, startGateway } from '../helpers/gateway.js';
import { open } from '../helpers/raw-http.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

// Opening one takes longer than all of these tests.
// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });
const as = { headers: { 'x-identity': 'ada' } };

t.test('the upstream\'s own answers become problems, and no secret shows', async (t) => {
  const errorBody = JSON.stringify({ type: 'NotFound', code: 2005, status: 404, key: 'err::application::not_found', message: 'Connection not found', meta: null });
  const answers: Record<string, [number, string, Record<string, string>]> = {
    '401': [401, 'Unauthorized', {}], '403': [403, '{}', {}], '429': [429, '', { 'retry-after': '11' }], '500': [500, 'x', {}], '503': [503, 'x', {}],
    'pica404': [404, errorBody, {}], 'plain404': [404, '{"a":1}', {}], 'plain200': [200, 'fine', {}], 'big400': [400, 'y'.repeat(200_000), {}],
  };
  const upstream = await startUpstream(t, (request, response) => {
    const [status, body, headers] = answers[request.url!.split('/').at(-1)!]!;
    response.writeHead(status, headers).end(body);
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  const expect = async (path: string, status: number, code: string | null) => {
    const answer = await gateway.request('GET', `/proxy/gmail/${path}`, as);
    t.equal(answer.status, status, path);
    t.equal(answer.headers.get('x-authkit-error'), code, path);
    return answer;
  };
  await expect('401', 502, 'upstream_unauthorized');
  await expect('403', 502, 'upstream_unauthorized');
  t.equal((await expect('429', 429, 'upstream_rate_limited')).headers.get('retry-after'), '11');
  await expect('500', 502, 'upstream_invalid_response');
  await expect('503', 502, 'upstream_invalid_response');
  await expect('pica404', 502, 'upstream_invalid_response');
  t.equal((await expect('plain404', 404, null)).text, '{"a":1}');
  t.equal((await expect('plain200', 200, null)).text, 'fine');
  t.equal((await expect('big400', 400, null)).text.length, 200_000);
});

t.test('unreachable, silent, and broken off before and in the middle of the body', async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    if (request.url!.endsWith('hang')) return;
    if (request.url!.endsWith('reset')) return void response.destroy();
    response.writeHead(200, { 'x-pica-passthrough-a': 'b', 'content-length': 100 });
    response.write('half', () => {
      if (request.url!.endsWith('cut')) setTimeout(() => response.destroy(), 500);
    });
  });
  const gateway = await startGateway(t, upstream.url, { PROXY_TIMEOUT_MS: '300' }, database);
  t.match(await gateway.request('GET', '/proxy/gmail/hang', as), { status: 504, json: { code: 'upstream_timeout' } });
  t.match(await gateway.request('POST', '/proxy/gmail/reset', as), { status: 502, json: { code: 'upstream_unreachable' } });
  await t.rejects(gateway.request('GET', '/proxy/gmail/cut', as));
  await t.rejects(gateway.request('GET', '/proxy/gmail/stall', as));

  const nobody = createServer();
  await new Promise<void>((resolve) => nobody.listen(0, '127.0.0.1', resolve));
  const { port } = nobody.address() as AddressInfo;
  await new Promise((resolve) => nobody.close(resolve));
  const lonely = await startGateway(t, `http://127.0.0.1:${port}`, {}, database);
  t.match(await lonely.request('GET', '/proxy/gmail/x', as), { status: 502, json: { code: 'upstream_unreachable' } });
});

t.test('half an answer never passes for a whole one, not even where its end is that of the connection', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => {
    response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).write('half', () => setTimeout(() => response.destroy(), 500));
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  const socket = open(gateway.url);
  socket.write(`GET /proxy/gmail/x HTTP/1.0\r\nx-api-key: ${rootKey}\r\nx-identity: ada\r\n\r\n`);
  const ended = once(socket.resume(), 'end');
  await t.rejects(ended, { code: 'ECONNRESET' });
});

t.test('which connection: by id, by identity and platform, and never another\'s', async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    // Not the key itself: a head that quotes it does not pass.
    response.writeHead(200, { 'x-pica-passthrough-x-key': hash('sha256', String(request.headers['x-pica-connection-key'])) }).end();
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  const ada = await storeConnection(gateway, 'gmail', 'eve');
  const bob = await storeConnection(gateway, 'gmail', 'bob');
  const bound = await gateway.createKey(['proxy'], { identity: 'eve' });
  const narrow = await gateway.createKey(['proxy:slack']);
  const send = (path: string, headers: Record<string, string>, key?: string) => gateway.request('GET', path, { headers, ...(key ? { key } : {}) });
  t.equal((await send('/proxy/gmail/x', { 'x-user-id': 'bob' })).headers.get('x-key'), hash('sha256', bob.key));
  t.equal((await send('/proxy/gmail/x', {}, bound)).headers.get('x-key'), hash('sha256', ada.key));
  t.match(await send('/proxy/gmail/x', { 'x-connection-id': bob.id }, bound), { status: 404, json: { code: 'connection_not_found' } });
  t.match(await send('/proxy/gmail/x', { 'x-connection-id': 'nonsense' }), { status: 400, json: { code: 'invalid_request' } });
  t.match(await send('/proxy/slack/x', { 'x-connection-id': bob.id }), { status: 422, json: { code: 'platform_mismatch' } });
  t.match(await send('/proxy/slack/x', { 'x-user-id': 'ada' }), { status: 404, json: { code: 'connection_not_found' } });
  t.match(await send('/proxy/gmail/x', {}), { status: 400, json: { code: 'identity_required' } });
  t.match(await send('/proxy/gmail/x', { 'x-user-id': 'ada' }, narrow), { status: 403, json: { code: 'insufficient_scope' } });
  t.match(await gateway.request('GET', '/proxy/gmail/x', { key: null }), { status: 401 });
  const second = await storeConnection(gateway, 'gmail', 'eve');
  t.match(await send('/proxy/gmail/x', {}, bound), { status: 409, json: { code: 'connection_ambiguous', connections: { length: 2 } } });
  t.equal((await send('/proxy/gmail/x', { 'x-connection-id': second.id }, bound)).headers.get('x-key'), hash('sha256', second.key));
});
