import { once } from 'node:events';
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { rootKey, startGateway } from '../helpers/gateway.js';
import { exchange, open } from '../helpers/raw-http.js';
import { until } from '../helpers/receiver.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });
const upstream = await startUpstream(t, (request, response) => {
  request.resume().on('end', () => response.writeHead(200, { 'x-pica-passthrough-content-type': 'text/plain' }).end('ok'));
});
const gateway = await startGateway(t, upstream.url, { ACTION_RESOLUTION: 'off', PROXY_MAX_BODY_BYTES: '100000' }, database);
const key = `x-api-key: ${rootKey}\r\n`;
const ada = `${key}x-user-id: ada\r\n`;
const head = (method: string, path: string, lines = ''): string => `${method} ${path} HTTP/1.1\r\nhost: x\r\n${lines}\r\n`;

/** Everything a server says until it closes. */
async function heard(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', () => {});
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(chunks).toString('latin1');
}

function isRefusal(t: Test, answer: string, status: number, code: string): void {
  t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), `${code}: ${answer.slice(0, 300)}`);
  for (const line of ['content-type: application/problem\\+json', `x-authkit-error: ${code}`, 'connection: close']) t.match(answer, new RegExp(`\r\n${line}`, 'i'), code);
  const requestId = /\r\nx-request-id: (\S+)/i.exec(answer)?.[1];
  t.match(JSON.parse(/\r\n\r\n(\{.*\})$/s.exec(answer)![1]!), { type: `urn:authkit-gateway:problem:${code}`, status, code, requestId });
  const logged = gateway.log.lines.map((line) => JSON.parse(line)).filter((line) => line.requestId === requestId && line.msg === 'request');
  t.match(logged, [{ status }], 'one line in the log');
}

t.test('what Node\'s parser refuses is a problem document, logged and counted', async (t) => {
  isRefusal(t, await exchange(gateway.url, head('GET', `/proxy/gmail/x?${'q'.repeat(17_000)}`, ada)), 431, 'headers_too_large');
  isRefusal(t, await exchange(gateway.url, 'this is no HTTP\r\n\r\n'), 400, 'invalid_request');
  isRefusal(t, await exchange(gateway.url, Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00])), 400, 'invalid_request');
  isRefusal(t, await exchange(gateway.url, `${head('POST', '/proxy/gmail/x', `${ada}transfer-encoding: chunked\r\n`)}zz\r\n`), 400, 'invalid_request');
  isRefusal(t, await exchange(gateway.url, `${head('POST', '/proxy/gmail/x', `${ada}transfer-encoding: chunked\r\n`)}1;${'e'.repeat(20_000)}\r\na\r\n`), 413, 'payload_too_large');
  isRefusal(t, await exchange(gateway.url, 'CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n'), 405, 'method_not_allowed');
  const late = open(gateway.url);
  late.write('GET /healthz HTTP/1.1\r\nhost: ');
  const [accepted] = await once(gateway.app.server, 'connection') as [Socket];
  await until(async () => accepted.bytesRead > 0);
  gateway.app.server.emit('clientError', Object.assign(new Error('late'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }), accepted);
  isRefusal(t, await heard(late), 408, 'request_timeout');
  const badPath = await exchange(gateway.url, head('GET', '/connections/%zz', `${key}connection: close\r\n`));
  isRefusal(t, badPath, 400, 'invalid_path');
  const { text } = await gateway.request('GET', '/metrics', { key: null });
  for (const status of [400, 405, 408, 413, 431]) t.match(text, new RegExp(`http_requests_total\\{method="unknown",route="unparsed",status="${status}"\\} [1-9]`));
});

