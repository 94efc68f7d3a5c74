import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { createCircuit } from '../../src/proxy/circuit.js';
import { createRetryBudget, type FailedAttempt, retryDelay } from '../../src/proxy/retry.js';
import { openTestDatabase } from '../helpers/database.js';
import { type Gateway, startGateway } from '../helpers/gateway.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });
await storeConnection({ database }, 'gmail', 'bob');
const as = (identity = 'ada', more = {}) => ({ headers: { 'x-user-id': identity, ...more } });

type Handler = (response: ServerResponse, request: IncomingMessage) => void;

/** A gateway whose upstream handles call number 1, 2, … with the handlers in turn, the last one from then on; `next` begins anew. */
async function start(t: Test, ...first: Handler[]): Promise<Gateway & { calls: () => number; next(...handlers: Handler[]): void }> {
  let calls = 0;
  let handlers = first;
  const upstream = await startUpstream(t, (request, response) => {
    calls += 1;
    request.resume();
    handlers[Math.min(calls, handlers.length) - 1]!(response, request);
  });
  const next = (...others: Handler[]): void => {
    calls = 0;
    handlers = others;
  };
  return { ...await startGateway(t, upstream.url, {}, database), calls: () => calls, next };
}
const ok = (response: ServerResponse) => void response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).end('ok');
const status = (code: number, headers = {}) => (response: ServerResponse) => void response.writeHead(code, { 'x-pica-passthrough-a': 'b', ...headers }).end('no');
const reset = (response: ServerResponse) => void response.destroy();

t.test('safe methods are repeated on 502, 503, 504, 429 and broken connections, at most twice; x-authkit-attempts tells', async (t) => {
  const gateway = await start(t, ok);
  const failures = [status(502), status(503), status(504), status(429), status(503, { 'x-pica-passthrough-retry-after': '0' }), reset];
  for (const [method, first] of [...failures.map((each) => ['GET', each] as const), ['HEAD', status(503)] as const, ['OPTIONS', reset] as const]) {
    gateway.next(first, ok);
    const answer = await gateway.request(method, '/proxy/gmail/x', as());
    t.equal(answer.status, 200);
    t.equal(answer.headers.get('x-authkit-attempts'), '2');
  }
  gateway.next(status(503));
  const answer = await gateway.request('GET', '/proxy/gmail/x', as());
  t.match([answer.status, answer.text, answer.headers.get('x-authkit-attempts'), gateway.calls()], [503, 'no', '3', 3]);
});

t.test('other methods, bodies, other statuses and long Retry-After are not', async (t) => {
  const gateway = await start(t, ok);
  const once = async (first: Handler, method: string, options = as()) => {
    gateway.next(first, ok);
    await gateway.request(method, '/proxy/gmail/x', options);
    t.equal(gateway.calls(), 1);
  };
  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
    await once(status(503), method);
    await once(reset, method);
  }
  await once(status(500), 'GET');
  await once(status(503, { 'x-pica-passthrough-retry-after': '11' }), 'GET');
  await once(status(429, { 'x-pica-passthrough-retry-after': new Date(Date.now() + 60_000).toUTCString() }), 'GET');
  await once(status(503), 'OPTIONS', { ...as(), body: 'x' } as never);
});

t.test('Retry-After is waited for', async (t) => {
  const gateway = await start(t, status(503, { 'x-pica-passthrough-retry-after': '1' }), ok);
  const began = performance.now();
  t.equal((await gateway.request('GET', '/proxy/gmail/x', as())).status, 200);
  t.ok(performance.now() - began >= 990);
});

t.test('a refused connection is tried again for every method, its body kept', async (t) => {
  const seat = createServer().listen(0, '127.0.0.1');
  await once(seat, 'listening');
  const { port } = seat.address() as AddressInfo;
  await new Promise((resolve) => seat.close(resolve));
  const gateway = await startGateway(t, `http://127.0.0.1:${port}`, {}, database);
  const answer = await gateway.request('POST', '/proxy/gmail/x', { ...as(), json: { a: 1 } });
  t.match([answer.status, answer.json.code, answer.headers.get('x-authkit-attempts')], [502, 'upstream_unreachable', '3']);
});

