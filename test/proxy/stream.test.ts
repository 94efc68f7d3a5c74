import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { request } from 'undici';
import { openTestDatabase } from '../helpers/database.js';
import { type Gateway, rootKey, startGateway } from '../helpers/gateway.js';
import { pour } from '../helpers/pattern.js';
import { open } from '../helpers/raw-http.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

// Opening one takes longer than all of these tests.
// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });
const headers = { 'x-api-key': rootKey, 'x-user-id': 'ada' };

async function start(t: Parameters<typeof startUpstream>[0], handle: Parameters<typeof startUpstream>[1], environment = {}): Promise<Gateway> {
  const upstream = await startUpstream(t, handle);
  return startGateway(t, upstream.url, environment, database);
}

t.test('bodies of every size arrive whole, both ways, chunked or with a length', async (t) => {
  const gateway = await start(t, (incoming, response) => {
    response.writeHead(200, { 'x-pica-passthrough-x-length': incoming.headers['content-length'] ?? 'chunked' });
    incoming.pipe(response);
  });
  for (const size of [0, 1, 1_000, 16_384, 16_385, 65_536, 65_537, 3_000_000]) {
    const body = Buffer.alloc(size, 'abcdefg');
    for (const chunked of [false, true]) {
      const { port } = new URL(gateway.url);
      const call = httpRequest({ port, path: '/proxy/gmail/x', method: 'POST', headers: { ...headers, ...(chunked ? {} : { 'content-length': size }) } });
      if (size > 0) call.write(body);
      call.end();
      const [answer] = await once(call, 'response') as [IncomingMessage];
      const hash = createHash('sha256');
      for await (const chunk of answer) hash.update(chunk as Buffer);
      t.equal(hash.digest('hex'), createHash('sha256').update(body).digest('hex'), `${size} ${chunked}`);
      t.equal(answer.headers['x-length'], chunked && size > 0 ? 'chunked' : String(size));
    }
  }
});

t.test('headers arrive before any body, and events as they come', async (t) => {
  let next: () => void = () => {};
  const gateway = await start(t, (_incoming, response) => {
    response.writeHead(200, { 'x-pica-passthrough-content-type': 'text/event-stream' });
    response.flushHeaders();
    next = () => void response.write('data: 1\n\n');
    t.teardown(() => response.end());
  });
  const answer = await request(`${gateway.url}/proxy/gmail/events`, { headers });
  t.equal(answer.headers['content-type'], 'text/event-stream');
  next();
  const [chunk] = await once(answer.body, 'data') as [Buffer];
  t.equal(chunk.toString(), 'data: 1\n\n');
  answer.body.on('error', () => {}).destroy();
});

t.test('a caller that goes away ends the upstream call within 100 ms: before headers, during the answer, during the upload', async (t) => {
  let closed: Promise<unknown> = Promise.resolve();
  let began: () => void = () => {};
  const gateway = await start(t, (incoming, response) => {
    closed = once(response, 'close');
    if (incoming.url!.endsWith('answer')) response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).write('x');
    if (incoming.url!.endsWith('upload')) incoming.once('data', began);
    else began();
  });
  const leave = async (moment: string): Promise<number> => {
    const started = new Promise<void>((resolve) => (began = resolve));
    const socket = open(gateway.url);
    const upload = moment === 'upload';
    socket.write(`${upload ? 'POST' : 'GET'} /proxy/gmail/${moment} HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\n${upload ? 'content-length: 1000000\r\n\r\nx' : '\r\n'}`);
    await started;
    if (moment === 'answer') await once(socket, 'data');
    const left = performance.now();
    socket.destroy();
    await closed;
    return performance.now() - left;
  };
  for (const moment of ['before', 'answer', 'upload']) {
    // The best of three: a busy machine may stop this process for longer.
    const took = [await leave(moment), await leave(moment), await leave(moment)];
    t.ok(Math.min(...took) < 100, `${moment}: ${took.map(Math.round).join(', ')} ms`);
  }
});

t.test('a slow reader slows the provider', async (t) => {
  let sent: () => number = () => 0;
  const gateway = await start(t, (_incoming, response) => {
    response.writeHead(200, { 'x-pica-passthrough-a': 'b' });
    ({ sent } = pour(response, 200_000_000));
  });
  const socket = open(gateway.url);
  socket.write(`GET /proxy/gmail/x HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\n\r\n`);
  await once(socket, 'readable');
  await wait(500);
  const before = sent();
  await wait(300);
  t.equal(sent(), before);
  t.ok(before > 0 && before < 100_000_000, `${before} bytes were taken from the provider`);
  socket.destroy();
});

