import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { startSandbox } from '../../sandbox/start.js';
import { type Gateway, startGateway } from '../helpers/gateway.js';
import { fault, recordings, seed, settings } from '../helpers/sandbox.js';

async function start(t: Test, overrides: Record<string, string> = {}): Promise<{ gateway: Gateway; upstream: string }> {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  return { gateway: await startGateway(t, sandbox.url, overrides), upstream: sandbox.url };
}

/** Stores a connection that the vault knows, in the widget's form, and returns its row. */
async function store(gateway: Gateway, upstream: string, identity = 'ada', platform = 'gmail', extra: Record<string, unknown> = {}) {
  const { key } = await seed(upstream, { identity, platform, ...extra });
  const answer = await gateway.request('POST', '/connections', { headers: { 'x-user-id': identity }, json: { key, platform, environment: 'test', ...extra } });
  if (answer.status !== 201) throw new Error(answer.text);
  return answer.json as { id: string; key: string } & Record<string, unknown>;
}

t.test('the widget\'s record is stored as it comes, with all its other members ignored', async (t) => {
  const { gateway, upstream } = await start(t);
  const { key } = await seed(upstream, { identity: 'ada', platform: 'gmail', name: 'Ada\'s mail', tags: ['a'] });
  const record = {
    _id: 'conn::1', key, platform: 'gmail', platformVersion: 'v1', environment: 'test', identity: 'ada', identityType: 'user', name: 'Ada\'s mail',
    connectionDefinitionId: 'x', secretsServiceId: 'y', settings: { oauth: true }, throughput: { key, limit: 100 }, createdAt: 1, updatedAt: 1,
    tags: ['a'], active: true, deprecated: false, deleted: false, version: '1.0.0',
  };
  const answer = await gateway.request('POST', '/connections', { json: record });
  t.equal(answer.status, 201);
  t.equal(answer.headers.get('location'), `/connections/${answer.json.id}`);
  t.match(answer.json, {
    key, platform: 'gmail', environment: 'test', state: 'operational', identity: 'ada', identityType: 'user', name: 'Ada\'s mail', tags: ['a'], metadata: {}, lastUsedAt: null,
  });
  t.same(Object.keys(answer.json).sort(), [
    'createdAt', 'environment', 'id', 'identity', 'identityType', 'key', 'lastUsedAt', 'metadata', 'name', 'platform', 'state', 'stateReason', 'tags', 'updatedAt',
  ]);
});

t.test('the guide\'s form is stored, and the same key again updates instead of failing', async (t) => {
  const { gateway, upstream } = await start(t);
  const { key } = await seed(upstream, { identity: 'ada', platform: 'slack' });
  const form = { user_id: 'ada', platform: 'slack', connection_key: key, environment: 'test', state: 'operational' };
  const first = await gateway.request('POST', '/connections', { json: form });
  const second = await gateway.request('POST', '/connections', { json: form });
  t.same([first.status, second.status], [201, 200]);
  t.equal(second.json.id, first.json.id);
});

