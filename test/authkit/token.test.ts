import t, { type Test } from 'tap';
import { startSandbox } from '../../sandbox/start.js';
import { type Gateway, startGateway } from '../helpers/gateway.js';
import { fault, recordings } from '../helpers/sandbox.js';

/** A gateway in front of a sandbox of its own, with the given token source. */
async function start(t: Test, source: string, overrides: Record<string, string> = {}): Promise<{ gateway: Gateway; upstream: string }> {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  return { gateway: await startGateway(t, sandbox.url, { AUTHKIT_TOKEN_SOURCE: source, ...overrides }), upstream: sandbox.url };
}

const ask = (gateway: Gateway, identity = 'ada', options: Parameters<Gateway['request']>[2] = {}) =>
  gateway.request('POST', '/authkit/token', { ...options, headers: { 'x-identity': identity, ...options?.headers } });

t.test('the SDK\'s token arrives unwrapped, uncached, for the identity that asked', async (t) => {
  const { gateway } = await start(t, 'sdk');
  const answer = await ask(gateway);
  t.equal(answer.status, 200);
  t.equal(answer.headers.get('cache-control'), 'no-store');
  t.equal(answer.json.identity, 'ada');
  t.type(answer.json.linkSettings.eventIncToken, 'string');
  t.ok(answer.json.linkSettings.connectedPlatforms.length > 10);
});

t.test('identities of every type get tokens, project included', async (t) => {
  const { gateway } = await start(t, 'sdk');
  for (const type of ['user', 'team', 'organization', 'project']) {
    const answer = await ask(gateway, 'acme', { headers: { 'x-identity-type': type } });
    t.equal(answer.status, 200, type);
    t.equal(answer.json.identityType, type);
  }
});

t.test('identities asking at the same moment never see each other\'s token', async (t) => {
  for (const source of ['sdk', 'http']) {
    const { gateway, upstream } = await start(t, source);
    const identities = Array.from({ length: 24 }, (_, index) => `user-${index}`);
    const answers = await Promise.all(identities.map((identity) => ask(gateway, identity)));
    t.same(answers.map(({ status }) => status), identities.map(() => 200), source);
    if (source === 'sdk') t.same(answers.map(({ json }) => json.identity), identities);
    const bodies = (await recordings(upstream, source === 'sdk' ? '/internal/v1/event-links/create' : '/v1/authkit')).map(({ body }) => JSON.parse(body).identity);
    t.same([...new Set(bodies)].sort(), [...identities].sort());
  }
});

t.test('http merges all pages in order, at most three in flight', async (t) => {
  let inFlight = 0;
  let most = 0;
  const pages = 7;
  const { createServer } = await import('node:http');
  const server = createServer((request, response) => {
    const url = new URL(request.url!, 'http://x');
    request.resume();
    if (url.pathname === '/v1/users/flags') return response.writeHead(500).end();
    inFlight += 1;
    most = Math.max(most, inFlight);
    setTimeout(() => {
      inFlight -= 1;
      const page = Number(url.searchParams.get('page'));
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ rows: [{ platform: `p${page}`, extra: { kept: true } }], total: pages, pages, page, requestId: 'req' }));
    }, 20 * (pages - Number(url.searchParams.get('page'))));
    return undefined;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const gateway = await startGateway(t, `http://127.0.0.1:${(server.address() as { port: number }).port}`, { AUTHKIT_TOKEN_SOURCE: 'http' });

  const answer = await ask(gateway);
  t.equal(answer.status, 200);
  t.same(answer.json, {
    rows: Array.from({ length: pages }, (_, index) => ({ platform: `p${index + 1}`, extra: { kept: true } })),
    total: pages, pages: 1, page: 1, requestId: 'req', isWhiteLabel: false,
  });
  t.equal(most, 3);

  const second = await ask(gateway, 'ada', {});
  t.equal(second.status, 200);
  const one = await gateway.request('POST', '/authkit/token?page=2&limit=1', { headers: { 'x-identity': 'ada' } });
  t.same([one.json.page, one.json.rows.length], [2, 1], 'a widget that pages gets the page it asked for');
});

t.test('http and one speak their protocols to the sandbox', async (t) => {
  const http = await start(t, 'http');
  const merged = await ask(http.gateway);
  t.equal(merged.status, 200);
  t.equal(merged.json.rows.length, merged.json.total);

  const one = await start(t, 'one', { PICA_HEADER_PREFIX: 'x-one' });
  const page = await one.gateway.request('POST', '/authkit/token?page=2&limit=10', { headers: { 'x-identity': 'ada' } });
  t.equal(page.status, 200);
  t.same([page.json.page, page.json.rows.length], [2, 10]);
  const [sent] = await recordings(one.upstream, '/v1/authkit/token');
  t.ok(sent!.headers['x-one-secret'], 'the header prefix is configuration');
});

