import { once } from 'node:events';
import t from 'tap';
import { openTestDatabase } from '../helpers/database.js';
import { rootKey, startGateway } from '../helpers/gateway.js';
import { open } from '../helpers/raw-http.js';
import { until } from '../helpers/receiver.js';
import { startUpstream, storeConnection } from '../helpers/upstream.js';

// A machine busy with other tests takes its time.
t.setTimeout(300_000);
const database = await openTestDatabase(t);
await storeConnection({ database });
const as = { headers: { 'x-user-id': 'ada' } };

t.test('metrics tell who answered, retries, replays and caches, and name no identity, key or path', async (t) => {
  let calls = 0;
  const upstream = await startUpstream(t, (request, response) => {
    calls += 1;
    if (request.url!.endsWith('hang')) return;
    if (request.url!.endsWith('retry') && calls === 1) return void response.writeHead(503, { 'x-pica-passthrough-a': 'b' }).end();
    if (request.url!.endsWith('own')) return void response.writeHead(401).end();
    request.resume().on('end', () => response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).end('ok'));
  });
  const gateway = await startGateway(t, upstream.url, { LOG_LEVEL: 'debug' }, database);
  await gateway.request('GET', '/proxy/gmail/retry', as);
  await gateway.request('GET', '/proxy/gmail/secret-path', as);
  await gateway.request('GET', '/proxy/gmail/own', as);
  await gateway.request('GET', '/proxy/gmail/%5c', as);
  for (let i = 0; i < 2; i += 1) await gateway.request('POST', '/proxy/gmail/write', { headers: { ...as.headers, 'idempotency-key': 'k' }, json: {} });
  const socket = open(gateway.url);
  socket.write(`GET /proxy/gmail/hang HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\n\r\n`);
  while (calls < 6) await new Promise((resolve) => setTimeout(resolve, 5));
  t.match((await gateway.request('GET', '/metrics')).text, /^proxy_in_flight 1$/m);
  socket.destroy();
  await once(socket, 'close');
  await new Promise((resolve) => setTimeout(resolve, 100));
  const { text } = await gateway.request('GET', '/metrics');
  for (const line of [
    'proxy_calls_total{platform="gmail",method="GET",outcome="provider"} 2', 'proxy_calls_total{platform="gmail",method="GET",outcome="upstream"} 1',
    'proxy_calls_total{platform="unknown",method="GET",outcome="gateway"} 1', 'proxy_calls_total{platform="gmail",method="GET",outcome="caller_gone"} 1',
    'proxy_retries_total{platform="gmail"} 1', 'proxy_retry_decisions_total{retried="true",reason="status"} 1', 'platform_circuit{platform="gmail"} 0', 'refused_identities 0',
    'proxy_replays_total{platform="gmail"} 1', 'proxy_in_flight 0', 'upstream_circuit 0',
    'http_requests_total{method="GET",route="/proxy/:platform/*",status="499"} 1',
  ]) t.ok(text.includes(`${line}\n`), line);
  t.match(text, /^cache_lookups\{cache="connections",result="hit"\} [1-9]/m);
  t.match(text, /^proxy_upstream_seconds_count\{platform="gmail",method="GET"\} 4$/m);
  t.notMatch(text, /ada|secret-path|write|root-key|test::/);
  const decided = gateway.log.lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'an attempt failed');
  t.match(decided, [{ level: 20, attempt: 1, failure: { status: 503 }, retry: true, reason: 'status', waitMs: Number }]);
  t.equal(decided.length, 1);
});

