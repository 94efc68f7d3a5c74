import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startCollector } from '../helpers/collector.js';
import { createPostgresDatabase, postgresUrl } from '../helpers/database.js';
import { rootKey } from '../helpers/gateway.js';
import { startGatewayProcess } from '../helpers/gateway-process.js';
import { freePort } from '../helpers/process.js';
import { until } from '../helpers/receiver.js';
import { startOkUpstream } from '../helpers/upstream.js';

t.setTimeout(300_000);
const collectorsSecret = 'the-collectors-secret';
const connectionKey = `test::gmail::default::${'0'.repeat(32)}`;

/** A gateway in a process of its own, on either engine, with a connection of ada's. */
async function start(t: Test, endpoint: string, env: Record<string, string> = {}) {
  const dataDir = await mkdtemp(join(tmpdir(), 'tracing-'));
  t.teardown(() => rm(dataDir, { recursive: true, force: true }));
  const upstream = await startOkUpstream(t);
  // An hour between exports: what arrives was flushed. The upstream has no actions, and the log would say so.
  const gateway = await startGatewayProcess(t, postgresUrl ? await createPostgresDatabase(t) : '', upstream.url, {
    DATA_DIR: dataDir, CONNECTION_VERIFICATION: 'off', ACTION_RESOLUTION: 'off', OTEL_EXPORTER_OTLP_ENDPOINT: endpoint, OTEL_EXPORTER_OTLP_HEADERS: `x-key=${collectorsSecret}`,
    OTEL_BSP_SCHEDULE_DELAY: '3600000', ...env,
  });
  await gateway.request('POST', '/connections', { user_id: 'ada', platform: 'gmail', connection_key: connectionKey, environment: 'test' });
  const proxied = () => fetch(`${gateway.url}/proxy/gmail/x`, { headers: { 'x-api-key': rootKey, 'x-user-id': 'ada' } });
  return { ...gateway, proxied };
}

t.test('SIGTERM sends the spans of the last request, and the SDK\'s own variables count', async (t) => {
  const collector = await startCollector(t);
  const gateway = await start(t, `${collector.url}/`, { OTEL_RESOURCE_ATTRIBUTES: 'service.name=named-there' });
  t.equal((await gateway.proxied()).status, 200);
  t.equal(collector.requests.length, 0);
  await gateway.end('SIGTERM');
  const last = collector.spans.filter(({ name }) => name === 'GET /proxy/:platform/*');
  t.match(last, [{ kind: 2, service: 'named-there', attributes: { 'http.response.status_code': 200 } }]);
  t.equal(collector.spans.filter(({ kind, parentId }) => kind === 3 && parentId === last[0]!.id).length, 1);
  t.match(collector.requests[0], { path: '/v1/traces', headers: { 'x-key': collectorsSecret } });
  t.match(gateway.log.join('\n'), `"traceId":"${last[0]!.traceId}"`);
  t.match(gateway.log.at(-1), '"msg":"stopped"');
});

t.test('the SDK writes nothing of its own, and its complaints are log lines', async (t) => {
  const gateway = await start(t, 'http://127.0.0.1:9', { OTEL_TRACES_SAMPLER: 'nonsense', OTEL_LOG_LEVEL: 'debug' });
  await gateway.proxied();
  await gateway.end('SIGTERM');
  t.match(gateway.log.map((line) => JSON.parse(line)).find(({ err }) => err?.message.includes('OTEL_TRACES_SAMPLER')), { level: 40 });
});

for (const [name, endpointOf] of [['is not there', () => freePort().then((port) => `http://127.0.0.1:${port}`)], ['never answers', startSilent]] as const) {
  t.test(`a collector that ${name} fails no call and does not hold up the stop`, async (t) => {
    // Unbounded, the flush would go on for the exporter's 10 seconds, past this.
    const gateway = await start(t, await endpointOf(t), { SHUTDOWN_TIMEOUT_MS: '7000' });
    for (let i = 0; i < 5; i += 1) t.equal((await gateway.proxied()).status, 200);
    await gateway.end('SIGTERM');
    const log = gateway.log.join('\n');
    t.match(log, 'the collector did not take the last spans in time');
    t.match(log, '"msg":"stopped"');
    t.notMatch(log, /SHUTDOWN_TIMEOUT_MS|the-collectors-secret/);
  });
}

t.test('a collector that is not there is one line in the log, without its secret', async (t) => {
  const gateway = await start(t, `http://127.0.0.1:${await freePort()}`, { OTEL_BSP_SCHEDULE_DELAY: '20', OTEL_EXPORTER_OTLP_TIMEOUT: '100' });
  const lost = () => gateway.log.filter((line) => line.includes('does not take spans'));
  await until(async () => (await gateway.proxied()).status === 200 && lost().length > 0);
  // Batches enough to fail often.
  for (let i = 0; i < 40; i += 1) await gateway.proxied();
  await gateway.end('SIGTERM');
  t.same(gateway.log.map((line) => JSON.parse(line)).filter(({ level, msg }) => level >= 40 && !msg.startsWith('CONNECTION_VERIFICATION')).map(({ msg }) => msg), [
    'the collector does not take spans: they are lost until it does',
  ], 'and no other complaint');
  t.notMatch(gateway.log.join('\n'), collectorsSecret);
});

/** A server that takes connections, and everything sent, and says nothing. */
async function startSilent(t: Test): Promise<string> {
  const server = createServer((socket) => void socket.on('error', () => {}).resume());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
