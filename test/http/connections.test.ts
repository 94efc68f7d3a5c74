import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import type { createServer} from 'node:http';
import { type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { createFront, type FrontOptions } from '../../src/http/front.js';
import { openTestDatabase } from '../helpers/database.js';
import { rootKey, startGateway } from '../helpers/gateway.js';
import { open } from '../helpers/raw-http.js';
import { until } from '../helpers/receiver.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });
let atOnce = 0;
let mostAtOnce = 0;
let release = (): void => {};
const released = new Promise<void>((resolve) => (release = resolve));
const upstream = await startUpstream(t, (request, response) => {
  atOnce += 1;
  mostAtOnce = Math.max(mostAtOnce, atOnce);
  request.resume().on('end', async () => {
    if (request.url!.includes('wait')) await released;
    atOnce -= 1;
    response.writeHead(200, { 'x-pica-passthrough-content-type': 'text/plain' }).end(request.url!.split('?')[1] ?? 'ok');
  });
});
const gateway = await startGateway(t, upstream.url, { ACTION_RESOLUTION: 'off' }, database);
const head = (method: string, path: string, lines = ''): string => `${method} ${path} HTTP/1.1\r\nhost: x\r\n${lines}\r\n`;
const ada = `x-api-key: ${rootKey}\r\nx-user-id: ada\r\n`;

/** A socket that goes on sending when the server has said its last. */
function openHalf(url: string): Socket {
  const { hostname, port } = new URL(url);
  return connect({ host: hostname, port: Number(port), allowHalfOpen: true });
}

/** Everything a server says until it closes. */
async function heard(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', () => {});
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(chunks).toString('latin1');
}

t.test('a long line of requests is answered in order, 32 provider calls of it at once', async (t) => {
  const socket = open(gateway.url);
  const answers = heard(socket);
  const numbers = Array.from({ length: 100 }, (_, index) => `n${index}n`);
  socket.write(numbers.map((number) => head('GET', `/proxy/gmail/wait?${number}`, ada)).join('') + head('GET', '/healthz', 'connection: close\r\n'));
  await until(async () => atOnce === 32);
  release();
  const text = await answers;
  t.same(text.match(/n\d+n/g), numbers);
  t.equal(mostAtOnce, 32);
  t.match(text, /\{"status":"ok"\}$/);

  const writes = open(gateway.url);
  mostAtOnce = 0;
  writes.write(`${head('POST', '/proxy/gmail/x', `${ada}content-length: 1\r\n`)}a`.repeat(5) + head('GET', '/proxy/gmail/x', `${ada}connection: close\r\n`));
  t.equal((await heard(writes)).match(/HTTP\/1\.1 200 /g)!.length, 6);
  t.equal(mostAtOnce, 1, 'what may change something waits for what was asked before');
});

t.test('unread answers to a flood of requests cost next to nothing', async (t) => {
  const requests = head('GET', '/openapi.json').repeat(1_600);
  const begun = () => gateway.log.lines.filter((line) => line.includes('/openapi.json')).length;
  const sockets = Array.from({ length: 8 }, () => open(gateway.url).pause());
  t.teardown(() => sockets.forEach((socket) => socket.destroy()));
  const held = () => process.memoryUsage().heapUsed + process.memoryUsage().external;
  const before = held();
  for (const socket of sockets) socket.write(requests);
  t.equal((await gateway.request('GET', '/healthz')).status, 200);
  await until(async () => begun() > 0);
  t.equal((await gateway.request('GET', '/healthz')).status, 200);
  t.ok(held() - before < 200_000_000, `${Math.round((held() - before) / 1e6)} MB more`);
  t.ok(begun() < 800, `${begun()} of ${8 * 1_600} were answered to nobody`);
  const tooMany = open(gateway.url);
  tooMany.write(`GET /healthz HTTP/1.1\r\nhost:\r\n\r\n`.repeat(2_000));
  const served = (await heard(tooMany)).match(/HTTP\/1\.1 200 .*?\r\n\r\n/gs)!;
  t.ok(served.length >= 1_000 && served.length < 2_000, `${served.length} served`);
  t.match(served.at(-1)!, /connection: close/i, 'the last one says that it is the last');
});

t.test('the document is one buffer with an ETag', async (t) => {
  const first = await gateway.request('GET', '/openapi.json', { key: null });
  const etag = first.headers.get('etag')!;
  t.match(etag, /^"[\w-]+"$/);
  for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
    const again = await gateway.request('GET', '/openapi.json', { key: null, headers: { 'if-none-match': known } });
    t.same([again.status, again.text, again.headers.get('etag')], [304, '', etag], known);
  }
  t.equal((await gateway.request('GET', '/openapi.json', { key: null, headers: { 'if-none-match': '"other"' } })).text, first.text);
  t.equal((await gateway.request('HEAD', '/openapi.json', { key: null })).headers.get('content-length'), String(Buffer.byteLength(first.text)));
  t.same((await gateway.request('GET', '/docs/json', { key: null })).json, first.json);
});

