import t from 'tap';
import { captureLog } from '../helpers/log.js';
import { openTestDatabase } from '../helpers/database.js';
import { rootKey, secretKey, startGateway, testConfig } from '../helpers/gateway.js';
import { buildApp } from '../../src/app.js';
import { generateToken } from '../../src/auth/key-format.js';
import { createLogger } from '../../src/observability/logger.js';

t.test('healthz answers always, readyz only while the database does', async (t) => {
  const database = await openTestDatabase(t);
  let down = false;
  const gateway = await startGateway(t, 'http://127.0.0.1:9', {}, { ...database, ping: () => (down ? Promise.reject(new Error('ECONNREFUSED 10.0.0.7 password')) : database.ping()) });
  t.match(await gateway.request('GET', '/readyz', { key: null }), { status: 200, json: { status: 'ready', checks: { database: { status: 'ok' } } } });
  down = true;
  const answer = await gateway.request('GET', '/readyz', { key: null });
  t.match(answer, { status: 503, json: { status: 'unavailable', checks: { database: { status: 'failed' } } } });
  t.notMatch(answer.text, /10\.0\.0\.7|password/, 'the reason is for the log');
  t.match(await gateway.request('GET', '/healthz', { key: null }), { status: 200, json: { status: 'ok' } });
});

t.test('a database that hangs makes readyz fail, not hang', async (t) => {
  const database = await openTestDatabase(t);
  const gateway = await startGateway(t, 'http://127.0.0.1:9', {}, { ...database, ping: () => new Promise(() => {}) });
  t.equal((await gateway.request('GET', '/readyz')).status, 503);
});

t.test('metrics count by route pattern, with nothing of the caller in a label', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9');
  await gateway.request('GET', '/connections?identity=secret-ada');
  await gateway.request('GET', '/connections/01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87');
  await gateway.request('GET', '/no/such/route/secret-ada');
  const { text } = await gateway.request('GET', '/metrics', { key: null });
  t.match(text, /http_requests_total\{method="GET",route="\/connections",status="200"\} 1/);
  t.match(text, /http_requests_total\{method="GET",route="\/connections\/:id",status="404"\} 1/);
  t.match(text, /route="unmatched",status="404"/);
  t.match(text, /http_request_duration_seconds_bucket/);
  t.match(text, /process_cpu_user_seconds_total|nodejs_eventloop_lag/);
  t.notMatch(text, /secret-ada|01938f7e/);
});

t.test('each request is one log line: id, pattern, status, principal and upstream time, and no secret', async (t) => {
  const log = captureLog(t);
  const config = testConfig('http://127.0.0.1:9');
  const app = await buildApp({ config, database: await openTestDatabase(t), logger: createLogger('info', [config.secretKey, ...config.adminApiKeys], log) });
  t.teardown(() => app.close());
  const headers = { 'x-api-key': rootKey, 'x-request-id': 'from-the-caller', 'x-user-id': 'ada', cookie: 'session=hunter2' };
  await app.inject({ method: 'GET', url: '/connections?key=test::gmail::default::abcdef', headers });
  await app.inject({ method: 'POST', url: '/authkit/token', headers });
  await app.inject({ method: 'GET', url: `/integrations?q=${rootKey}`, headers });
  const lines = log.lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'request');
  t.match(lines, [
    { requestId: 'from-the-caller', method: 'GET', route: '/connections', status: 200, principal: 'root', upstreamMs: 0 },
    { route: '/authkit/token', status: 502, principal: 'root' },
    { route: '/integrations', status: 400 },
  ]);
  t.ok(lines[1].upstreamMs > 0 && lines[1].ms >= lines[1].upstreamMs);
  t.notMatch(log.lines.join(''), /hunter2|root-key|abcdef|sk_test/);
});

t.test('the documentation page\'s log lines have numbers too', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9');
  for (const path of ['/docs', '/docs/', '/docs/static/swagger-ui.css', '/docs/nothing', '/openapi.json']) await gateway.request('GET', path, { key: null });
  const lines = gateway.log.lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'request');
  t.equal(lines.length, 5);
  for (const { route, ms, upstreamMs } of lines) t.match({ ms, upstreamMs }, { ms: Number, upstreamMs: 0 }, route);
});

t.test('a request id that could forge a log line, or is a secret, is replaced', async (t) => {
  const gateway = await startGateway(t, 'http://127.0.0.1:9');
  for (const forged of ['a b', '"},{"level":60', 'x'.repeat(65), '']) {
    t.not((await gateway.request('GET', '/healthz', { headers: { 'x-request-id': forged } })).headers.get('x-request-id'), forged);
  }
  const connectionKey = `test::gmail::default::${'c'.repeat(32)}`;
  for (const secret of [await gateway.createKey(['proxy']), generateToken('ags_'), connectionKey, rootKey, secretKey]) {
    const { headers } = await gateway.request('GET', '/healthz', { headers: { 'x-request-id': secret } });
    t.match(headers.get('x-request-id'), /^[0-9a-f-]{36}$/);
    t.notMatch(gateway.log.lines.join(''), secret);
  }
  t.equal((await gateway.request('GET', '/healthz', { headers: { 'x-request-id': 'trace-1.a:b' } })).headers.get('x-request-id'), 'trace-1.a:b');
});

t.test('errors are logged with their causes, secrets masked', async (t) => {
  const lines: string[] = [];
  const logger = createLogger('info', [secretKey, 'hunter2'], { write: (line) => void lines.push(line) });
  const cause = new Error(`connect to hunter2 with agk_${'a'.repeat(38)} and test::gmail::default::abc|ada`);
  logger.error({ err: new Error(`failed: ${secretKey}`, { cause }), req: { headers: { 'x-api-key': 'hunter2' } } }, 'x');
  t.match(lines[0], 'failed: [secret]');
  t.match(lines[0], 'connect to [secret] with [secret] and [secret]');
  t.notMatch(lines[0], /hunter2|sk_test|agk_a|test::/);
});

t.test('a bug is a 500 with a request id and nothing else', async (t) => {
  const database = await openTestDatabase(t);
  const prisma = new Proxy(database.prisma, {
    get(target, name) {
      if (name === 'userConnection') throw new TypeError('internal: password=hunter2');
      return Reflect.get(target, name) as unknown;
    },
  });
  const gateway = await startGateway(t, 'http://127.0.0.1:9', {}, { ...database, prisma });
  const answer = await gateway.request('GET', '/connections');
  t.equal(answer.status, 500);
  t.same(Object.keys(answer.json).sort(), ['code', 'detail', 'requestId', 'status', 'title', 'type']);
  t.notMatch(answer.text, /hunter2|TypeError|internal:/);
});