t.test('what of the widget\'s record is not used is not judged, and the rest trimmed as a sync trims it', async (t) => {
  const { gateway, upstream } = await start(t);
  const oddities = {
    name: `Ada\u2019s mail\nsecond line \ud800${'x'.repeat(300)}`, tags: [...Array.from({ length: 60 }, (_, n) => `tag ${n}`), null, '', 5, 'y'.repeat(100)],
    state: 'a state that nobody has heard of, and whose name goes on for more than sixty-four characters', settings: { label: '\udc00 half' },
    identity: '', identityType: '', active: 'perhaps', environment: null,
  };
  for (const odd of [oddities, { name: 5, tags: 'a', state: { is: 'fine' }, active: null, identity: null, identityType: null }, { tags: [null], name: '', state: null }]) {
    const { key } = await seed(upstream, { identity: 'ada', platform: 'gmail', name: 'The vault\'s', tags: ['a'] });
    const answer = await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'ada' }, json: { key, platform: 'gmail', ...odd } });
    t.match(answer, { status: 201, json: { name: 'The vault\'s', tags: ['a'], state: 'operational', identity: 'ada', identityType: 'user' } });
  }

  const { gateway: unverified } = await start(t, { CONNECTION_VERIFICATION: 'off' });
  const save = (json: Record<string, unknown>) => unverified.request('POST', '/connections', {
    headers: { 'x-user-id': 'ada' }, json: { key: `test::gmail::default::${'a'.repeat(32)}`, platform: 'gmail', ...json },
  });
  const stored = await save(oddities);
  t.match(stored, { status: 201, json: { state: 'unknown', identity: 'ada' } });
  t.same(stored.json.name, `Ada\u2019s mail\nsecond line \ufffd${'x'.repeat(300)}`.slice(0, 256));
  t.same(stored.json.tags, Array.from({ length: 50 }, (_, n) => `tag ${n}`));
  t.match(await save({ tags: ['a', 'b', 'a', `${'y'.repeat(64)}cut`], name: null }), { status: 200, json: { tags: ['a', 'b', 'y'.repeat(64)] } });
  t.match(await save({ active: false }), { status: 200, json: { state: 'failed' } });

  t.same((await save({ environment: 'Test' })).json.errors, [{ field: 'body.environment', message: 'must be one of test, live' }], 'what is used is judged');
  t.match((await save({ identity: ' ada' })).json.errors, [{ field: 'body.identity' }]);
  t.match((await save({ identity: 'bob' })).json, { code: 'identity_conflict' });
  t.match((await save({ identity: 'ada', identityType: 'person' })).json.errors, [{ field: 'body.identityType' }]);
  for (const member of ['key', 'identity', 'user_id']) {
    t.match(await save({ [member]: `test::gmail::default::${'a'.repeat(32)}|\ud800` }), { status: 400, json: { code: 'invalid_request' } }, `half a surrogate in ${member}`);
  }
  const guide = { platform: 'gmail', connection_key: `test::gmail::default::${'b'.repeat(32)}` };
  const saveGuide = (json: Record<string, unknown>) => unverified.request('POST', '/connections', { headers: { 'x-user-id': 'ada' }, json: { ...guide, ...json } });
  for (const json of [{ name: '\ud800' }, { name: 'x'.repeat(257) }, { tags: Array.from({ length: 51 }, (_, n) => `t${n}`) }, { state: 'odd' }]) {
    t.match(await saveGuide(json), { status: 400, json: { code: 'invalid_request' } }, 'the guide\'s form is judged as ever');
  }
});

t.test('ten requests storing one key at once make one row', async (t) => {
  const { gateway, upstream } = await start(t);
  const { key } = await seed(upstream, { identity: 'ada', platform: 'gmail' });
  const answers = await Promise.all(Array.from({ length: 10 }, () =>
    gateway.request('POST', '/connections', { headers: { 'x-user-id': 'ada' }, json: { key, platform: 'gmail' } })));
  t.equal(new Set(answers.map(({ json }) => json.id)).size, 1);
  t.same(answers.map(({ status }) => status).sort(), [...Array<number>(9).fill(200), 201].sort());
});

t.test('a key of another environment, platform or form is refused with the reason', async (t) => {
  const { gateway } = await start(t);
  const save = (json: Record<string, unknown>) => gateway.request('POST', '/connections', { headers: { 'x-user-id': 'ada' }, json });
  const hex = randomBytes(16).toString('hex');

  const live = await save({ key: `live::gmail::default::${hex}`, platform: 'gmail' });
  t.same([live.status, live.json.code], [422, 'environment_mismatch']);
  t.match(live.json.detail, /live.*test/s);
  t.same(live.json.errors, [{ field: 'body.key', message: 'must be of the test environment' }]);
  t.same((await save({ key: `live::gmail::default::${hex}`, platform: 'gmail', environment: 'test' })).json.errors, live.json.errors, 'it is the key that is wrong');
  const said = await save({ key: `test::gmail::default::${hex}`, platform: 'gmail', environment: 'live' });
  t.same([said.json.code, said.json.errors], ['environment_mismatch', [{ field: 'body.environment', message: 'must be test' }]]);
  for (const connection_key of ['abc', `live::gmail::default::${hex}`]) {
    t.same((await save({ platform: 'gmail', connection_key })).json.errors[0].field, 'body.connection_key', 'the guide\'s form is spoken of as it came');
  }

  const platform = await save({ key: `test::gmail::default::${hex}`, platform: 'slack' });
  t.same([platform.status, platform.json.code, platform.json.errors[0].field], [422, 'platform_mismatch', 'body.platform']);

  for (const key of ['x', 'test', 'test::gmail', 'prod::gmail::default::abc', `test::gmail::default::${hex}\r\nx: y`, `test::gmail::default::${hex}\0`, ` test::gmail::default::${hex}`, 'test::::default::abc']) {
    const answer = await save({ key, platform: 'gmail' });
    t.same([answer.status, answer.json.code, answer.json.errors[0].field], [422, 'invalid_connection_key', 'body.key'], JSON.stringify(key));
  }
});

