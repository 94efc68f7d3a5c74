import t from 'tap';
import { fault, recordings, seed, settings } from '../helpers/sandbox.js';
import { asBearer, claimOf, openSession, startBoth } from '../helpers/trust.js';

t.setTimeout(300_000);

const ada = { 'x-user-id': 'ada' };

t.test('what is stored of a claim comes from the vault, in either of its shapes', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  for (const rowShape of ['hosted', 'oss']) {
    await settings(sandbox, { rowShape });
    const { claim } = await claimOf(sandbox, 'ada', 'gmail', { name: 'Ada\'s mail', tags: ['work'], state: 'degraded' });
    const answer = await gateway.request('POST', '/connections', { headers: ada, json: { ...claim, state: 'operational', name: 'Mine', tags: ['x'] } });
    t.equal(answer.status, 201, rowShape);
    t.match(answer.json, { identity: 'ada', platform: 'gmail', name: 'Ada\'s mail', tags: ['work'], state: 'degraded' }, rowShape);
  }
});

t.test('an open-source row without a state is operational while active; what is not active is failed, whatever state it names', async (t) => {
  const rows = new Map(([['a', true], ['b', false], ['c', false, 'operational'], ['d', true, 'degraded']] as const).map(([letter, active, state]) => {
    const key = `test::gmail::default::${String(letter).repeat(32)}|ada`;
    return [key, { _id: `conn-${letter}`, key, platform: 'gmail', environment: 'test', identity: 'ada', active, state }] as const;
  }));
  const { createServer } = await import('node:http');
  const vault = createServer((request, response) => {
    const found = rows.get(new URL(request.url!, 'http://x').searchParams.get('key')!);
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ type: 'read', rows: found ? [found] : [], total: found ? 1 : 0, skip: 0, limit: 100 }));
  });
  await new Promise<void>((resolve) => vault.listen(0, '127.0.0.1', resolve));
  t.teardown(() => vault.close());
  const { startGateway } = await import('../helpers/gateway.js');
  const gateway = await startGateway(t, `http://127.0.0.1:${(vault.address() as { port: number }).port}`);
  const states = await Promise.all([...rows.keys()].map(async (key) =>
    (await gateway.request('POST', '/connections', { headers: ada, json: { key, platform: 'gmail' } })).json.state));
  t.same(states, ['operational', 'failed', 'failed', 'degraded'], 'and an absent identity type means user');
});

t.test('claiming again takes over the state, and a name or tags only where the vault has some', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  const { id: vaultId, claim } = await claimOf(sandbox, 'ada');
  const { id } = (await gateway.request('POST', '/connections', { headers: ada, json: claim })).json;
  await gateway.request('PATCH', `/connections/${id}`, { json: { name: 'Support inbox', tags: ['support'], metadata: { crm: 1 } } });
  await fetch(`${sandbox}/__control/connections/${vaultId}`, {
    method: 'PATCH', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ state: 'failed' }),
  });
  const again = await gateway.request('POST', '/connections', { headers: ada, json: claim });
  t.match(again, { status: 200, json: { id, state: 'failed', name: 'Support inbox', tags: ['support'], metadata: { crm: 1 } } });
});

t.test('a key whose identity has a comma, which the vault\'s filter splits at, can be claimed', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  const { claim } = await claimOf(sandbox, 'lovelace, ada');
  t.equal((await gateway.request('POST', '/connections', { headers: { 'x-user-id': 'lovelace, ada' }, json: claim })).status, 201);
});

t.test('a vault that is away stores nothing, and repeating is safe', async (t) => {
  const { gateway, sandbox } = await startBoth(t, { UPSTREAM_TIMEOUT_MS: '300' });
  const { claim } = await claimOf(sandbox, 'ada');
  const save = () => gateway.request('POST', '/connections', { headers: ada, json: claim });
  for (const [kind, status, code] of [
    ['reset', 502, 'upstream_unreachable'], ['hang', 504, 'upstream_timeout'], ['malformed', 502, 'upstream_invalid_response'],
  ] as const) {
    await fault(sandbox, { path: '/v1/vault', times: 1, kind });
    const answer = await save();
    t.same([answer.status, answer.json.code], [status, code], kind);
    t.equal(await gateway.database.prisma.userConnection.count(), 0, kind);
  }
  t.equal((await save()).status, 201);
});

t.test('browser: a server\'s word counts, a browser\'s is checked', async (t) => {
  const { gateway } = await startBoth(t, { CONNECTION_VERIFICATION: 'browser' });
  const claim = (digit: string) => ({ key: `test::gmail::default::${digit.repeat(32)}`, platform: 'gmail' });
  t.equal((await gateway.request('POST', '/connections', { headers: ada, json: claim('1') })).status, 201);

  const { token } = await openSession(gateway, { identity: 'ada' });
  t.equal((await asBearer(gateway, token)('POST', '/connections', { json: claim('2') })).json.code, 'connection_claim_rejected', 'a session is a browser\'s');
  const bound = await gateway.createKey(['connections:write'], { identity: 'ada' });
  const fromPage = await gateway.request('POST', '/connections', { key: bound, headers: { origin: 'https://app.example.com' }, json: claim('3') });
  t.equal(fromPage.json.code, 'connection_claim_rejected', 'and so is what has an origin');
});

