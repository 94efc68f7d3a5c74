import type { Socket } from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { Problem } from '../../src/errors.js';
import { Exchange, type HttpRequest } from '../../src/upstream/http/exchange.js';
import { openPool, send, startRaw } from '../helpers/http-client.js';
import { startUpstream } from '../helpers/upstream.js';

t.setTimeout(300_000);

const handler = { onConnect() {}, onHeaders() {}, onData: () => true, onComplete() {}, onError() {} };
const request: HttpRequest = { method: 'GET', path: '/', headers: [], body: null, headersTimeoutMs: 2_000 };
const write = (change: Partial<HttpRequest>): string => new Exchange({ ...request, ...change }, 'h:1', handler).text;

/** A server that keeps what each connection sent, and answers a request once `enough` of it has come. */
async function startKeeping(t: Test, enough: (sent: string) => boolean, answer = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok') {
  const sent: string[] = [];
  const server = await startRaw(t, (socket, number) => {
    let answered = false;
    sent[number - 1] = '';
    socket.on('data', (data: Buffer) => {
      sent[number - 1] += data.toString('latin1');
      if (!answered && enough(sent[number - 1]!)) answered = socket.write(answer);
    });
  });
  return { ...server, sent };
}

t.test('a request as it goes on the wire', async (t) => {
  t.equal(write({ path: '/a%20b?c=\xe9', headers: ['X-A', 'caf\xe9\t"', 'x-empty', ''] }), 'GET /a%20b?c=\xe9 HTTP/1.1\r\nhost: h:1\r\nconnection: keep-alive\r\nX-A: caf\xe9\t"\r\nx-empty: \r\n\r\n');
  t.equal(write({ method: 'POST', body: Buffer.from('h\xe9\0', 'latin1') }), 'POST / HTTP/1.1\r\nhost: h:1\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\nh\xe9\0');
  t.match(write({ method: 'PUT', headers: ['Content-Length', '2'], body: Buffer.from('hi') }), /^PUT (?!.*Content-Length).*\r\ncontent-length: 2\r\n\r\nhi$/s);
  for (const method of ['POST', 'PUT', 'PATCH']) t.match(write({ method }), /\r\ncontent-length: 0\r\n\r\n$/, method);
  for (const method of ['GET', 'DELETE', 'OPTIONS', 'HEAD']) t.notMatch(write({ method }), /content-length/, method);
  t.match(write({ method: 'DELETE', headers: ['content-length', '0'] }), /^(?!.*content-length)/s);
  t.match(write({ method: 'HEAD' }), /connection: close/, 'some servers send a body');
  t.match(write({ method: 'DELETE', body: Buffer.from('x') }), /connection: close\r\ncontent-length: 1/);
});

t.test('nothing can split a request, or change where it ends', async (t) => {
  const attacks: [string, Partial<HttpRequest>][] = [
    ...['GET /evil HTTP/1.1\r\nx: y\r\n\r\n', '', 'G T', 'GET\r\n', 'GET\0', 'G\xc9T', 'G\u010aET', 'CONNECT'].map((method): [string, Partial<HttpRequest>] => [method, { method }]),
    ...['/a b', '/a\r\nx: y', '/a\n', '/a\r', '/a\0', '/a\t', '', 'a', 'http://evil/', '*', '/\u010a', '/\u010d\u010a', '/\u20ac', '/\x7f'].map((path): [string, Partial<HttpRequest>] => [path, { path }]),
    ...['a\r\nb', 'a b', 'a:', '', 'a\0', 'a\xe9', 'a\u010a', ' a', 'a\t'].map((name): [string, Partial<HttpRequest>] => [`name ${name}`, { headers: ['x', 'y', name, 'value'] }]),
    ...['a\r\nb: c', 'a\nb', 'a\rb', 'a\0b', '\u010d\u010ax: y', 'a\u20ac', '\x1b', '\x7f'].map((value): [string, Partial<HttpRequest>] => [`value ${value}`, { headers: ['x', value] }]),
    ...['Transfer-Encoding', 'host', 'Connection'].map((name): [string, Partial<HttpRequest>] => [name, { headers: [name, 'x'] }]),
    ['a length without a body', { method: 'POST', headers: ['content-length', '5'] }],
    ['another length', { method: 'POST', headers: ['content-length', '5'], body: Buffer.from('hi') }],
    ['two lengths', { method: 'POST', headers: ['content-length', '2', 'content-length', '2'], body: Buffer.from('hi') }],
    ['a malformed length', { method: 'POST', headers: ['content-length', '+2'], body: Buffer.from('hi') }],
  ];
  const { url, sockets } = await startKeeping(t, () => true);
  const pool = openPool(t, url);
  for (const [name, change] of attacks) t.match(await send(pool, change), { connected: false, error: { name: 'InvalidRequest' }, ends: 1 }, JSON.stringify(name));
  t.equal(sockets.length, 0);
});

t.test('bodies of every size arrive whole: in one piece, with a length, chunked', async (t) => {
  const upstream = await startUpstream(t, (incoming, response) => void incoming.on('end', () => response.end()));
  const pool = openPool(t, upstream.url);
  for (const size of [0, 1, 8_192, 8_193, 65_536, 5_000_000]) {
    const content = Buffer.alloc(size, 'abcdefg');
    const pieces = (): Readable => Readable.from(function* () {
      for (let at = 0; at < size; at += 50_000) yield content.subarray(at, at + 50_000);
    }(), { objectMode: false });
    const cases = [
      { body: content, headers: [] }, { body: pieces(), headers: ['content-length', String(size)] }, { body: pieces(), headers: [] },
    ];
    for (const { body, headers } of cases) {
      t.match(await send(pool, { method: 'POST', path: '/v1/passthrough', headers, body }), { status: 200, error: undefined });
      const received = upstream.received.pop()!;
      t.ok(received.body.equals(content), String(size));
      t.equal(received.headers['transfer-encoding'], body instanceof Readable && headers.length === 0 ? 'chunked' : undefined);
    }
  }
});