t.test('PROXY_MAX_BODY_BYTES: 413 for a declared and for a chunked body, and the connection survives', async (t) => {
  const gateway = await start(t, (incoming, response) => {
    incoming.resume().on('end', () => response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).end('ok'));
  }, { PROXY_MAX_BODY_BYTES: '100000' });
  const send = (body: Buffer | AsyncGenerator<Buffer>) => request(`${gateway.url}/proxy/gmail/x`, { method: 'POST', headers, body: body as never });
  const chunks = async function* (count: number) {
    for (let i = 0; i < count; i += 1) yield Buffer.alloc(10_000);
  };
  for (const body of [Buffer.alloc(100_001), chunks(11), chunks(100)]) {
    const answer = await send(body);
    t.equal(answer.statusCode, 413);
    t.equal(answer.headers['x-authkit-error'], 'payload_too_large');
    await answer.body.dump();
  }
  for (const body of [Buffer.alloc(100_000), chunks(10)]) {
    const answer = await send(body);
    t.equal(await answer.body.text(), 'ok');
  }
});

t.test('an answer that comes before the upload ends reaches the caller', async (t) => {
  const gateway = await start(t, (_incoming, response) => {
    response.writeHead(400, { 'x-pica-passthrough-a': 'b', 'content-length': 3 }).end('no!');
  });
  const { port } = new URL(gateway.url);
  const call = httpRequest({ port, path: '/proxy/gmail/x', method: 'POST', headers });
  call.on('error', () => {});
  call.write(Buffer.alloc(1000));
  const [answer] = await once(call, 'response') as [IncomingMessage];
  t.equal(answer.statusCode, 400);
  t.equal(Buffer.concat(await answer.toArray()).toString(), 'no!');
  call.end();
});

t.test('trailers arrive', async (t) => {
  const gateway = await start(t, (_incoming, response) => {
    response.writeHead(200, { 'x-pica-passthrough-a': 'b', trailer: 'x-sum' });
    response.write('body');
    response.addTrailers({ 'x-sum': '42', 'set-cookie': 'a=b' });
    response.end();
  });
  const { port } = new URL(gateway.url);
  const call = httpRequest({ port, path: '/proxy/gmail/x', headers }).end();
  const [answer] = await once(call, 'response') as [IncomingMessage];
  t.equal(Buffer.concat(await answer.toArray()).toString(), 'body');
  t.strictSame({ ...answer.trailers }, { 'x-sum': '42' });
});

t.test('trailers of a request arrive too, but for those that have no business there', async (t) => {
  const upstream = await startUpstream(t, (incoming, response) => {
    incoming.on('end', () => response.writeHead(200, { 'x-pica-passthrough-x-trailers': JSON.stringify(incoming.rawTrailers) }).end('ok'));
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  const { port } = new URL(gateway.url);
  for (const size of [10, 100_000]) {
    const call = httpRequest({ port, path: '/proxy/gmail/x', method: 'POST', headers: { ...headers, trailer: 'x-sum' } });
    call.write(Buffer.alloc(size, 'a'));
    call.addTrailers({
      'x-sum': '42', 'x-upstream-x-more': '43', host: 'evil', 'content-type': 'text/evil', authorization: 'Bearer x', cookie: 'a=b', 'x-pica-secret': 'mine', 'x-api-key': 'k',
      'x-forwarded-for': '1.2.3.4',
    });
    call.end();
    const [answer] = await once(call, 'response') as [IncomingMessage];
    t.match([answer.statusCode, answer.headers['x-trailers']], [200, JSON.stringify(['x-sum', '42', 'x-more', '43'])]);
    answer.resume();
    const received = upstream.received.at(-1)!;
    t.ok(received.body.equals(Buffer.alloc(size, 'a')));
    t.notOk(received.headers.trailer ?? received.headers['x-sum']);
  }
});

t.test('a body that stops coming is 408, short or long, with a length or without', async (t) => {
  const gateway = await start(t, (incoming, response) => void incoming.resume().on('end', () => response.end()), { PROXY_TIMEOUT_MS: '200' });
  for (const framing of ['content-length: 10', 'content-length: 1000000', 'transfer-encoding: chunked']) {
    const socket = open(gateway.url);
    socket.write(`POST /proxy/gmail/x HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\n${framing}\r\n\r\n${framing.startsWith('t') ? '1\r\na\r\n' : 'a'}`);
    const [answer] = await once(socket, 'data') as [Buffer];
    t.match(answer.toString(), /^HTTP\/1\.1 408 .*x-authkit-error: request_timeout/s, framing);
    socket.destroy();
  }
});

t.test('Expect: 100-continue is answered, and not passed on', async (t) => {
  const gateway = await start(t, (incoming, response) => {
    incoming.resume().on('end', () => response.writeHead(200, { 'x-pica-passthrough-x-expect': incoming.headers.expect ?? 'none' }).end('ok'));
  });
  const { port } = new URL(gateway.url);
  const call = httpRequest({ port, path: '/proxy/gmail/x', method: 'POST', headers: { ...headers, expect: '100-continue', 'content-length': 2 } });
  call.flushHeaders();
  await once(call, 'continue');
  call.end('hi');
  const [answer] = await once(call, 'response') as [IncomingMessage];
  t.match([answer.statusCode, answer.headers['x-expect']], [200, 'none']);
  answer.resume();
});
