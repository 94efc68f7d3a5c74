import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { type AttemptResult, type Circuits, createCircuits } from '../../src/proxy/circuit.js';
import { createRetryBudget, decideRetry, type FailedAttempt } from '../../src/proxy/retry.js';
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

t.test('safe methods are repeated on 502, 503, 504, 429 with Retry-After and broken connections, at most twice; x-authkit-attempts tells', async (t) => {
  const gateway = await start(t, ok);
  const soon = { 'x-pica-passthrough-retry-after': '0' };
  const failures = [status(502), status(503), status(504), status(429, soon), status(503, soon), reset];
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
  await once(status(429), 'GET');
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
    if (decideRetry(outcome, budget).retry) retries += 1;
  }
  t.ok(retries >= 100 && retries <= 110, String(retries));
});

t.test('the decision: full jitter, a pause after a 503, Retry-After, the deadline, and why', async (t) => {
  const status: FailedAttempt = { method: 'GET', hasBody: false, attempts: 1, remainingMs: 20_000, status: 502, retryAfter: undefined };
  const failure: FailedAttempt = { method: 'GET', hasBody: false, attempts: 1, remainingMs: 20_000, kind: 'unreachable', sent: true, stale: false };
  const said = (base: FailedAttempt, change: object, random = 0.5) => {
    const { retry, reason, waitMs } = decideRetry({ ...base, ...change } as FailedAttempt, createRetryBudget(), () => random);
    return [retry, reason, waitMs];
  };
  t.same(said(status, {}), [true, 'status', 50]);
  t.same(said(status, {}, 0), [true, 'status', 0]);
  t.same(said(status, { attempts: 2 }), [true, 'status', 100]);
  t.same(said(status, { attempts: 3 }), [false, 'attempts_spent', 0]);
  t.same(said(status, { status: 503 }, 0), [true, 'status', 250], 'what is overloaded gets a pause, whatever the luck');
  t.same(said(status, { status: 503, attempts: 2 }, 0), [true, 'status', 500]);
  t.same(said(status, { status: 429 }), [false, 'rate_limited', 0], 'when to come again is the caller\'s to judge');
  t.same(said(status, { status: 429, retryAfter: 'soon' }), [false, 'rate_limited', 0]);
  t.same(said(status, { status: 429, retryAfter: '2' }), [true, 'status', 2_000]);
  t.same(said(status, { status: 404 }), [false, 'final_status', 0]);
  t.same(said(status, { method: 'POST' }), [false, 'not_repeatable', 0]);
  t.same(said(status, { retryAfter: '10' }), [true, 'status', 10_000]);
  t.same(said(status, { retryAfter: '11' }), [false, 'retry_after_too_long', 0]);
  t.same(said(status, { retryAfter: '10', remainingMs: 9_000 }), [false, 'past_deadline', 0]);
  t.ok(Number(said(status, { retryAfter: new Date(Date.now() + 5_000).toUTCString() })[2]) >= 4_000);
  t.same(said(failure, {}), [true, 'unreachable', 50]);
  t.same(said(failure, { stale: true }), [true, 'stale_connection', 0]);
  t.same(said(failure, { kind: 'protocol' }), [false, 'invalid_answer', 0]);
  t.same(said(failure, { kind: 'aborted' }), [false, 'given_up', 0]);
  t.same(said(failure, { kind: 'timeout' }), [false, 'timed_out', 0]);
  t.same(said(failure, { kind: 'timeout', sent: false }), [true, 'not_sent', 50]);
  t.same(said(failure, { method: 'POST' }), [false, 'not_repeatable', 0]);
  t.same(said(failure, { method: 'POST', sent: false }), [true, 'unreachable', 50]);
  const spent = createRetryBudget();
  while (spent.spend('trouble'));
  t.match(decideRetry(status, spent), { retry: false, reason: 'budget_spent' });
});

/** Circuits, and who is refused: `report` tells of so many attempts of each identity. */
function circuitsAt(time: () => number): Circuits & { all(result: AttemptResult, owners: readonly string[], times: number, platform?: string): void; refuses(owner: string, platform?: string): boolean } {
  const circuits = createCircuits(time);
  return {
    ...circuits,
    all(result, owners, times, platform = 'gmail') {
      for (let i = 0; i < times; i += 1) for (const owner of owners) circuits.report(result, owner, platform);
    },
    refuses(owner, platform = 'gmail') {
      try {
        circuits.admit(owner, platform);
        return false;
      } catch (error) {
        t.match(error, { code: 'upstream_circuit_open', extras: { headers: { 'retry-after': /^[1-5]$/ } } });
        return true;
      }
    },
  };
}
const three = ['mallory', 'trudy', 'eve'];
const stateOf = (circuits: Circuits, platform = 'gmail') => circuits.platforms().find(([name]) => name === platform)?.[1];