t.test('an upstream that closes kept-alive sockets as we send stays invisible to safe methods', async (t) => {
  let seen = 0;
  const upstream = await startUpstream(t, (request, response) => {
    const count = ((request.socket as { count?: number }).count ?? 0) + 1;
    (request.socket as { count?: number }).count = count;
    seen += 1;
    if (count > 4) return void request.socket.destroy();
    ok(response);
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  for (let i = 0; i < 100; i += 1) t.equal((await gateway.request('GET', '/proxy/gmail/x', as())).status, 200);
  t.ok(seen > 100);
});

t.test('when all kept-alive sockets have gone stale, a retry takes a new one', async (t) => {
  const kept: ServerResponse[] = [];
  const stale = new Set<unknown>();
  const upstream = await startUpstream(t, (request, response) => {
    if (stale.has(request.socket)) return void request.socket.destroy();
    if (kept.push(response) <= 6) return kept.length === 6 ? kept.forEach(ok) : undefined;
    ok(response);
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  await Promise.all(Array.from({ length: 6 }, () => gateway.request('GET', '/proxy/gmail/x', as())));
  for (const { req } of kept) stale.add(req.socket);
  const answer = await gateway.request('GET', '/proxy/gmail/x', as());
  t.match([answer.status, answer.headers.get('x-authkit-attempts')], [200, '2']);
});

t.test('the budget: at most a tenth of the calls and a small reserve', async (t) => {
  const budget = createRetryBudget();
  const outcome: FailedAttempt = { method: 'GET', hasBody: false, attempts: 1, remainingMs: 1_000, status: 503, retryAfter: undefined };
  let retries = 0;
  for (let i = 0; i < 1_000; i += 1) {
    budget.call();
    if (retryDelay(outcome, budget) !== undefined) retries += 1;
  }
  t.ok(retries >= 100 && retries <= 110, String(retries));
});

t.test('full jitter, Retry-After as a date, and the deadline', async (t) => {
  const base: FailedAttempt = { method: 'GET', hasBody: false, attempts: 1, remainingMs: 20_000, status: 503, retryAfter: undefined };
  const delay = (change: object, random = 0.5) => retryDelay({ ...base, ...change } as FailedAttempt, createRetryBudget(), () => random);
  t.equal(delay({}), 50);
  t.equal(delay({}, 0), 0);
  t.equal(delay({ attempts: 2 }), 100);
  t.equal(delay({ attempts: 3 }), undefined);
  t.equal(delay({ retryAfter: '10' }), 10_000);
  t.equal(delay({ retryAfter: '10', remainingMs: 9_000 }), undefined);
  t.ok(delay({ retryAfter: new Date(Date.now() + 5_000).toUTCString() })! >= 4_000);
});

t.test('the circuit opens on failures to answer, refuses, lets one probe through, and closes on an answer', async (t) => {
  let time = 1;
  const circuit = createCircuit(() => time);
  const refuses = () => t.throws(() => circuit.admit(), { code: 'upstream_circuit_open' });
  for (let i = 0; i < 19; i += 1) circuit.report('failed', 'ada');
  circuit.admit();
  circuit.report('failed', 'ada');
  t.equal(circuit.state(), 'open');
  refuses();
  circuit.report('failed', 'ada');
  time += 5_000;
  t.equal(circuit.state(), 'half-open', 'calls from before it opened do not keep it open');
  t.equal(circuit.admit(), true);
  refuses();
  circuit.report('failed', 'ada', true);
  refuses();
  time += 5_000;
  circuit.admit();
  circuit.report('answered', 'ada', true);
  t.equal(circuit.state(), 'closed');
  t.equal(circuit.admit(), false);
  for (let i = 0; i < 100; i += 1) circuit.report(i % 3 === 0 ? 'failed' : 'answered', 'ada');
  t.equal(circuit.state(), 'closed');
});

t.test('a probe that goes on and on does not keep others out, and calls from before it are not taken for it', async (t) => {
  let time = 1;
  const circuit = createCircuit(() => time);
  const refuses = () => t.throws(() => circuit.admit(), { code: 'upstream_circuit_open' });
  for (let i = 0; i < 20; i += 1) circuit.report('failed', 'ada');
  time += 5_000;
  t.equal(circuit.admit(), true);
  circuit.report('failed', 'ada');
  circuit.report('ignored', 'ada');
  t.equal(circuit.state(), 'half-open', 'an old call\'s failure opens it for no longer');
  refuses();
  time += 4_999;
  refuses();
  time += 1;
  t.equal(circuit.admit(), true, 'another probe');
  refuses();
  circuit.report('ignored', 'ada', true);
  t.equal(circuit.admit(), true, 'a probe that said nothing is followed by the next');
  circuit.report('answered', 'ada', true);
  t.equal(circuit.state(), 'closed');
});

t.test('a burst of failures is weighed against the answers of the seconds before it', async (t) => {
  let time = 1;
  const circuit = createCircuit(() => time);
  for (let second = 0; second < 60; second += 1) {
    for (let i = 0; i < 100; i += 1) circuit.report('answered', 'ada');
    // Deadlines end together: many calls that hung for a second fail in one turn of the event loop.
    for (let i = 0; i < 30; i += 1) circuit.report('failed', 'ada');
    t.equal(circuit.state(), 'closed', `second ${second}`);
    time += 1_000;
  }
  time += 20_000;
  for (let i = 0; i < 20; i += 1) circuit.report('failed', 'ada');
  t.equal(circuit.state(), 'open', 'answers of long ago count no more');
});

t.test('the failures of one identity do not close the way for others that are answered', async (t) => {
  const circuit = createCircuit(() => 1);
  circuit.report('answered', 'grace');
  for (let i = 0; i < 200; i += 1) circuit.report('failed', 'ada');
  t.equal(circuit.state(), 'closed');
  circuit.report('failed', 'linus');
  t.equal(circuit.state(), 'open', 'two of three fail');
});

t.test('an open circuit shows in /readyz, which stays ready', async (t) => {
  const gateway = await start(t, reset);
  for (let i = 0; i < 20; i += 1) t.equal((await gateway.request('POST', '/proxy/gmail/x', as())).status, 502);
  const refused = await gateway.request('POST', '/proxy/gmail/x', as());
  t.match(refused, { status: 503, json: { code: 'upstream_circuit_open' } });
  t.ok(Number(refused.headers.get('retry-after')) >= 1);
  t.match(await gateway.request('GET', '/readyz'), { status: 200, json: { checks: { upstream: { status: 'ok', detail: /circuit open/ } } } });
});

t.test('PROXY_MAX_IN_FLIGHT: 503 beyond it, and nobody takes every slot', async (t) => {
  const waiting: ServerResponse[] = [];
  const upstream = await startUpstream(t, (_request, response) => void waiting.push(response));
  const gateway = await startGateway(t, upstream.url, { PROXY_MAX_IN_FLIGHT: '8' }, database);
  const send = (identity: string) => gateway.request('GET', '/proxy/gmail/x', as(identity));
  const until = async (count: number) => {
    while (waiting.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const running = Array.from({ length: 6 }, () => send('ada'));
  await until(6);
  const refused = await send('ada');
  t.match([refused.status, refused.json.code, refused.headers.get('retry-after')], [503, 'overloaded', '1']);
  running.push(send('bob'));
  await until(7);
  t.equal((await send('bob')).status, 503, 'the platform has its share');
  waiting.forEach(ok);
  t.ok((await Promise.all(running)).every((answer) => answer.status === 200));
  waiting.length = 0;
  const after = send('ada');
  await until(1);
  waiting.forEach(ok);
  t.equal((await after).status, 200);
});
