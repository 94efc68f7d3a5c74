import { execFile } from 'node:child_process';
import { extname } from 'node:path';
import { once } from 'node:events';
import type { LookupAddress } from 'node:dns';
import { createServer, type AddressInfo, Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import t from 'tap';
import { isTimeout, problemForFailure } from '../../src/upstream/errors.js';
import { type Call, openPool, send, startAnswering, startRaw } from '../helpers/http-client.js';

t.setTimeout(300_000);

const status = 'HTTP/1.1 200 OK\r\n';
const good = `${status}content-length: 2\r\n\r\nok`;
const bytes = (text: string) => (socket: Socket) => void socket.write(text);

t.test('one connection serves calls in turn, and the most recently used of several goes first', async (t) => {
  const { url, sockets } = await startAnswering(t, good);
  const pool = openPool(t, url);
  for (let i = 0; i < 10; i += 1) t.equal((await send(pool)).body, 'ok');
  t.equal(sockets.length, 1);
  await Promise.all(Array.from({ length: 4 }, () => send(pool)));
  t.equal(sockets.length, 4);
  const before = sockets.map(({ bytesRead }) => bytesRead);
  for (let i = 0; i < 5; i += 1) await send(pool);
  t.equal(sockets.filter(({ bytesRead }, i) => bytesRead > before[i]!).length, 1);
});

t.test('calls beyond the connections wait in line', async (t) => {
  const order: string[] = [];
  const { url, sockets } = await startRaw(t, (socket) => void socket.on('data', (data: Buffer) => {
    order.push(/\/\d+/.exec(data.toString())![0]);
    setTimeout(() => socket.write(good), 5);
  }));
  const pool = openPool(t, url, { connections: 2 });
  const calls = await Promise.all(Array.from({ length: 9 }, (_, i) => send(pool, { path: `/${i}` })));
  t.ok(calls.every(({ body }) => body === 'ok'));
  t.strictSame(order, Array.from({ length: 9 }, (_, i) => `/${i}`));
  t.equal(sockets.length, 2);
});

t.test('what says that it closes is not used again', async (t) => {
  const answers = [`${status}connection: close\r\ncontent-length: 2\r\n\r\nok`, 'HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok', `${status}keep-alive: timeout=1\r\ncontent-length: 2\r\n\r\nok`];
  const { url, sockets } = await startAnswering(t, ...answers, good);
  const pool = openPool(t, url);
  for (let i = 0; i < 4; i += 1) t.equal((await send(pool)).body, 'ok');
  t.equal(sockets.length, 4);
});

t.test('an idle connection is closed before the other side closes it', async (t) => {
  const { url, sockets } = await startAnswering(t, `${status}keep-alive: timeout=2, max=5\r\ncontent-length: 2\r\n\r\nok`, good);
  const pool = openPool(t, url);
  await send(pool);
  const released = performance.now();
  await once(sockets[0]!, 'close');
  const kept = performance.now() - released;
  t.ok(kept > 800 && kept < 2_000, `${kept} ms`);
  await send(pool);
  await wait(2_500);
  t.equal(sockets[1]!.destroyed, false, 'four seconds where nothing is said');
  await once(sockets[1]!, 'close');
});

t.test('an idle connection that gets bytes, an end or a reset leaves the pool', async (t) => {
  for (const trouble of [(socket: Socket) => void socket.write('x'), (socket: Socket) => void socket.end(), (socket: Socket) => void socket.resetAndDestroy()]) {
    const { url, sockets } = await startAnswering(t, good);
    const pool = openPool(t, url);
    await send(pool);
    trouble(sockets[0]!);
    await wait(20);
    t.match(await send(pool), { body: 'ok', error: undefined });
    t.equal(sockets.length, 2);
  }
});

t.test('what comes right after an answer is read before the connection is used again', async (t) => {
  const { url, sockets } = await startAnswering(t, good);
  const pool = openPool(t, url, { connections: 1 });
  const first = send(pool, {}, (step) => {
    if (step === 'onComplete') sockets[0]!.write('HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison');
  });
  const [one, two] = await Promise.all([first, send(pool)]);
  t.match([one.body, two.body, sockets.length], ['ok', 'ok', 2]);
});

t.test('a connection that was kept and closes unanswered is stale; a fresh one is not, nor one that began to answer', async (t) => {
  for (const close of [(socket: Socket) => void socket.end(), (socket: Socket) => void socket.resetAndDestroy()]) {
    const { url } = await startAnswering(t, good, close, good, bytes(`${status}content-length: 9\r\n`), close);
    const pool = openPool(t, url);
    await send(pool);
    const kept = await send(pool);
    t.match(kept, { connected: true, error: { kind: 'unreachable', unheard: true }, ends: 1 });
    t.equal(kept.error!.stale, true);
    const fresh = await startAnswering(t, close);
    t.equal((await send(openPool(t, fresh.url))).error!.stale, false);
    const begun = await startAnswering(t, good, (socket) => void socket.write('HTTP', () => setTimeout(() => close(socket), 20)));
    const other = openPool(t, begun.url);
    await send(other);
    t.equal((await send(other)).error!.stale, false);
  }
});

t.test('a refused connection fails before the call counts as sent, and says why', async (t) => {
  const seat = createServer().listen(0, '127.0.0.1');
  await once(seat, 'listening');
  const { port } = seat.address() as AddressInfo;
  await new Promise((resolve) => seat.close(resolve));
  const pool = openPool(t, `http://127.0.0.1:${port}`);
  for (const call of await Promise.all([send(pool), send(pool)])) t.match(call, { connected: false, error: { kind: 'unreachable', code: 'ECONNREFUSED', unheard: true }, ends: 1 });
  t.match(await send(openPool(t, `http://localhost:${port}`)), { connected: false, error: { kind: 'unreachable', code: 'ECONNREFUSED', unheard: true } }, 'also when several addresses were tried');
});

t.test('IPv6 hosts', async (t) => {
  const server = createServer((socket) => void socket.on('data', () => void socket.write(good)));
  server.listen(0, '::1');
  const listens = await Promise.race([once(server, 'listening').then(() => true), once(server, 'error').then(() => false)]);
  if (!listens) return void t.comment('no IPv6 here');
  t.teardown(() => server.close());
  t.equal((await send(openPool(t, `http://[::1]:${(server.address() as AddressInfo).port}`))).body, 'ok');
});

t.test('deadlines: to the headers, per call too, between parts of the body, and for a place in line', async (t) => {
  const { url } = await startRaw(t, (socket) => void socket.once('data', (data: Buffer) => void (/stall/.test(data.toString()) && socket.write(`${status}content-length: 9\r\n\r\nhal`))));
  const took = async (call: Promise<Call>): Promise<[string | undefined, boolean]> => {
    const began = performance.now();
    const { error, ends } = await call;
    const ms = performance.now() - began;
    t.equal(ends, 1);
    t.equal(isTimeout(error), true);
    t.equal(problemForFailure(error).code, 'upstream_timeout');
    return [error!.code, ms >= 295 && ms < 1_500];
  };
  const pool = openPool(t, url, { bodyTimeoutMs: 300 });
  t.strictSame(await took(send(pool, { headersTimeoutMs: 300 })), ['timeout', true]);
  t.strictSame(await took(send(pool, { path: '/stall' })), ['timeout', true]);
  const slow = await startRaw(t, (socket) => {
    let at = 0;
    const drip = setInterval(() => socket.write(`${status}x: ${'y'.repeat(999)}`[at++]!), 50);
    socket.on('close', () => clearInterval(drip));
  });
  t.strictSame(await took(send(openPool(t, slow.url), { headersTimeoutMs: 300 })), ['timeout', true]);
  const interim = await startRaw(t, (socket) => {
    const say = setInterval(() => socket.write('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n'), 50);
    socket.on('close', () => clearInterval(say));
  });
  t.strictSame(await took(send(openPool(t, interim.url), { headersTimeoutMs: 300 })), ['timeout', true], 'informational answers are none');
  const narrow = openPool(t, url, { connections: 1, connectTimeoutMs: 300 });
  const first = send(narrow);
  const second = send(narrow);
  t.strictSame(await took(second), ['timeout', true]);
  t.equal((await second).connected, false);
  narrow.close();
  t.match(await first, { error: { code: 'aborted' }, ends: 1 });
  const line = openPool(t, url, { connections: 1 });
  const calls = [send(line, { headersTimeoutMs: 9_000 }), send(line, { headersTimeoutMs: 9_000 })];
  t.strictSame(await took(send(line, { headersTimeoutMs: 300 })), ['timeout', true], 'its own, whoever is before it in line');
  line.close();
  await Promise.all(calls);
});

t.test('a fresh call gets a connection of its own, at the limit too', async (t) => {
  const { url, sockets } = await startAnswering(t, good);
  const pool = openPool(t, url, { connections: 2 });
  await Promise.all([send(pool), send(pool)]);
  t.match(await send(pool, { fresh: true }), { body: 'ok', error: undefined });
  t.equal(sockets.length, 3);
  t.equal((await send(pool)).body, 'ok');
  t.equal(sockets.length, 3);
});

t.test('a 204 that announces a body ends its connection: what follows may be that body', async (t) => {
  for (const announces of ['content-length: 80', 'transfer-encoding: chunked']) {
    const { url, sockets } = await startAnswering(t, `HTTP/1.1 204 No Content\r\n${announces}\r\n\r\n`, good);
    const pool = openPool(t, url);
    t.equal((await send(pool)).status, 204);
    t.equal((await send(pool)).body, 'ok');
    t.equal(sockets.length, 2, announces);
  }
});

t.test('a body that is not read for too long ends the call', async (t) => {
  const { url } = await startAnswering(t, `${status}content-length: 9\r\n\r\nhalf`);
  const call = await send(openPool(t, url, { unreadTimeoutMs: 200 }), {}, (step) => step !== 'onData');
  t.match(call, { body: 'half', error: { code: 'timeout' }, ends: 1 });
});

t.test('a body that keeps coming has no deadline, nor one that we do not read', async (t) => {
  const { url } = await startRaw(t, (socket) => void socket.on('data', async () => {
    socket.write(`${status}content-length: 8\r\n\r\n`);
    for (const byte of 'trickles') {
      await wait(120);
      socket.write(byte);
    }
  }));
  const pool = openPool(t, url, { bodyTimeoutMs: 300 });
  t.match(await send(pool), { body: 'trickles', error: undefined });
  let paused = false;
  const call = await send(pool, {}, (step, call) => {
    if (step !== 'onData' || paused) return true;
    paused = true;
    setTimeout(call.resume, 1_000);
    return false;
  });
  t.match(call, { body: 'trickles', error: undefined });
});

t.test('onData that returns false stops the reading until resume, and the connection is whole afterwards', async (t) => {
  const size = 20_000_000;
  const { url, sockets } = await startAnswering(t, (socket) => void socket.write(Buffer.concat([Buffer.from(`${status}content-length: ${size}\r\n\r\n`), Buffer.alloc(size, 'a')])));
  const pool = openPool(t, url);
  let chunks = 0;
  let first: (call: Call) => void;
  const paused = new Promise<Call>((resolve) => (first = resolve));
  const done = send(pool, {}, (step, call) => {
    if (step !== 'onData') return true;
    chunks += 1;
    if (chunks === 1) first(call);
    return chunks > 1;
  });
  const call = await paused;
  await wait(100);
  t.equal(chunks, 1);
  call.resume();
  t.equal((await done).body.length, size);
  let later = 0;
  let again: (call: Call) => void;
  const pausedAgain = new Promise<Call>((resolve) => (again = resolve));
  const next = send(pool, {}, (step, call) => {
    if (step !== 'onData') return true;
    later += 1;
    if (later === 1) again(call);
    return later > 1;
  });
  const other = await pausedAgain;
  call.resume();
  await wait(100);
  t.equal(later, 1, 'nor by the call before it');
  other.resume();
  t.equal((await next).body.length, size);
  t.equal(sockets.length, 1);
});

t.test('a body that ends while it is not wanted leaves a connection that reads', async (t) => {
  const { url, sockets } = await startAnswering(t, good);
  const pool = openPool(t, url);
  for (let i = 0; i < 3; i += 1) t.equal((await send(pool, {}, () => false)).body, 'ok');
  t.equal(sockets.length, 1);
});

t.test('abort ends the call and its connection in every phase, is told once, and does nothing afterwards', async (t) => {
  const { url, sockets } = await startRaw(t, (socket) => void socket.on('data', (data: Buffer) => {
    if (/silent/.test(data.toString())) return;
    if (/whole/.test(data.toString())) return void socket.write(good);
    socket.write(`${status}content-length: 9\r\n\r\n`);
    setTimeout(() => socket.write('half'), 10);
  }));
  const pool = openPool(t, url);
  for (const step of ['onConnect', 'onHeaders', 'onData'] as const) {
    const call = await send(pool, {}, (at, call) => void (at === step && call.abort()));
    t.match(call, { error: { code: 'aborted' }, ends: 1 }, step);
    t.equal(call.body, step === 'onData' ? 'half' : '');
  }
  const reason = new Error('mine');
  t.equal((await send(pool, { path: '/silent' }, (at, call) => void (at === 'onConnect' && setTimeout(call.abort, 20, reason)))).error, reason);
  await wait(20);
  t.equal(sockets.filter(({ destroyed }) => !destroyed).length, 0);
  const over = await send(pool, { path: '/whole' });
  const next = send(pool, { path: '/whole' }, (at) => void (at === 'onConnect' && over.abort()));
  t.match([(await next).body, over.ends], ['ok', 1], 'not of the call after it');
});

t.test('a handler that throws fails its own call, and no other', async (t) => {
  const { url } = await startAnswering(t, good);
  const pool = openPool(t, url);
  for (const step of ['onHeaders', 'onData', 'onComplete'] as const) {
    const call = await send(pool, {}, (at) => {
      if (at === step) throw new Error('mine');
    });
    t.match(call.error, { message: 'mine' }, step);
    t.equal((await send(pool)).body, 'ok');
  }
});

t.test('close ends calls in every phase, once, and later ones too', async (t) => {
  const { url } = await startAnswering(t, `${status}content-length: 9\r\n\r\nhalf`, () => {});
  const pool = openPool(t, url, { connections: 2 });
  const calls = [send(pool)];
  await wait(20);
  calls.push(send(pool), send(pool));
  await wait(20);
  pool.close();
  calls.push(send(pool));
  t.strictSame((await Promise.all(calls)).map(({ status, error, ends }) => [status, error?.code, ends]), [
    [200, 'aborted', 1], [undefined, 'aborted', 1], [undefined, 'aborted', 1], [undefined, 'aborted', 1],
  ]);
});

t.test('a call holds the process, an idle connection does not', async (t) => {
  const { url } = await startAnswering(t, (socket) => void setTimeout(() => socket.write(good), 500));
  const script = `
    const { Pool } = await import(${JSON.stringify(new URL(`../../src/upstream/http/pool${extname(import.meta.url)}`, import.meta.url).href)});
    const pool = new Pool(${JSON.stringify(url)}, { connections: 1, connectTimeoutMs: 9_000, bodyTimeoutMs: 9_000 });
    let began;
    pool.send({ method: 'GET', path: '/', headers: [], body: null, headersTimeoutMs: 9_000 }, {
      onConnect() {}, onHeaders() {}, onData: () => true, onError: console.error, onComplete() { console.log('whole'); began = performance.now(); },
    });
    process.on('exit', () => console.log(performance.now() - began < 2_000 ? 'left' : 'stayed'));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script]);
  t.equal(stdout, 'whole\nleft\n');
});

t.test('a thousand calls leave no listeners, sockets or timers', async (t) => {
  const { url, server, sockets } = await startAnswering(t, good);
  const pool = openPool(t, url);
  const active = () => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap' || name === 'Timeout').length;
  const run = async (count: number) => {
    for (let i = 0; i < count; i += 8) await Promise.all(Array.from({ length: 8 }, () => send(pool, { method: i % 16 ? 'GET' : 'POST', body: i % 16 ? null : Buffer.from('x') })));
  };
  await run(100);
  const before = active();
  await run(1_000);
  t.ok(active() <= before);
  t.ok(sockets.length <= 16, `${sockets.length} sockets`);
  pool.close();
  await wait(50);
  t.equal(await new Promise((resolve) => server.getConnections((_, count) => resolve(count))), 0);
});

t.test('a name\'s addresses are tried beside each other: a dead one costs little, and a slow one is waited for', async (t) => {
  const { url, sockets } = await startAnswering(t, good);
  const { port } = new URL(url);
  const tried: string[] = [];
  /** Connects to the server after so many milliseconds, whatever the address says; undefined: never. */
  const open = (after: Record<string, number | undefined>) => ({ host }: { host?: string }): Socket => {
    tried.push(host!);
    const socket = new Socket();
    const ms = after[host!];
    if (ms !== undefined) void wait(ms).then(() => socket.destroyed || socket.connect(Number(port), '127.0.0.1'));
    return socket;
  };
  const lookup = (_name: string, done: (error: null, addresses: LookupAddress[]) => void) => setImmediate(done, null, [
    { address: '2001:db8::1', family: 6 }, { address: '2001:db8::2', family: 6 }, { address: '192.0.2.1', family: 4 },
  ]);
  const pool = openPool(t, `http://upstream.test:${port}`, { lookup, open: open({ '192.0.2.1': 900 }), connectTimeoutMs: 60_000 });
  t.match(await send(pool, { headersTimeoutMs: 60_000 }), { body: 'ok', error: undefined });
  t.same(tried.splice(0), ['2001:db8::1', '192.0.2.1', '2001:db8::2'], 'the families in turn');
  t.match(await send(pool, { headersTimeoutMs: 60_000, fresh: true }), { body: 'ok' });
  t.equal(tried[0], '192.0.2.1', 'and for a while the one that answered is tried first');
  t.equal(sockets.length, 2);
  const none = openPool(t, `http://upstream.test:${port}`, { lookup, open: open({}), connectTimeoutMs: 400 });
  t.match(await send(none), { connected: false, error: { kind: 'timeout', unheard: true }, ends: 1 });
  const nameless = openPool(t, `http://upstream.test:${port}`, { lookup: (_name, done) => setImmediate(done, Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }), []) });
  t.match(await send(nameless), { connected: false, error: { kind: 'unreachable', code: 'ENOTFOUND', unheard: true }, ends: 1 });
});

t.test('a busy connection has a greatest age, so that the name\'s new addresses are used', async (t) => {
  const [before, after] = [await startAnswering(t, good), await startAnswering(t, good)];
  let address = before;
  const pool = openPool(t, 'http://upstream.test', {
    lookup: (_name, done) => setImmediate(done, null, [{ address: '127.0.0.1', family: 4 }]),
    open: () => new Socket().connect(Number(new URL(address.url).port), '127.0.0.1'), maxAgeMs: 500,
  });
  await send(pool);
  address = after;
  while (after.sockets.length === 0) t.match(await send(pool), { body: 'ok', error: undefined });
  t.equal(before.sockets.length, 1);
});