t.test('every way the upstream can fail becomes its catalogued problem, through either source', async (t) => {
  const cases: [string, Record<string, unknown>, number, string][] = [
    ['401', { kind: 'status', status: 401 }, 502, 'upstream_unauthorized'],
    ['403', { kind: 'status', status: 403, body: '403 Forbidden' }, 502, 'upstream_unauthorized'],
    ['403, which is about something else', { kind: 'status', status: 403 }, 502, 'upstream_forbidden'],
    ['402', { kind: 'status', status: 402 }, 502, 'upstream_quota_exceeded'],
    ['429', { kind: 'rate-limit', retryAfter: 7 }, 429, 'upstream_rate_limited'],
    ['500', { kind: 'status', status: 500 }, 502, 'upstream_invalid_response'],
    ['malformed JSON', { kind: 'malformed' }, 502, 'upstream_invalid_response'],
    ['reset', { kind: 'reset' }, 502, 'upstream_unreachable'],
    ['hang', { kind: 'hang' }, 504, 'upstream_timeout'],
  ];
  for (const [source, paths] of [['sdk', ['/internal/v1/settings/get', '/internal/v1/embed-tokens/create', '/v1/public/']], ['http', ['/v1/authkit']]] as const) {
    const { gateway, upstream } = await start(t, source, { UPSTREAM_TIMEOUT_MS: '500' });
    for (const path of paths) {
      for (const [name, how, status, code] of cases) {
        await fault(upstream, { path, times: 1, ...how });
        const answer = await ask(gateway);
        t.same([answer.status, answer.json?.code, answer.headers.get('x-authkit-error')], [status, code, code], `${source} ${path}: ${name}`);
        t.match(answer.headers.get('content-type'), 'application/problem+json');
        if (code === 'upstream_rate_limited') t.equal(answer.headers.get('retry-after'), '7');
        await fetch(`${upstream}/__control/faults`, { method: 'DELETE' });
      }
    }
    t.equal((await ask(gateway)).status, 200, `${source} works again`);
  }
});

t.test('an unreachable upstream is 502, also when the SDK answers undefined', async (t) => {
  for (const source of ['sdk', 'http', 'one']) {
    const gateway = await startGateway(t, 'http://127.0.0.1:9', { AUTHKIT_TOKEN_SOURCE: source });
    const answer = await ask(gateway);
    t.same([answer.status, answer.json.code], [502, 'upstream_unreachable'], source);
  }
});

t.test('a success with an error inside is not passed on as a token', async (t) => {
  for (const source of ['sdk', 'http']) {
    const { gateway, upstream } = await start(t, source);
    const body = { type: 'Unauthorized', code: 2010, status: 401, key: 'err::application::unauthorized', message: 'no', meta: null };
    await fault(upstream, { path: source === 'sdk' ? '/internal/v1/embed-tokens/create' : '/v1/authkit', times: 1, kind: 'status', status: 200, body });
    const answer = await ask(gateway);
    t.same([answer.status, answer.json.code], [502, 'upstream_invalid_response'], source);
  }
});

t.test('the identity comes from header, body or the guide\'s user_id, and they must agree', async (t) => {
  const { gateway } = await start(t, 'sdk');
  const from = async (headers: Record<string, string>, json?: unknown) => gateway.request('POST', '/authkit/token', { headers, json });
  t.equal((await from({}, { identity: 'ada', identityType: 'team' })).json.identityType, 'team');
  t.equal((await from({}, { user_id: 'ada' })).json.identity, 'ada');
  t.equal((await from({ 'x-user-id': 'ada' }, { identity: 'ada' })).status, 200);
  t.equal((await from({ 'x-identity': encodeURI('ada') }, {})).status, 200);
  t.equal((await from({}, {})).json.code, 'identity_required');
  t.equal((await from({})).json.code, 'identity_required');
  t.equal((await from({ 'x-identity': 'ada' }, { identity: 'bob' })).json.code, 'identity_conflict');
  t.equal((await from({ 'x-user-id': 'ada' }, { identity: 'ada', identityType: 'team' })).json.code, 'identity_conflict');
  t.equal((await from({ 'x-user-id': 'ada', 'x-identity': 'bob' })).json.code, 'identity_conflict');
});