t.test('the list has every filter, a stable keyset order, and pages that add up', async (t) => {
  const { gateway, upstream } = await start(t);
  for (let index = 0; index < 7; index += 1) {
    await store(gateway, upstream, index % 2 ? 'bob' : 'ada', index < 5 ? 'gmail' : 'slack', { tags: [`t${index % 3}`], state: index === 6 ? 'degraded' : 'operational' });
  }
  const list = async (query: string) => (await gateway.request('GET', `/connections?${query}`)).json as { rows: any[]; nextCursor: string | null };

  const all = (await list('limit=100')).rows;
  t.equal(all.length, 7);
  t.same(all.map(({ id }) => id), [...all].sort((one, other) => other.createdAt.localeCompare(one.createdAt) || other.id.localeCompare(one.id)).map(({ id }) => id));

  const paged: string[] = [];
  for (let cursor: string | null = ''; cursor !== null;) {
    const page: Awaited<ReturnType<typeof list>> = await list(`limit=3${cursor && `&cursor=${cursor}`}`);
    t.ok(page.rows.length <= 3);
    paged.push(...page.rows.map(({ id }) => id as string));
    cursor = page.nextCursor;
  }
  t.same(paged, all.map(({ id }) => id));

  t.equal((await list('identity=ada')).rows.length, 4);
  t.equal((await list('identity=ada&identityType=team')).rows.length, 0);
  t.equal((await list('identityType=user')).rows.length, 7);
  t.equal((await list('platform=slack')).rows.length, 2);
  t.equal((await list('environment=live')).rows.length, 0);
  t.equal((await list('environment=test')).rows.length, 7);
  t.equal((await list('state=degraded')).rows.length, 1);
  t.equal((await list('tag=t1')).rows.length, 2);
  t.equal((await list(`key=${encodeURIComponent(all[3].key)}`)).rows[0].id, all[3].id);
  t.equal((await list('identity=ada&platform=gmail&tag=t0')).rows.length, 1);
});

t.test('rows stored while a list is being paged do not shift its pages', async (t) => {
  const { gateway, upstream } = await start(t);
  const first = [await store(gateway, upstream), await store(gateway, upstream), await store(gateway, upstream)];
  const page = await gateway.request('GET', '/connections?limit=2');
  await store(gateway, upstream);
  const next = await gateway.request('GET', `/connections?limit=2&cursor=${page.json.nextCursor}`);
  t.same(next.json.rows.map(({ id }: { id: string }) => id), [first[0]!.id]);
  t.equal(next.json.nextCursor, null);
});

t.test('a connection is read, patched and deleted, upstream too', async (t) => {
  const { gateway, upstream } = await start(t);
  const row = await store(gateway, upstream);
  t.same((await gateway.request('GET', `/connections/${row.id}`)).json, row);

  const patched = await gateway.request('PATCH', `/connections/${row.id}`, { json: { name: 'Inbox', tags: ['x', 'y'], metadata: { crm: { id: 42 } } } });
  t.match(patched.json, { id: row.id, name: 'Inbox', tags: ['x', 'y'], metadata: { crm: { id: 42 } } });
  t.equal((await gateway.request('PATCH', `/connections/${row.id}`, { json: { name: null } })).json.name, null);

  const deleted = await gateway.request('DELETE', `/connections/${row.id}`);
  t.same([deleted.status, deleted.text], [204, '']);
  t.equal((await gateway.request('GET', `/connections/${row.id}`)).json.code, 'connection_not_found');
  t.equal((await gateway.request('DELETE', `/connections/${row.id}`)).status, 404);
  const inVault = await (await fetch(`${upstream}/__control/connections`)).json() as { rows: { key: string }[] };
  t.notOk(inVault.rows.some(({ key }) => key === row.key), 'gone from the vault');
});