t.test('an identity whose calls fail is refused, lets one probe through, and passes after an answer; nobody else is', async (t) => {
  let time = 1;
  const circuits = circuitsAt(() => time);
  circuits.all('failed', ['ada'], 19);
  t.equal(circuits.admit('ada', 'gmail'), false);
  circuits.all('failed', ['ada'], 1);
  t.ok(circuits.refuses('ada'));
  t.notOk(circuits.refuses('bob'));
  t.notOk(circuits.refuses('ada', 'slack'), 'nor on another platform');
  t.same([circuits.refusedOwners(), stateOf(circuits), circuits.state()], [1, 'closed', 'closed']);
  time += 5_000;
  t.equal(circuits.admit('ada', 'gmail'), true);
  t.ok(circuits.refuses('ada'));
  circuits.report('failed', 'ada', 'gmail', true);
  t.ok(circuits.refuses('ada'));
  time += 5_000;
  circuits.admit('ada', 'gmail');
  circuits.report('answered', 'ada', 'gmail', true);
  t.equal(circuits.admit('ada', 'gmail'), false);
  t.equal(circuits.refusedOwners(), 0);
  for (let i = 0; i < 100; i += 1) circuits.report(i % 3 === 0 ? 'failed' : 'answered', 'ada', 'gmail');
  t.notOk(circuits.refuses('ada'));
});

t.test('a probe that goes on and on does not keep others out, and calls from before it are not taken for it', async (t) => {
  let time = 1;
  const circuits = circuitsAt(() => time);
  circuits.all('failed', ['ada'], 20);
  time += 5_000;
  t.equal(circuits.admit('ada', 'gmail'), true);
  circuits.report('failed', 'ada', 'gmail');
  circuits.report('ignored', 'ada', 'gmail');
  t.ok(circuits.refuses('ada'));
  time += 4_999;
  t.ok(circuits.refuses('ada'));
  time += 1;
  t.equal(circuits.admit('ada', 'gmail'), true, 'another probe');
  t.ok(circuits.refuses('ada'));
  circuits.report('ignored', 'ada', 'gmail', true);
  t.equal(circuits.admit('ada', 'gmail'), true, 'a probe that said nothing is followed by the next');
  circuits.report('answered', 'ada', 'gmail', true);
  t.equal(circuits.admit('ada', 'gmail'), false);
});

t.test('a burst of failures is weighed against the answers of the seconds before it', async (t) => {
  let time = 1;
  const circuits = circuitsAt(() => time);
  for (let second = 0; second < 60; second += 1) {
    circuits.all('answered', ['ada'], 100);
    // Deadlines end together: many calls that hung for a second fail in one turn of the event loop.
    circuits.all('failed', ['ada'], 30);
    t.equal(circuits.refusedOwners(), 0, `second ${second}`);
    time += 1_000;
  }
  time += 20_000;
  circuits.all('failed', ['ada'], 20);
  t.equal(circuits.refusedOwners(), 1, 'answers of long ago count no more');
});

t.test('a platform is closed by several identities that fail, and not while another is answered', async (t) => {
  let time = 1;
  const circuits = circuitsAt(() => time);
  circuits.all('unheard', three.slice(0, 2), 1_000);
  t.equal(stateOf(circuits), 'closed', 'two are not several');
  circuits.all('answered', ['ada'], 1);
  circuits.all('unheard', three, 1_000);
  t.equal(stateOf(circuits), 'closed', 'one is answered');
  time += 10_000;
  circuits.all('unheard', three, 10);
  t.equal(stateOf(circuits), 'open', 'not any more');
  t.equal(circuits.state(), 'closed', 'of one platform');
  t.notOk(circuits.refuses('ada', 'slack'));
  t.ok(three.every((owner) => circuits.refuses(owner)));
  t.equal(circuits.admit('ada', 'gmail'), true, 'who is not known to fail may be the probe at once');
  t.ok(circuits.refuses('grace'), 'one at a time');
  circuits.report('answered', 'ada', 'gmail', true);
  t.equal(stateOf(circuits), 'closed');
  t.notOk(circuits.refuses('grace'));
});

t.test('whoever is answered goes on being, in the middle of many that fail', async (t) => {
  const circuits = circuitsAt(() => 1);
  circuits.all('answered', ['ada'], 1);
  circuits.all('unheard', Array.from({ length: 100 }, (_, i) => `sybil ${i}`), 50);
  t.equal(stateOf(circuits), 'open');
  for (let i = 0; i < 22; i += 1) t.notOk(circuits.refuses('ada'));
});

t.test('everything is closed by several platforms that plainly do not answer, and by no more than that', async (t) => {
  let time = 1;
  const circuits = circuitsAt(() => time);
  circuits.all('failed', three, 100, 'gmail');
  circuits.all('failed', three, 100, 'slack');
  t.same([stateOf(circuits, 'gmail'), stateOf(circuits, 'slack'), circuits.state()], ['open', 'open', 'closed'], 'answers that broke off are answers');
  time += 10_000;
  circuits.all('unheard', three.slice(0, 2), 100, 'gmail');
  circuits.all('unheard', three.slice(0, 2), 100, 'slack');
  t.equal(circuits.state(), 'closed', 'two identities');
  circuits.all('unheard', three, 7, 'hubspot');
  t.equal(circuits.state(), 'open');
  t.equal(circuits.admit('ada', 'notion'), true, 'a platform that was not called before is probed');
  t.ok(circuits.refuses('grace', 'notion'));
  circuits.report('answered', 'ada', 'notion');
  t.equal(circuits.state(), 'closed');
});

t.test('what is remembered of circuits is bounded', async (t) => {
  let time = 1;
  const circuits = circuitsAt(() => time);
  for (let i = 0; i < 2_500; i += 1) circuits.report('answered', `identity ${i}`, `platform ${i}`);
  t.ok(circuits.platforms().length <= 1_000);
  circuits.all('failed', ['ada'], 20);
  time += 70_000;
  circuits.report('answered', 'bob', 'gmail');
  t.equal(circuits.refusedOwners(), 0, 'and who stays away is forgotten');
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