t.test('what was asked before something unreadable is answered before it is refused', async (t) => {
  const answer = await exchange(gateway.url, `${head('GET', '/proxy/gmail/a', ada)}${head('GET', '/proxy/gmail/b', ada)}nonsense\r\n\r\n`);
  t.same(answer.match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 400']);
});

t.test('a request has one Host, at most 1,000 header lines, and expects nothing but 100-continue', async (t) => {
  for (const path of ['/healthz', '/connections', '/proxy/gmail/x']) {
    isRefusal(t, await exchange(gateway.url, head('GET', path, `${ada}Host: x\r\nconnection: close\r\n`)), 400, 'invalid_request');
    isRefusal(t, await exchange(gateway.url, `GET ${path} HTTP/1.1\r\n${ada}connection: close\r\n\r\n`), 400, 'invalid_request');
    isRefusal(t, await exchange(gateway.url, head('GET', path, `${ada}expect: gold\r\nconnection: close\r\n`)), 417, 'expectation_failed');
  }
  t.match(await exchange(gateway.url, 'GET /healthz HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /, 'HTTP/1.0 needs no Host');
  const before = upstream.received.length;
  const many = (count: number) => exchange(gateway.url, `${head('POST', '/proxy/gmail/x', `${ada}${'a:\r\n'.repeat(count)}content-length: 5\r\nconnection: close\r\n`)}hello`);
  isRefusal(t, await many(1_000), 431, 'headers_too_large');
  t.equal(upstream.received.length, before);
  t.match(await many(990), /^HTTP\/1\.1 200 /);
  t.equal(upstream.received.at(-1)!.body.toString(), 'hello');
});

t.test('no 100 Continue where the head alone decides, and one where the body is wanted', async (t) => {
  const asking = (method: string, path: string, lines: string) => head(method, path, `${lines}expect: 100-continue\r\ncontent-type: application/json\r\n`);
  for (const [request, status] of [
    [asking('POST', '/connections', 'content-length: 2\r\n'), 401], [asking('POST', '/proxy/gmail/x', 'content-length: 2\r\n'), 401],
    [asking('POST', '/nothing', `${key}content-length: 2\r\n`), 404], [asking('PUT', '/connections', `${key}content-length: 2\r\n`), 405],
    [asking('POST', '/connections', `${ada}content-length: 100001\r\n`), 413], [asking('POST', '/proxy/gmail/x', `${ada}content-length: 100001\r\n`), 413],
    [asking('POST', '/proxy/slack/x', `${ada}content-length: 2\r\n`), 404],
    [head('POST', '/connections', `${ada}expect: 100-continue\r\ncontent-type: text/html\r\ncontent-length: 2\r\n`), 415],
  ] as const) {
    const socket = open(gateway.url);
    socket.write(request);
    t.match(await heard(socket), new RegExp(`^HTTP/1\\.1 ${status} `), request);
  }
  for (const [path, body, expected] of [['/authkit/sessions', '{}', 201], ['/proxy/gmail/x', 'ab', 200]] as const) {
    const socket = open(gateway.url);
    socket.write(asking('POST', path, `${ada}connection: close\r\ncontent-length: 2\r\n`));
    const [first] = await once(socket, 'data') as [Buffer];
    t.equal(first.toString(), 'HTTP/1.1 100 Continue\r\n\r\n');
    socket.write(body);
    t.match(await heard(socket), new RegExp(`^HTTP/1\\.1 ${expected} `));
  }
});

t.test('an offered upgrade is ignored with all it nominates; only a WebSocket is refused, once, with no stack in the log', async (t) => {
  const h2c = 'connection: Upgrade, HTTP2-Settings, x-secret-hop\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\nx-secret-hop: 1\r\n';
  for (const [request, body] of [[head('GET', '/proxy/gmail/x', ada + h2c), ''], [head('POST', '/proxy/gmail/x', `${ada}${h2c}content-length: 5\r\n`), 'hello']] as const) {
    const socket = open(gateway.url);
    socket.write(request + body);
    t.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 200 /);
    t.notMatch(upstream.received.at(-1)!.rawHeaders.join(), /upgrade|http2-settings|x-secret-hop/i);
    t.equal(upstream.received.at(-1)!.body.toString(), body);
    socket.write(head('GET', '/healthz', 'connection: close\r\n'));
    t.match(await heard(socket), /HTTP\/1\.1 200 /, 'and the connection goes on');
  }
  t.match(await exchange(gateway.url, head('GET', '/connections', `${key}connection: upgrade, close\r\nupgrade: TLS/1.0, IRC/6.9\r\n`)), /^HTTP\/1\.1 200 /);

  const [sent, logged] = [upstream.received.length, gateway.log.lines.length];
  const answer = await exchange(gateway.url, `${head('GET', '/proxy/gmail/x', `${ada}connection: keep-alive, Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n`)}\x81\x85\x00\x00\x00\x00hello`);
  isRefusal(t, answer, 501, 'upgrade_not_supported');
  t.equal(answer.match(/HTTP\/1\.1/g)!.length, 1);
  t.equal(upstream.received.length, sent);
  t.notMatch(gateway.log.lines.slice(logged).join(''), /"stack"|request failed/);
});
