import { once } from 'node:events';
import { type IncomingMessage, request as httpRequest } from 'node:http';
import t, { type Test } from 'tap';
import { startSandbox } from '../../sandbox/start.js';
import { type Gateway, rootKey, startGateway } from '../helpers/gateway.js';
import { until } from '../helpers/receiver.js';
import { fault, recordings, seed, settings } from '../helpers/sandbox.js';

async function start(t: Test, identities: string[], overrides: Record<string, string> = {}): Promise<{ gateway: Gateway; upstream: string }> {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  // As many pages as rows.
  await settings(sandbox.url, { maxPageSize: 1 });
  const gateway = await startGateway(t, sandbox.url, { RECONCILE_RATE_SHARE: '1', ...overrides });
  for (const identity of identities) {
    const { key } = await seed(sandbox.url, { identity, platform: 'gmail' });
    await gateway.request('POST', '/connections', { headers: { 'x-user-id': identity }, json: { key, platform: 'gmail' } });
  }
  return { gateway, upstream: sandbox.url };
}

async function change(upstream: string, identity: string, method: 'PATCH' | 'DELETE', body?: object): Promise<void> {
  const { rows } = await (await fetch(`${upstream}/__control/connections`)).json() as { rows: { id: string; identity: string }[] };
  await fetch(`${upstream}/__control/connections/${encodeURIComponent(rows.find((row) => row.identity === identity)!.id)}`, {
    method, ...(body ? { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : {}),
  });
}

function events(text: string): { event: string; data: any }[] {
  return text.split('\n\n').filter((part) => part.startsWith('event: ')).map((part) => {
    const [event = '', data = ''] = part.split('\n');
    return { event: event.slice('event: '.length), data: JSON.parse(data.slice('data: '.length)) };
  });
}

const slowVault = (upstream: string, ms: number) => fault(upstream, { path: '/v1/vault', kind: 'delay', ms, times: 1000 });

t.test('all=true syncs every identity and streams how far it is', async (t) => {
  const { gateway, upstream } = await start(t, ['ada', 'bob', 'eve']);
  await change(upstream, 'ada', 'PATCH', { state: 'degraded' });
  await change(upstream, 'bob', 'DELETE');
  const answer = await gateway.request('POST', '/connections/sync?all=true');
  t.equal(answer.status, 200);
  t.match(Object.fromEntries(answer.headers), { 'content-type': /^text\/event-stream/, 'cache-control': 'no-store' });
  const stream = events(answer.text);
  t.match(stream[0], { event: 'progress', data: { identities: 1 } });
  t.same(stream.at(-1), { event: 'done', data: { identities: 3, checked: 3, drift: 2, created: 0, updated: 1, removed: 1, failed: 0, skipped: 0 } });
  const states = (await gateway.request('GET', '/connections')).json.rows.map(({ identity, state }: any) => `${identity} ${state}`).sort();
  t.same(states, ['ada degraded', 'bob failed', 'eve operational']);
  const metrics = (await gateway.request('GET', '/metrics')).text;
  t.match(metrics, /reconciler_rows_checked_total 3/);
  t.match(metrics, /reconciler_drift_total\{kind="removed"\} 1/);
  t.match(metrics, /reconciler_last_run_timestamp_seconds \d{10}/);
  t.match(metrics, /reconciler_oldest_comparison_timestamp_seconds 1\d{9}/);
  t.match(metrics, /reconciler_progress_ratio 1\n/);
  t.match(metrics, /reconciler_lag_seconds 0\n/);
  const lines = gateway.log.lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'reconciler run');
  t.match(lines, [{ outcome: 'finished', identities: 3, checked: 3, drift: 2 }], 'one line for one run');
  t.equal(lines.length, 1);
  const differed = gateway.log.lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === 'connections differed from the vault');
  const idOf = async (identity: string) => (await gateway.request('GET', `/connections?identity=${identity}`)).json.rows[0].id;
  t.same(differed.map(({ updated, removed }) => updated ?? removed), [[await idOf('ada')], [await idOf('bob')]], 'which ones are in the log');
});