t.test('an upload goes as fast as it is read', async (t) => {
  let receiving: Socket | undefined;
  const { url } = await startRaw(t, (socket) => void (receiving = socket).pause());
  let given = 0;
  const body = new Readable({ read() {
    given += 65_536;
    this.push(given > 100_000_000 ? null : Buffer.alloc(65_536));
  } });
  const call = send(openPool(t, url, { bodyTimeoutMs: 300 }), { method: 'POST', body, headersTimeoutMs: 500 });
  await wait(200);
  const before = given;
  await wait(100);
  t.equal(given, before);
  t.ok(given < 20_000_000, `${given} bytes`);
  t.match(await call, { error: { code: 'timeout' } }, 'and a server that does not read is silent');
  t.equal(body.destroyed, true);
  t.ok(receiving);
});

t.test('the time that a caller takes to send its body does not count against the answer', async (t) => {
  const { url } = await startKeeping(t, (sent) => sent.endsWith('0\r\n\r\n'));
  const body = new PassThrough();
  const call = send(openPool(t, url), { method: 'POST', body, headersTimeoutMs: 200 });
  for (let i = 0; i < 3; i += 1) {
    await wait(300);
    body.write('x');
  }
  body.end();
  t.match(await call, { body: 'ok', error: undefined });
});

t.test('a stream that is longer or shorter than it said breaks the call, and cannot reach into another request', async (t) => {
  for (const parts of [['abcdef'], ['abc', 'GET /evil HTTP/1.1\r\n\r\n'], ['ab']]) {
    const { url, sent } = await startKeeping(t, () => false);
    const call = await send(openPool(t, url), { method: 'POST', headers: ['content-length', '5'], body: Readable.from(parts.map((part) => Buffer.from(part)), { objectMode: false }) });
    t.match(call, { error: { code: 'aborted' }, ends: 1 });
    await wait(20);
    t.ok((sent[0]?.split('\r\n\r\n')[1] ?? '').length < 5, 'what was sent is less than was said');
    t.notMatch(sent[0] ?? '', /evil/);
  }
});

t.test('a body that fails ends the call with its own error, before it was connected and after', async (t) => {
  const { url, sockets } = await startKeeping(t, () => false);
  const problem = new Problem('payload_too_large', 'too much');
  const early = new PassThrough();
  early.destroy(problem);
  t.equal((await send(openPool(t, url), { method: 'POST', body: early })).error, problem);
  const body = new PassThrough();
  const call = send(openPool(t, url), { method: 'POST', body }, (step) => {
    if (step === 'onConnect') setTimeout(() => body.write('x', () => void setTimeout(() => body.destroy(problem), 10)), 10);
  });
  t.match(await call, { error: problem, ends: 1 });
  const closed = new PassThrough();
  const third = send(openPool(t, url), { method: 'POST', body: closed }, (step) => void (step === 'onConnect' && setTimeout(() => closed.destroy(), 10)));
  t.match(await third, { error: { code: 'aborted' }, ends: 1 });
  await wait(20);
  t.ok(sockets.every(({ destroyed }) => destroyed));
});

t.test('a stream that was not begun can be sent again, and may fail meanwhile', async (t) => {
  const { url, sent } = await startKeeping(t, (text) => text.endsWith('0\r\n\r\n'));
  const body = new PassThrough();
  const refused = openPool(t, 'http://127.0.0.1:1');
  t.match(await send(refused, { method: 'POST', body }), { connected: false });
  t.equal(body.destroyed, false);
  const call = send(openPool(t, url), { method: 'POST', body });
  body.end('hi');
  t.match(await call, { body: 'ok' });
  t.match(sent[0], /2\r\nhi\r\n0\r\n\r\n$/);
  const other = new PassThrough();
  await send(refused, { method: 'POST', body: other });
  other.destroy(new Error('nobody listens'));
  await new Promise((resolve) => other.once('close', resolve));
});

t.test('an answer before the end of the upload is whole; the rest is not sent, and the connection not used again', async (t) => {
  const { url, sockets } = await startKeeping(t, (sent) => sent.includes('abc') || sent.startsWith('GET'), 'HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno');
  const pool = openPool(t, url);
  for (const headers of [[], ['content-length', '99']]) {
    const body = new PassThrough();
    body.write('abc');
    t.match(await send(pool, { method: 'POST', headers, body }), { status: 413, body: 'no', error: undefined, ends: 1 });
    t.equal(body.destroyed, true);
  }
  await send(pool);
  t.equal(sockets.length, 3);
});

t.test('after HEAD and after content with a method that expects none, the connection is not used again', async (t) => {
  const { url, sockets } = await startKeeping(t, () => true, 'HTTP/1.1 204 No Content\r\n\r\n');
  const pool = openPool(t, url);
  await send(pool, { method: 'HEAD' });
  await send(pool, { method: 'DELETE', body: Buffer.from('x') });
  await send(pool, { method: 'GET', body: Buffer.from('x') });
  t.equal(sockets.length, 3);
  await wait(20);
  t.ok(sockets.every(({ destroyed }) => destroyed));
});
