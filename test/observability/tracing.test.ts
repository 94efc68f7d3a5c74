import { createRequire } from 'node:module';
import t, { type Test } from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { type Gateway, rootKey, secretKey, startGateway } from '../helpers/gateway.js';
import { type Collector, type Span, startCollector } from '../helpers/collector.js';
import { freePort } from '../helpers/process.js';
import { exchange } from '../helpers/raw-http.js';
import { until } from '../helpers/receiver.js';
import { startSandbox } from '../../sandbox/start.js';
import { recordings } from '../helpers/sandbox.js';
import { startOkUpstream, startUpstream, storeConnection, type TestUpstream } from '../helpers/upstream.js';

// The SDK reads these itself.
process.env['OTEL_BSP_SCHEDULE_DELAY'] = '20';
t.setTimeout(300_000);

const database = await openTestDatabase(t);
const { key: connectionKey } = await storeConnection({ database }, 'gmail', 'the-identity');
const identity = { 'x-user-id': 'the-identity' };
const traceId = '0af7651916cd43dd8448eb211c80319c';
const callersId = 'b7ad6b7169203331';
const traceparent = `00-${traceId}-${callersId}-01`;

type Traced = Gateway & { collector: Collector; ended(): Promise<Span[]> };

/** A gateway with a collector; `ended` stops it, and gives what the collector has got then, oldest first. */
async function startTraced(t: Test, upstream: string, overrides: Record<string, string> = {}): Promise<Traced> {
  const collector = await startCollector(t);
  const gateway = await startGateway(t, upstream, { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, ...overrides }, database);
  return {
    ...gateway, collector,
    async ended() {
      await gateway.app.close();
      return collector.spans.sort((one, other) => Number(one.startedAt - other.startedAt));
    },
  };
}

const proxied = (gateway: Gateway, headers: Record<string, string> = {}, path = '/x') => gateway.request('GET', `/proxy/gmail${path}`, { headers: { ...identity, ...headers } });
const servers = (spans: Span[]) => spans.filter(({ kind }) => kind === 2);
const clients = (spans: Span[]) => spans.filter(({ kind }) => kind === 3);
const tracesIn = ({ rawHeaders }: TestUpstream['received'][number]) => rawHeaders.filter((_, i) => i % 2 === 1 && /^trace/i.test(rawHeaders[i - 1]!));
const requestLines = (gateway: Gateway) => gateway.log.lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'request');
const sdkModules = () => Object.keys(createRequire(import.meta.url).cache).filter((file) => /@opentelemetry\/(?!api\/)/.test(file));

t.test('without a collector the SDK is not loaded, and the caller\'s trace headers pass as they came, malformed ones too', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startGateway(t, upstream.url, {}, database);
  for (const [parent, state] of [[traceparent, 'vendor=1'], ['garbage', 'more, of=it']] as const) await proxied(gateway, { traceparent: parent, tracestate: state });
  t.same(upstream.received.map(tracesIn), [[traceparent, 'vendor=1'], ['garbage', 'more, of=it']]);
  t.notOk(requestLines(gateway).some((line) => 'traceId' in line));
  t.same(sdkModules(), []);

  await startTraced(t, upstream.url);
  t.ok(sdkModules().length > 0, 'with one it is');
});

t.test('the caller\'s trace goes on: server span → client span → what the upstream is told', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startTraced(t, upstream.url);
  await proxied(gateway, { traceparent, tracestate: 'vendor=opaque,other=1' });
  const spans = await gateway.ended();
  const [server, client] = [servers(spans)[0]!, clients(spans)[0]!];
  t.equal(spans.length, 2);
  t.match(server, {
    traceId, parentId: callersId, name: 'GET /proxy/:platform/*', status: 0, service: 'authkit-gateway',
    attributes: { 'http.request.method': 'GET', 'http.route': '/proxy/:platform/*', 'http.response.status_code': 200 },
  });
  t.match(client, { traceId, parentId: server.id, name: 'GET', status: 0, attributes: { 'http.request.method': 'GET', 'http.response.status_code': 200, 'server.address': '127.0.0.1' } });
  t.equal(client.attributes['server.port'], Number(new URL(upstream.url).port));
  t.same(tracesIn(upstream.received[0]!), [`00-${traceId}-${client.id}-01`, 'vendor=opaque,other=1'], 'one header of each');
  t.match(requestLines(gateway), [{ traceId, route: '/proxy/:platform/*' }]);
});

