import { METHODS } from 'node:http';
import t from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { rootKey, secretKey, startGateway } from '../helpers/gateway.js';
import { exchange } from '../helpers/raw-http.js';
import { startOkUpstream, startUpstream, storeConnection } from '../helpers/upstream.js';

const as = (identity: string, more: Record<string, string> = {}) => ({ headers: { 'x-identity': identity, ...more } });

// Opening one takes longer than all of these tests.
// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });

t.test('every method but TRACE and CONNECT passes, with its body', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, upstream.url, {}, database);
  for (const method of METHODS.filter((name) => name !== 'TRACE' && name !== 'CONNECT')) {
    const answer = await exchange(gateway.url, `${method} /proxy/gmail/a/${method} HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\n`
      + 'connection: close\r\ncontent-type: ;;\r\ncontent-length: 4\r\n\r\nbody');
    t.match(answer, /^HTTP\/1\.1 200 /, method);
    t.match(upstream.received.pop(), { method, url: `/v1/passthrough/gmail/a/${method}`, body: Buffer.from('body') });
  }
  const trace = await exchange(gateway.url, `TRACE /proxy/gmail/a HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nconnection: close\r\n\r\n`);
  t.match(trace, /^HTTP\/1\.1 405 .*allow: .*PROPFIND/s);
  t.equal(upstream.received.length, 0);
});

t.test('request headers: ours, cookies and the upstream\'s namespace stay here; x-upstream-* arrives under its name', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, upstream.url, {}, database);
  const { key } = await storeConnection(gateway, 'gmail', 'adä');
  await exchange(gateway.url, [
    'POST /proxy/gmail/x HTTP/1.1', 'Host: gateway.example', `Authorization: Bearer ${rootKey}`, 'x-identity: UTF-8\'\'ad%C3%A4',
    'x-identity-type: user', 'Cookie: a=b', 'Forwarded: for=1', 'X-Forwarded-For: 1.2.3.4', 'Via: 1.1 x', 'x-pica-secret: mine', 'X-One-Connection-Key: k',
    'x_pica_secret: mine', 'x-authkit-explain: false', 'Keep-Alive: timeout=5', 'TE: trailers', 'Proxy-Authorization: Basic eA==', 'X-Hop: 1',
    'Connection: close, x-hop', 'X-Upstream-Authorization: Bearer second', 'x-upstream-x-pica-secret: mine', 'x-upstream-host: evil', 'x-upstream-accept: application/json',
    'Accept: */*', 'X-Odd: a', 'X-Odd: b', 'Accept-Encoding: gzip', 'Idempotent: caf\xe9', 'Content-Length: 0', '', '',
  ].join('\r\n'));
  const { rawHeaders } = upstream.received[0]!;
  const pairs = rawHeaders.flatMap((name, i) => (i % 2 === 0 ? [[name, rawHeaders[i + 1]!]] : []));
  t.strictSame(pairs, [
    ['host', new URL(upstream.url).host], ['connection', 'keep-alive'], ['X-Odd', 'a'], ['X-Odd', 'b'], ['Accept-Encoding', 'gzip'], ['Idempotent', 'caf\xe9'],
    ['authorization', 'Bearer second'], ['accept', 'application/json'], ['x-pica-secret', secretKey], ['x-pica-connection-key', Buffer.from(key).toString('latin1')],
    ['content-length', '0'],
  ]);
});

t.test('the prefix and the base path of the upstream are configuration', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, `${upstream.url}/one/`, { PICA_HEADER_PREFIX: 'x-one' }, database);
  t.equal((await gateway.request('GET', '/proxy/gmail/a?b', as('ada'))).status, 200);
  t.match(upstream.received[0], { url: '/one/v1/passthrough/gmail/a?b', headers: { 'x-one-secret': secretKey, 'x-one-connection-key': /^test::gmail/ } });
});