t.test('off: nothing is asked, and the log says so at boot', async (t) => {
  const { startGateway } = await import('../helpers/gateway.js');
  const gateway = await startGateway(t, 'http://127.0.0.1:9', { CONNECTION_VERIFICATION: 'off' });
  const json = { key: `test::gmail::default::${'1'.repeat(32)}`, platform: 'gmail', name: 'Mine' };
  t.match(await gateway.request('POST', '/connections', { headers: ada, json }), { status: 201, json: { name: 'Mine' } });
  t.ok(gateway.log.lines.some((line) => line.includes('CONNECTION_VERIFICATION=off') && JSON.parse(line).level === 40));
});

t.test('reconnecting keeps the id, name, tags and metadata, and deletes the old upstream connection', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  const old = await claimOf(sandbox, 'ada', 'gmail', { state: 'degraded' });
  const { id } = (await gateway.request('POST', '/connections', { headers: ada, json: old.claim })).json;
  await gateway.request('PATCH', `/connections/${id}`, { json: { name: 'Inbox', tags: ['a'], metadata: { crm: 7 } } });

  const usedKey = async () => {
    t.equal((await gateway.request('GET', '/proxy/gmail/__provider/echo', { headers: ada })).headers.get('x-authkit-error'), null);
    return (await recordings(sandbox, '/v1/passthrough/')).at(-1)!.headers['x-pica-connection-key'];
  };
  t.equal(await usedKey(), old.key);

  const { token } = await openSession(gateway, { identity: 'ada', reconnect: { connectionId: id } });
  const next = await claimOf(sandbox, 'ada', 'gmail', { name: 'another', tags: ['b'] });
  const answer = await asBearer(gateway, token)('POST', '/connections', { json: next.claim });
  t.match(answer, { status: 200, json: { id, state: 'operational', name: 'Inbox', tags: ['a'] } });
  t.match((await gateway.request('GET', `/connections/${id}`)).json, { key: next.key, metadata: { crm: 7 } });
  const vault = await (await fetch(`${sandbox}/__control/connections`)).json() as { rows: { key: string }[] };
  t.same(vault.rows.map(({ key }) => key), [next.key]);
  t.equal((await gateway.request('GET', '/connections')).json.rows.length, 1);
  t.equal(await usedKey(), next.key, 'the proxy has forgotten the old key');
  t.equal((await asBearer(gateway, token)('POST', '/connections', { json: next.claim })).json.id, id, 'and it can be repeated');
});

t.test('reconnecting: an old connection that could not be deleted goes with the next sync, and does not come back as a row', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  const old = await claimOf(sandbox, 'ada');
  const { id } = (await gateway.request('POST', '/connections', { headers: ada, json: old.claim })).json;
  const { token } = await openSession(gateway, { identity: 'ada', reconnect: { connectionId: id } });
  const next = await claimOf(sandbox, 'ada');
  await fault(sandbox, { path: '/v1/vault', method: 'DELETE', times: 2, kind: 'status', status: 503 });
  t.match(await asBearer(gateway, token)('POST', '/connections', { json: next.claim }), { status: 200, json: { id } });
  t.equal((await gateway.request('GET', `/connections/${id}`)).json.key, next.key);

  for (const left of [[next.key, old.key], [next.key]]) {
    t.match(await gateway.request('POST', '/connections/sync', { headers: ada }), { status: 200, json: { created: 0, removed: 0 } });
    const vault = await (await fetch(`${sandbox}/__control/connections`)).json() as { rows: { key: string }[] };
    t.same(vault.rows.map(({ key }) => key), left);
  }
  t.same((await gateway.request('GET', '/connections')).json.rows.map(({ key }: { key: string }) => key), [next.key]);
});

t.test('reconnecting: a sync that stored the new key first makes way; a connection that was there before does not', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  const [first, second] = [await claimOf(sandbox, 'ada'), await claimOf(sandbox, 'ada')];
  const { id } = (await gateway.request('POST', '/connections', { headers: ada, json: first.claim })).json;
  const other = (await gateway.request('POST', '/connections', { headers: ada, json: second.claim })).json;
  const { token } = await openSession(gateway, { identity: 'ada', reconnect: { connectionId: id } });
  const claim = asBearer(gateway, token);
  t.equal((await claim('POST', '/connections', { json: second.claim })).json.code, 'connection_claim_rejected');
  t.match(await gateway.request('GET', `/connections/${other.id}`), { status: 200, json: { key: second.key } });

  const { key } = await seed(sandbox, { identity: 'ada', platform: 'gmail' });
  t.equal((await gateway.request('POST', '/connections/sync', { headers: ada })).json.created, 1);
  t.match(await claim('POST', '/connections', { json: { key, platform: 'gmail' } }), { status: 200, json: { id } });
  t.equal((await gateway.request('GET', `/connections/${id}`)).json.key, key);
  t.same((await gateway.request('GET', '/connections')).json.rows.map((row: { id: string }) => row.id).sort(), [id, other.id].sort());
});