t.test('a call lies within the request that made it, to the microsecond', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startTraced(t, upstream.url);
  for (let i = 0; i < 100; i += 1) await proxied(gateway, {});
  const spans = await gateway.ended();
  const requests = new Map(servers(spans).map((span) => [span.id, span]));
  t.equal(requests.size, 100);
  for (const { parentId, startedAt, endedAt } of clients(spans)) {
    const request = requests.get(parentId)!;
    t.ok(request.startedAt <= startedAt && startedAt < endedAt && endedAt <= request.endedAt);
  }
});

t.test('each retry is a span of its own, numbered', async (t) => {
  let calls = 0;
  const upstream = await startUpstream(t, (request, response) => {
    calls += 1;
    request.resume().on('end', () => void response.writeHead(calls < 3 ? 503 : 200, { 'x-pica-passthrough-a': 'b' }).end('ok'));
  });
  const gateway = await startTraced(t, upstream.url);
  t.equal((await proxied(gateway, { traceparent })).headers.get('x-authkit-attempts'), '3');
  const spans = await gateway.ended();
  t.same(clients(spans).map(({ attributes, status }) => [attributes['http.request.resend_count'], attributes['http.response.status_code'], attributes['error.type'], status]), [
    [undefined, 503, '503', 2], [1, 503, '503', 2], [2, 200, undefined, 0],
  ]);
  t.same(upstream.received.map(tracesIn), clients(spans).map(({ id }) => [`00-${traceId}-${id}-01`]), 'and tells its own id');
  t.same([...new Set(clients(spans).map(({ parentId }) => parentId))], [servers(spans)[0]!.id]);
});

t.test('a malformed traceparent begins a new trace, and nothing malformed goes upstream', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startTraced(t, upstream.url);
  const zeros = (length: number) => '0'.repeat(length);
  const malformed = [
    'garbage', `ff-${traceId}-${callersId}-01`, `00-${zeros(32)}-${callersId}-01`, `00-${traceId}-${zeros(16)}-01`, `00-${traceId}-${callersId}-01-more`,
    `00-${traceId.toUpperCase()}-${callersId}-01`, `00-${traceId}-${callersId}`,
  ];
  for (const value of malformed) await proxied(gateway, { traceparent: value, tracestate: 'vendor=1' });
  const head = `GET /proxy/gmail/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: ${rootKey}\r\nx-user-id: the-identity\r\n`;
  await exchange(gateway.url, `${head}traceparent: ${traceparent}\r\ntraceparent: ${traceparent}\r\n\r\n`);
  await exchange(gateway.url, `${head}tracestate: vendor=1\r\nx-upstream-traceparent: garbage\r\n\r\n`);

  const spans = await gateway.ended();
  t.equal(upstream.received.length, malformed.length + 2);
  t.same(servers(spans).map(({ parentId }) => parentId), upstream.received.map(() => ''));
  t.equal(new Set([traceId, ...spans.map((span) => span.traceId)]).size, upstream.received.length + 1);
  t.same(upstream.received.map(tracesIn), clients(spans).map((span) => [`00-${span.traceId}-${span.id}-01`]), 'one traceparent, no tracestate');
});

t.test('what the caller does not sample is passed on and logged, and not exported', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startTraced(t, upstream.url);
  await proxied(gateway, { traceparent: `00-${traceId}-${callersId}-00` });
  t.same(await gateway.ended(), []);
  t.match(tracesIn(upstream.received[0]!)[0], new RegExp(`^00-${traceId}-(?!${callersId})[0-9a-f]{16}-00$`));
  t.match(requestLines(gateway), [{ traceId }]);
});

t.test('problems of ours are told by their code, those of the connection by theirs', async (t) => {
  const gateway = await startTraced(t, `http://127.0.0.1:${await freePort()}`);
  t.equal((await proxied(gateway)).status, 502);
  t.equal((await gateway.request('GET', '/connections/01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87')).status, 404);
  t.equal((await gateway.request('GET', '/nowhere/secret')).status, 404);
  const spans = await gateway.ended();
  t.match(servers(spans), [
    { status: 2, attributes: { 'error.type': 'upstream_unreachable', 'http.response.status_code': 502 } },
    { name: 'GET /connections/:id', status: 0, attributes: { 'error.type': 'connection_not_found', 'http.response.status_code': 404 } },
    { name: 'GET', status: 0, attributes: { 'error.type': 'not_found' } },
  ]);
  t.notOk('http.route' in servers(spans)[2]!.attributes);
  const failure = gateway.log.lines.map((line) => JSON.parse(line)).find(({ msg }) => msg === 'request failed');
  t.equal(failure.traceId, servers(spans)[0]!.traceId, 'and every log line of a request finds its trace');
  t.ok(clients(spans).length > 0 && clients(spans).every(({ status, attributes }) => status === 2 && attributes['error.type'] === 'ECONNREFUSED'));
});

