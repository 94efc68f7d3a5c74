import t from 'tap';
import { Problem } from '../../src/errors.js';
import type { UpstreamClient } from '../../src/upstream/client.js';
import { problemForStatus } from '../../src/upstream/errors.js';
import { createPacer } from '../../src/upstream/paced.js';
import { type RateLimit, readRateLimit } from '../../src/upstream/rate-limit.js';

const signal = new AbortController().signal;

/** An upstream and a clock that only waits move. */
function simulated(share: number, said?: () => RateLimit | undefined) {
  const clock = { now: 1_000_000 };
  const calls: number[] = [];
  let failures: Problem[] = [];
  const upstream = {
    rateLimit: () => said?.(),
    async call() {
      calls.push(clock.now);
      const failure = failures.shift();
      if (failure) throw failure;
      return { status: 200, body: undefined };
    },
  } as unknown as UpstreamClient;
  const sleep = async (milliseconds: number) => void (clock.now += milliseconds);
  const { call } = createPacer(upstream, { share, now: () => clock.now, sleep })(signal);
  return { clock, calls, run: () => call('GET', '/'), fail: (...some: Problem[]) => void (failures = some) };
}

const limitOf = (limit: number, remaining: number, resetAt: number, resetMs = 30_000) => () => ({ limit, remaining, resetAt, resetMs });

t.test('paced calls stay within their share of the limit, in any minute', async (t) => {
  const { calls, run } = simulated(0.2, limitOf(100, 90, 0));
  for (let call = 0; call < 100; call += 1) await run();
  for (const start of calls) {
    const inWindow = calls.filter((at) => at >= start && at < start + 60_000).length;
    t.ok(inWindow <= 20, `${inWindow} calls in the minute from ${start}`);
  }
});

t.test('an upstream that tells no limit gets one call a second', async (t) => {
  const { calls, run } = simulated(0.2);
  for (let call = 0; call < 5; call += 1) await run();
  t.same(calls.map((at) => at - calls[0]!), [0, 1000, 2000, 3000, 4000]);
});

t.test('a window that others have used up is waited out', async (t) => {
  const { clock, calls, run } = simulated(0.2, limitOf(100_000, 0, 1_025_000));
  await run();
  t.same(calls, [1_025_000]);
  t.equal(clock.now, 1_025_000);
});

t.test('a 429 waits as long as it says and is tried again, three times in all', async (t) => {
  const limited = (seconds: number) => new Problem('upstream_rate_limited', 'slow down', { headers: { 'retry-after': String(seconds) } });
  const { calls, run, fail } = simulated(1, limitOf(1_000_000, 5, 0));
  fail(limited(7), limited(7));
  await run();
  t.equal(calls.length, 3);
  t.ok(calls[2]! - calls[0]! >= 14_000);
  fail(limited(1), limited(1), limited(1));
  await t.rejects(run(), { code: 'upstream_rate_limited' });
});

t.test('a wait ends with its signal', async (t) => {
  const leaving = new AbortController();
  const upstream = { rateLimit: limitOf(10, 0, Date.now() + 60_000), call: async () => ({ status: 200, body: undefined }) } as unknown as UpstreamClient;
  const waiting = createPacer(upstream, { share: 0.2 })(leaving.signal).call('GET', '/');
  leaving.abort();
  await t.rejects(waiting, { name: 'AbortError' });
});

t.test('the upstream\'s headers are read, misspelling and Unix times included', async (t) => {
  const headers = (reset: string) => ({ 'x-pica-rate-limit-limit': '100', 'x-pica-rate-limit-remainings': '7', 'x-pica-rate-limit-reset': reset });
  t.same(readRateLimit(headers('30'), 'x-pica', 5_000), { limit: 100, remaining: 7, resetAt: 35_000, resetMs: 30_000 });
  t.match(readRateLimit(headers('1800000030'), 'x-pica', 1_800_000_000_000), { resetMs: 30_000 });
  t.equal(readRateLimit(headers('30'), 'x-one'), undefined);
  t.equal(readRateLimit(headers('soon'), 'x-pica'), undefined);
});

t.test('a reset further away than an hour is taken for an hour: a timer cannot hold more than 24 days, and then fires at once', async (t) => {
  for (const reset of ['9999999999', '999999999', '3601']) {
    const headers = { 'x-pica-rate-limit-limit': '100', 'x-pica-rate-limit-remainings': '0', 'x-pica-rate-limit-reset': reset };
    t.match(readRateLimit(headers, 'x-pica', 5_000), { resetMs: 3_600_000, resetAt: 3_605_000 }, reset);
  }
});

t.test('a 429 says when to come back, in whichever form the upstream told it', async (t) => {
  const now = 1_800_000_000_000;
  const told = (headers: Record<string, string>) => problemForStatus(429, (name) => headers[name], undefined, now).extras.headers?.['retry-after'];
  t.equal(told({ 'x-pica-rate-limit-reset': '42' }), '42');
  t.equal(told({ 'x-one-rate-limit-reset': '42' }), '42');
  t.equal(told({ 'x-pica-rate-limit-reset': '1800000030' }), '30', 'a Unix time');
  t.equal(told({ 'x-pica-rate-limit-reset': '9999999999' }), '3600');
  t.equal(told({ 'retry-after': '7', 'x-pica-rate-limit-reset': '42' }), '7');
  t.equal(told({ 'x-pica-rate-limit-reset': 'soon' }), '1');
  t.equal(told({}), '1');
});