const early = [
  ['POST', '/connections', '', 401], ['POST', '/proxy/gmail/x', '', 401], ['POST', '/connections', `${ada}content-type: application/json\r\n`, 413],
  ['POST', '/proxy/gmail/x', ada, 413], ['POST', '/nothing', ada, 404], ['GET', '/healthz', '', 200],
] as const;

t.test('after an early answer a body that drips, or that never ends, holds its socket for a bounded time', async (t) => {
  await Promise.all(early.map(async ([method, path, lines, status]) => {
    const dripping = openHalf(gateway.url);
    dripping.write(head(method, path, `${lines}content-length: 200000000\r\n`));
    const drip = setInterval(() => dripping.write('x'), 100);
    const answer = await heard(dripping);
    clearInterval(drip);
    t.match(answer, new RegExp(`^HTTP/1\\.1 ${status} .*\r\nconnection: close\r\n`, 'is'), `${path}: ${answer.slice(0, 100)}`);
  }));
  for (const [method, path, lines, status] of early) {
    const accepted = once(gateway.app.server, 'connection') as Promise<[Socket]>;
    const pouring = openHalf(gateway.url);
    const [inside] = await accepted;
    pouring.write(head(method, path, `${lines}content-length: 600000000\r\n`));
    const chunk = Buffer.alloc(1_000_000);
    const pour = (): void => {
      while (pouring.writable && pouring.write(chunk));
    };
    pouring.on('drain', pour);
    pour();
    t.match(await heard(pouring), new RegExp(`^HTTP/1\\.1 ${status} `), path);
    t.ok(inside.bytesRead < 40_000_000, `${inside.bytesRead} bytes were read`);
  }
});

t.test('fetch and curl see the early answer to a large body every time', async (t) => {
  const body = JSON.stringify({ filler: 'x'.repeat(10_000_000) });
  for (let i = 0; i < 20; i += 1) {
    const headers = { 'content-type': 'application/json', ...(i % 2 ? { 'x-api-key': rootKey } : {}) };
    const answer = await fetch(`${gateway.url}/connections`, { method: 'POST', headers, body });
    t.equal(answer.status, i % 2 ? 413 : 401);
    await answer.text();
  }
  if (!existsSync('/usr/bin/curl')) return t.comment('no curl here');
  for (let i = 0; i < 10; i += 1) {
    const curl = spawn('curl', ['-sS', '-w', ' %{http_code}', '-H', 'expect:', '-H', 'content-type: application/json', '--data-binary', '@-', `${gateway.url}/connections`]);
    curl.stdin.on('error', () => {}).end(body);
    let text = '';
    curl.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    const [code] = await once(curl, 'close') as [number];
    t.match([code, text], [0, /"code":"unauthorized".* 401$/]);
  }
});

t.test('a small refused body costs the connection nothing', async (t) => {
  const socket = open(gateway.url);
  const answers = heard(socket);
  socket.write(`${head('POST', '/connections', 'content-type: application/json\r\ncontent-length: 2\r\n')}{}`.repeat(2) + head('GET', '/healthz', 'connection: close\r\n'));
  t.same((await answers).match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 401', 'HTTP/1.1 401', 'HTTP/1.1 200']);
});

/** The front with a handler of the test's own. */
async function startFront(t: Test, handle: Parameters<typeof createServer>[1], options: Partial<FrontOptions>): Promise<string> {
  const front = createFront({ maxConnections: 100, mayOverlap: () => false, ...options });
  const server = front.serverFactory(handle as never, {}) as Server;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    front.close();
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

t.test('a client that takes nothing of its answer is disconnected, one that takes it slowly is not', async (t) => {
  const url = await startFront(t, (_request, response) => void response.end(Buffer.alloc(30_000_000)), { unreadMs: 1_000 });
  const idle = open(url).pause();
  const slow = open(url).pause();
  let taken = 0;
  const sip = setInterval(() => (taken += (slow.read() as Buffer | null)?.length ?? 0), 5);
  t.teardown(() => clearInterval(sip));
  for (const socket of [idle, slow]) socket.on('error', () => {}).write(head('GET', '/'));
  // Reading nothing, it hears of its end when it writes.
  const watch = setInterval(() => idle.write('x'), 200);
  t.teardown(() => clearInterval(watch));
  await until(async () => idle.closed);
  await until(async () => taken > 30_000_000, 120_000);
  t.pass('the slow one has all of it');
});

t.test('beyond the most connections an idle one gives way, and a busy one does not', async (t) => {
  const url = await startFront(t, (request, response) => void (request.url === '/answer' && response.end('ok')), { maxConnections: 2 });
  const busy = open(url);
  busy.write(head('GET', '/hang'));
  const idle = open(url);
  idle.write(head('GET', '/answer'));
  await once(idle, 'data');
  const gone = heard(idle);
  const third = open(url);
  third.write(head('GET', '/hang'));
  await gone;
  await heard(open(url));
  t.notOk(busy.destroyed || third.destroyed);
});