t.test('upstream=false leaves the vault alone', async (t) => {
  const { gateway, upstream } = await start(t);
  const row = await store(gateway, upstream);
  t.equal((await gateway.request('DELETE', `/connections/${row.id}?upstream=false`)).status, 204);
  t.same(await recordings(upstream, '/v1/vault/connections/'), []);
});

t.test('a delete that fails upstream deletes nothing and can be repeated', async (t) => {
  const { gateway, upstream } = await start(t);
  const row = await store(gateway, upstream);
  await fault(upstream, { path: '/v1/vault', method: 'DELETE', times: 1, kind: 'status', status: 503 });
  const failed = await gateway.request('DELETE', `/connections/${row.id}`);
  t.same([failed.status, failed.json.code], [502, 'upstream_invalid_response']);
  t.equal((await gateway.request('GET', `/connections/${row.id}`)).status, 200);
  t.equal((await gateway.request('DELETE', `/connections/${row.id}`)).status, 204);
});

for (const rowShape of ['hosted', 'oss']) {
  t.test(`sync takes over the vault, all pages, in its ${rowShape} row shape`, async (t) => {
    const { gateway, upstream } = await start(t);
    await settings(upstream, { rowShape, maxPageSize: 10 });
    const kept = await store(gateway, upstream, 'ada', 'slack');
    await seed(upstream, { identity: 'ada', platform: 'gmail', count: 25 });
    await seed(upstream, { identity: 'bob', platform: 'gmail', count: 12 });
    await seed(upstream, { identity: 'ada', identityType: 'team', platform: 'gmail', count: 3 });
    const sync = (identity = 'ada') => gateway.request('POST', '/connections/sync', { headers: { 'x-identity': identity } });

    t.same((await sync()).json, { created: 25, updated: 0, removed: 0, unchanged: 1, skipped: 0 });
    t.same((await sync()).json, { created: 0, updated: 0, removed: 0, unchanged: 26, skipped: 0 });
    t.equal((await gateway.request('GET', '/connections?limit=100&identity=bob')).json.rows.length, 0, 'nobody else\'s');

    const { rows } = await (await fetch(`${upstream}/__control/connections`)).json() as { rows: { id: string; key: string }[] };
    await fetch(`${upstream}/__control/connections/${encodeURIComponent(rows.find(({ key }) => key === kept.key)!.id)}`, { method: 'DELETE' });
    t.same((await sync()).json, { created: 0, updated: 0, removed: 1, unchanged: 25, skipped: 0 });
    t.equal((await gateway.request('GET', `/connections/${kept.id}`)).json.state, 'failed');
    t.same((await sync()).json, { created: 0, updated: 0, removed: 0, unchanged: 26, skipped: 0 });
  });
}

t.test('sync takes over states and keeps names and tags given here', async (t) => {
  const { gateway, upstream } = await start(t);
  const row = await store(gateway, upstream);
  await gateway.request('PATCH', `/connections/${row.id}`, { json: { name: 'Mine', tags: ['mine'] } });
  const { rows: [inVault] } = await (await fetch(`${upstream}/__control/connections`)).json() as { rows: { id: string }[] };
  await fetch(`${upstream}/__control/connections/${encodeURIComponent(inVault!.id)}`, {
    method: 'PATCH', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ state: 'degraded' }),
  });
  const sync = await gateway.request('POST', '/connections/sync', { json: { identity: 'ada' } });
  t.same(sync.json, { created: 0, updated: 1, removed: 0, unchanged: 0, skipped: 0 });
  t.match((await gateway.request('GET', `/connections/${row.id}`)).json, { state: 'degraded', name: 'Mine', tags: ['mine'] });
});

t.test('a vault that fails in the middle of a sync is an error, and marks nothing as gone', async (t) => {
  const { gateway, upstream } = await start(t);
  const row = await store(gateway, upstream);
  for (const [how, code] of [[{ kind: 'status', status: 500 }, 'upstream_invalid_response'], [{ kind: 'malformed' }, 'upstream_invalid_response'], [{ kind: 'reset' }, 'upstream_unreachable']] as const) {
    await fault(upstream, { path: '/v1/vault', times: 1, ...how });
    t.equal((await gateway.request('POST', '/connections/sync', { headers: { 'x-user-id': 'ada' } })).json.code, code);
  }
  t.equal((await gateway.request('GET', `/connections/${row.id}`)).json.state, 'operational');
});