t.test('platforms that the catalogue does not have are one label', async (t) => {
  const invented = Array.from({ length: 60 }, (_, i) => `invented-${i}`);
  for (const platform of invented) await storeConnection({ database }, platform, 'eve');
  const names = async (connectors: unknown[] | undefined): Promise<(string | undefined)[]> => {
    const upstream = await startUpstream(t, (_request, response) => void response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).end('ok'), (request, response) => {
      if (!connectors || !request.url!.startsWith('/v1/available-connectors')) return void response.writeHead(404).end();
      response.writeHead(200).end(JSON.stringify({ rows: connectors }));
    });
    const gateway = await startGateway(t, upstream.url, {}, database);
    for (const platform of invented) t.equal((await gateway.request('GET', `/proxy/${platform}/x`, { headers: { 'x-user-id': 'eve' } })).status, 200);
    await gateway.request('GET', '/proxy/gmail/x', as);
    let found: string[] = [];
    await until(async () => {
      const lines = [...(await gateway.request('GET', '/metrics')).text.matchAll(/^proxy_calls_total\{platform="([^"]*)".* (\d+)$/gm)];
      found = lines.map((line) => line[1]!);
      t.notMatch(lines.map((line) => line[0]).join(), connectors ? /invented/ : /invented-5\d/);
      return lines.reduce((sum, line) => sum + Number(line[2]), 0) === invented.length + 1;
    });
    return found.sort();
  };
  t.same(await names([{ name: 'Gmail', platform: 'gmail' }, { name: 'Slack', platform: 'slack' }]), ['gmail', 'other']);
  const without = await names(undefined);
  t.equal(without.length, 51, 'without a catalogue the first few keep their names');
});

t.test('what is waited for is the upstream\'s time or nobody\'s, never ours', async (t) => {
  const upstream = await startUpstream(t, (request, response) => {
    if (request.url!.endsWith('hang')) return;
    response.writeHead(200, { 'x-pica-passthrough-a': 'b' }).flushHeaders();
    setTimeout(() => response.end('late'), 1_000);
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  await gateway.request('GET', '/proxy/gmail/x', as);
  const slow = open(gateway.url);
  slow.write(`POST /proxy/gmail/x HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\ncontent-length: 2\r\nconnection: close\r\n\r\na`);
  setTimeout(() => slow.write('b'), 1_000);
  await once(slow.resume(), 'close');
  const left = open(gateway.url);
  left.write(`PUT /proxy/gmail/hang HTTP/1.1\r\nhost: x\r\nx-api-key: ${rootKey}\r\nx-user-id: ada\r\n\r\n`);
  setTimeout(() => left.destroy(), 1_000);
  const sum = async (name: string, method: string): Promise<number> =>
    Number(new RegExp(`^${name}_sum\\{platform="gmail",method="${method}"\\} (.*)$`, 'm').exec((await gateway.request('GET', '/metrics')).text)?.[1]);
  await until(async () => await sum('proxy_upstream_seconds', 'PUT') > 0.5);
  for (const method of ['GET', 'POST', 'PUT']) {
    const own = await sum('proxy_own_seconds', method);
    t.ok(own > 0 && own < 0.7, `${method}: ${own} s`);
  }
});

t.test('server-timing tells auth, lookup and upstream', async (t) => {
  const upstream = await startUpstream(t, (_request, response) => {
    setTimeout(() => response.writeHead(200, { 'x-pica-passthrough-server-timing': 'db;dur=1' }).end('ok'), 50);
  });
  const gateway = await startGateway(t, upstream.url, {}, database);
  const { headers } = await gateway.request('GET', '/proxy/gmail/x', as);
  const timing = headers.get('server-timing')!;
  t.equal(headers.get('x-upstream-server-timing'), 'db;dur=1', 'the provider\'s own has another name');
  t.match(timing, /^auth;dur=[\d.]+, lookup;dur=[\d.]+, upstream;dur=[\d.]+$/);
  t.ok(Number(/upstream;dur=([\d.]+)/.exec(timing)![1]) >= 45);
  const refused = await gateway.request('GET', '/proxy/none/x', as);
  t.match([refused.status, refused.headers.get('server-timing')], [404, /^auth;dur=[\d.]+, lookup;dur=[\d.]+, upstream;dur=0\.00$/]);
});