t.test('all=true finds identities that have no row, and the open-source vault is walked by skipping', async (t) => {
  const { gateway, upstream } = await start(t, []);
  for (const identity of ['first', 'second', 'third']) await seed(upstream, { identity, platform: 'gmail' });
  await seed(upstream, { identity: 'third', identityType: 'team', platform: 'slack' });
  await settings(upstream, { rowShape: 'oss', maxPageSize: 2 });
  const answer = await gateway.request('POST', '/connections/sync?all=true');
  t.match(events(answer.text).at(-1), { event: 'done', data: { identities: 4, checked: 4, created: 4 } });
  const again = await gateway.request('POST', '/connections/sync?all=true');
  t.match(events(again.text).at(-1), { event: 'done', data: { identities: 4, checked: 4, drift: 0 } });
  t.equal((await gateway.request('GET', '/connections?identity=third&identityType=team')).json.rows.length, 1);
});

t.test('all=true is for unbound keys with connections:write, and names no identity', async (t) => {
  const { gateway } = await start(t, []);
  const bound = await gateway.createKey(['connections:write'], { identity: 'ada' });
  const reader = await gateway.createKey(['connections:read']);
  t.match(await gateway.request('POST', '/connections/sync?all=true', { key: bound }), { status: 403, json: { code: 'unbound_key_required' } });
  t.match(await gateway.request('POST', '/connections/sync?all=true', { key: reader }), { status: 403, json: { code: 'insufficient_scope' } });
  t.match(await gateway.request('POST', '/connections/sync?all=true', { json: { identity: 'ada' } }), { status: 400, json: { code: 'invalid_request' } });
  t.match(await gateway.request('POST', '/connections/sync?all=perhaps'), { status: 400 });
});

t.test('when the caller leaves, the sync ends; while it runs, another one is 409', async (t) => {
  const { gateway, upstream } = await start(t, ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']);
  await slowVault(upstream, 700);
  const earlier = (await recordings(upstream, '/v1/vault')).length;
  const call = httpRequest(`${gateway.url}/connections/sync?all=true`, { method: 'POST', headers: { 'x-api-key': rootKey }, agent: false });
  call.on('error', () => {});
  const [response] = await once(call.end(), 'response') as [IncomingMessage];
  t.equal(response.statusCode, 200);
  t.match(await gateway.request('POST', '/connections/sync?all=true'), { status: 409, json: { code: 'sync_in_progress' } });
  call.destroy();
  await until(async () => /reconciler_runs_total\{outcome="stopped"\} 1/.test((await gateway.request('GET', '/metrics')).text));
  const asked = (await recordings(upstream, '/v1/vault')).length;
  await new Promise((resolve) => setTimeout(resolve, 500));
  t.equal((await recordings(upstream, '/v1/vault')).length, asked, 'nothing is asked any more');
  t.ok(asked - earlier < 8, `${asked - earlier} of 8 were asked`);
});

t.test('a vault that is down ends the stream with the problem', async (t) => {
  const { gateway, upstream } = await start(t, ['a', 'b', 'c', 'd']);
  await fault(upstream, { path: '/v1/vault', kind: 'status', status: 503, times: 1000 });
  const answer = await gateway.request('POST', '/connections/sync?all=true');
  t.match(events(answer.text).at(-1), { event: 'failed', data: { code: 'upstream_invalid_response' } });
});

t.test('a stop of the gateway ends a running sync', async (t) => {
  const { gateway, upstream } = await start(t, ['a', 'b', 'c', 'd']);
  await slowVault(upstream, 1_000);
  const response = await fetch(`${gateway.url}/connections/sync?all=true`, { method: 'POST', headers: { 'x-api-key': rootKey } });
  const closing = gateway.app.close();
  t.match(events(await response.text()).at(-1), { event: 'failed', data: { code: 'service_unavailable' } });
  await closing;
});

t.test('with an interval, the walk happens by itself', async (t) => {
  const { gateway, upstream } = await start(t, ['ada'], { RECONCILE_INTERVAL_MS: '300' });
  await change(upstream, 'ada', 'PATCH', { state: 'failed' });
  await until(async () => (await gateway.request('GET', '/connections')).json.rows[0].state === 'failed');
  t.pass('the state arrived');
});