t.test('response headers: provider\'s restored and winning; hop-by-hop, cookies, CORS, HSTS and credentials dropped', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => {
    response.writeHead(201, [
      'X-Pica-Passthrough-Content-Type', 'application/json', 'content-type', 'application/octet-stream', 'x-pica-passthrough-server', 'provider', 'Server', 'pica',
      'x-pica-passthrough-set-cookie', 'a=b', 'set-cookie', 'c=d', 'x-pica-passthrough-access-control-allow-origin', '*', 'access-control-allow-origin', '*',
      'x-pica-passthrough-strict-transport-security', 'max-age=1', 'x-pica-passthrough-x-authkit-error', 'forged', 'x-authkit-error', 'forged',
      'x-pica-passthrough-transfer-encoding', 'chunked', 'x-pica-passthrough-content-length', '999', 'x-pica-passthrough-connection', 'x-secret-hop',
      'x-pica-passthrough-x-secret-hop', '1', 'x-pica-secret', 'echoed', 'x-pica-connection-key', 'echoed', 'x-pica-rate-limit-remainings', '7',
      'x-pica-passthrough-link', '<a>', 'x-pica-passthrough-link', '<b>', 'x-one-passthrough-etag', '"1"', 'content-length', '2',
    ]).end('{}');
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  const { status, headers, text } = await gateway.request('GET', '/proxy/gmail/a', as('ada'));
  t.equal(status, 201);
  t.equal(text, '{}');
  const all = Object.fromEntries(headers as unknown as Iterable<[string, string]>);
  t.strictSame(Object.keys(all).sort(), [
    'cache-control', 'connection', 'content-length', 'content-type', 'cross-origin-resource-policy', 'date', 'etag', 'keep-alive', 'link', 'server', 'server-timing', 'vary',
    'x-authkit-attempts', 'x-content-type-options', 'x-pica-rate-limit-remainings', 'x-request-id',
  ]);
  t.match(all, { 'content-type': 'application/json', server: 'provider', link: '<a>, <b>', etag: '"1"', 'content-length': '2' });
});

t.test('statuses, HEAD, 204 and 304 pass as they are', async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    const status = Number(request.url!.split('/').at(-1));
    response.writeHead(status, { 'x-pica-passthrough-etag': 'e', ...(status === 204 || status === 304 ? {} : { 'content-length': 5 }) });
    response.end(status === 204 || status === 304 ? undefined : 'hello');
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  for (const status of [200, 204, 206, 301, 304, 400, 401, 403, 404, 418, 429, 500, 503]) {
    const answer = await gateway.request('GET', `/proxy/gmail/${status}`, as('ada'));
    t.equal(answer.status, status);
    t.equal(answer.text, status === 204 || status === 304 ? '' : 'hello');
    t.equal(answer.headers.get('x-authkit-error'), null);
  }
  const head = await gateway.request('HEAD', '/proxy/gmail/200', as('ada'));
  t.equal(head.headers.get('content-length'), '5');
  t.equal(upstream.received.at(-1)!.method, 'HEAD');
});

t.test('OPTIONS is forwarded, and /proxy answers no preflight', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, upstream.url, {}, database);
  t.equal((await gateway.request('OPTIONS', '/proxy/gmail/x', as('ada'))).text, 'ok');
  const preflight = await gateway.request('OPTIONS', '/proxy/gmail/x', { key: null, headers: { origin: 'https://a.example', 'access-control-request-method': 'POST' } });
  t.equal(preflight.status, 401);
  t.equal(preflight.headers.get('access-control-allow-origin'), null);
});

t.test('Upgrade is refused with a reason', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, upstream.url, {}, database);
  const answer = await exchange(gateway.url, `GET /proxy/gmail/x HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\n`
    + 'connection: upgrade, close\r\nupgrade: websocket\r\n\r\n');
  t.match(answer, /^HTTP\/1\.1 501 .*x-authkit-error: upgrade_not_supported/s);
});