t.test('a caller that goes away ends both spans', async (t) => {
  const upstream = await startUpstream(t, (_, response) => void response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).write('one'));
  const gateway = await startTraced(t, upstream.url);
  const leaving = new AbortController();
  const response = await fetch(`${gateway.url}/proxy/gmail/x`, { headers: { 'x-api-key': rootKey, ...identity }, signal: leaving.signal });
  await response.body!.getReader().read();
  leaving.abort();
  await until(() => gateway.collector.spans.length === 2);
  t.match(servers(gateway.collector.spans)[0], { status: 2, attributes: { 'error.type': 'unfinished' } });
  t.match(clients(gateway.collector.spans)[0], { status: 2, attributes: { 'error.type': 'aborted', 'http.response.status_code': 200 } });
});

for (const [source, path] of [['http', '/v1/authkit'], ['sdk', '/internal/v1/event-links/create']] as const) {
  t.test(`our own calls to the upstream are children of the request that makes them (AUTHKIT_TOKEN_SOURCE=${source})`, async (t) => {
    const sandbox = await startSandbox();
    t.teardown(() => sandbox.close());
    const gateway = await startTraced(t, sandbox.url, { AUTHKIT_TOKEN_SOURCE: source });
    t.equal((await gateway.request('POST', '/authkit/token', { headers: { ...identity, traceparent } })).status, 200);
    const spans = await gateway.ended();
    const [server] = servers(spans);
    t.match(server, { traceId, parentId: callersId, name: 'POST /authkit/token' });
    t.ok(clients(spans).length > 1);
    t.ok(clients(spans).every((span) => span.traceId === traceId && span.parentId === server!.id && span.attributes['http.response.status_code'] === 200));
    const told = (await recordings(sandbox.url, path)).map(({ headers }) => headers['traceparent']!);
    t.ok(told.length > 0);
    for (const value of told) t.ok(clients(spans).some(({ id }) => value === `00-${traceId}-${id}-01`));
  });
}

t.test('no key, identity, path, query or header value is exported', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startTraced(t, upstream.url, { OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20the-collectors-secret', OTEL_SERVICE_NAME: 'my-gateway' });
  const apiKey = await gateway.createKey(['proxy', 'connections:read'], { identity: 'the-identity' });
  const more = { 'user-agent': 'the-agent', 'x-custom': 'the-header', tracestate: 'vendor=the-state', traceparent };
  await gateway.request('POST', '/proxy/gmail/the-path?q=the-query', { key: apiKey, headers: more, body: 'the-body' });
  await gateway.request('GET', '/connections?identity=the-identity&tag=the-query', { headers: more });
  await gateway.request('POST', '/authkit/token', { headers: { ...more, ...identity } });
  await gateway.request('GET', '/the-path?q=the-query', { headers: more });
  t.match(upstream.received[0], { url: '/v1/passthrough/gmail/the-path?q=the-query' });
  const spans = await gateway.ended();
  const exported = Buffer.concat(gateway.collector.payloads).toString('latin1');
  t.match(exported, '/proxy/:platform/*', 'what is searched is readable');
  t.notMatch(exported, /the-(?:identity|path|query|header|agent|state|body|collectors-secret)|gmail/);
  for (const secret of [apiKey, connectionKey, connectionKey.split('::')[3]!, rootKey, secretKey]) t.notOk(exported.includes(secret));
  t.same([...new Set(spans.map(({ service }) => service))], ['my-gateway']);
  t.match(gateway.collector.requests[0], { path: '/v1/traces', headers: { authorization: 'Bearer the-collectors-secret' } });
  t.notMatch(gateway.log.lines.join(''), 'the-collectors-secret');
});

t.test('a collector that refuses costs no request, and one line in the log until it takes spans again', async (t) => {
  const upstream = await startOkUpstream(t);
  const gateway = await startTraced(t, upstream.url);
  const { collector } = gateway;
  const taking = collector.answer;
  const exports = async (count: number) => {
    const before = collector.requests.length;
    while (collector.requests.length < before + count) t.equal((await proxied(gateway)).status, 200);
  };
  const said = (text: string) => gateway.log.lines.filter((line) => line.includes(text)).length;
  collector.answer = (response) => void response.writeHead(400).end('no');
  await exports(3);
  await until(() => said('does not take spans') > 0);
  collector.answer = taking;
  await exports(1);
  await until(() => said('takes spans again') > 0);
  t.same([said('does not take spans'), said('takes spans again')], [1, 1]);
});
