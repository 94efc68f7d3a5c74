import { once } from 'node:events';
import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import t from 'tap';
import { BoundedBody } from '../../src/proxy/request-body.js';
import { openTestDatabase } from '../helpers/database.js';
import { type Gateway, rootKey, startGateway } from '../helpers/gateway.js';
import { startRaw } from '../helpers/http-client.js';
import { open } from '../helpers/raw-http.js';
import { until } from '../helpers/receiver.js';
import { startOkUpstream, startUpstream, storeConnection } from '../helpers/upstream.js';

// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });
const ask = (method: string, path: string, headers = ''): string => `${method} /proxy/gmail/${path} HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\n${headers}\r\n`;
const inFlight = async (gateway: Gateway): Promise<string | undefined> => /^proxy_in_flight (\d+)$/m.exec((await gateway.request('GET', '/metrics')).text)?.[1];

t.test('a body that breaks while nobody sends it harms no one', async () => {
  const body = new BoundedBody(new IncomingMessage(new Socket()), { maxBytes: 10, silenceMs: 60_000 });
  const closed = new Promise((resolve) => body.once('close', resolve));
  body.destroy(new Error('the caller went away'));
  await closed;
});

t.test('a refused call ends its connection when its body has not come, and nothing after it is served', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, upstream.url, {}, database);
  await gateway.request('POST', '/proxy/gmail/a', { headers: { 'x-user-id': 'ada', 'idempotency-key': 'refused' }, body: 'a' });
  const socket = open(gateway.url);
  const size = 24_000_000;
  const heard: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => heard.push(chunk));
  socket.write(ask('POST', 'b', `idempotency-key: refused\r\ncontent-length: ${size}\r\n`));
  await once(socket, 'data');
  t.match(Buffer.concat(heard).toString(), /^HTTP\/1\.1 422 .*x-authkit-error: idempotency_key_reused.*connection: close/is);
  socket.on('error', () => {});
  socket.write(Buffer.alloc(size));
  socket.write(ask('GET', 'next', 'connection: close\r\n'));
  await until(async () => socket.closed);
  t.notMatch(Buffer.concat(heard).toString(), /HTTP\/1\.1 200 OK/);
  t.equal(upstream.received.length, 1);
});

t.test('a caller that goes away is noticed, also when its calls were waiting for the answer of the one before', async (t) => {
  let calls = 0;
  let open_ = 0;
  const upstream = await startUpstream(t, (request, response) => {
    calls += 1;
    open_ += 1;
    response.on('close', () => (open_ -= 1));
    if (request.url!.endsWith('answer')) response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).write(Buffer.alloc(1_000_000));
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  const socket = open(gateway.url);
  socket.write(ask('GET', 'hang') + ask('GET', 'hang') + ask('GET', 'answer'));
  await until(async () => calls === 3);
  t.equal(await inFlight(gateway), '3');
  socket.destroy();
  await until(async () => open_ === 0);
  t.equal(await inFlight(gateway), '0');
});

t.test('a long line of calls on one connection is answered, and none of Node\'s warnings', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, upstream.url, {}, database);
  const warnings: string[] = [];
  const warn = ({ name }: Error): void => void warnings.push(name);
  process.on('warning', warn);
  t.teardown(() => process.off('warning', warn));
  const socket = open(gateway.url);
  let heard = '';
  socket.on('data', (chunk: Buffer) => (heard += chunk.toString()));
  socket.write(ask('GET', 'x').repeat(30) + ask('GET', 'x', 'connection: close\r\n'));
  await once(socket, 'close');
  t.equal(heard.split('HTTP/1.1 200 OK').length - 1, 31);
  t.same(warnings, []);
});

t.test('an answer that nobody waits for any more and that does not end gives its socket up', async (t) => {
  const upstream = await startRaw(t, (socket) => void socket.on('data', (data: Buffer) => {
    if (/\/ok /.test(data.toString())) return void socket.write('HTTP/1.1 200 OK\r\nx-pica-passthrough-a: b\r\ncontent-length: 2\r\n\r\nok');
    socket.write('HTTP/1.1 500 Oh\r\ntransfer-encoding: chunked\r\n\r\n');
    const drip = setInterval(() => socket.write('1\r\nx\r\n'), 50);
    socket.on('close', () => clearInterval(drip));
  }));
  const gateway = await startGateway(t, upstream.url, { PROXY_MAX_IN_FLIGHT: '4', ACTION_RESOLUTION: 'off' }, database);
  const as = { headers: { 'x-user-id': 'ada' } };
  for (let i = 0; i < 4; i += 1) t.match(await gateway.request('POST', '/proxy/gmail/drip', as), { status: 502 });
  const dripping = upstream.sockets.slice();
  t.equal((await gateway.request('GET', '/proxy/gmail/ok', as)).status, 200);
  await until(async () => dripping.every(({ destroyed }) => destroyed));
});

t.test('a transfer coding that is not undone is refused, and not lost', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, upstream.url, {}, database);
  for (const coding of ['gzip, chunked', 'x-evil,chunked']) {
    const socket = open(gateway.url);
    socket.write(`${ask('POST', 'x', `transfer-encoding: ${coding}\r\nconnection: close\r\n`)}3\r\nabc\r\n0\r\n\r\n`);
    const [answer] = await once(socket, 'data') as [Buffer];
    t.match(answer.toString(), /^HTTP\/1\.1 400 .*"field":"header\.transfer-encoding"/s, coding);
    socket.destroy();
  }
  t.equal(upstream.received.length, 0);
});
