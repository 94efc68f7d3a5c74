import t from 'tap';
import { fault } from '../helpers/sandbox.js';
import { startGateway } from '../helpers/gateway.js';
import { storeConnection } from '../helpers/upstream.js';
import { asBearer, claimOf, openSession, startBoth } from '../helpers/trust.js';

t.setTimeout(300_000);

const { gateway, sandbox } = await startBoth(t, { UPSTREAM_TIMEOUT_MS: '10000' });
const { prisma } = gateway.database;
const call = (identity: string, headers: Record<string, string> = {}, platform = 'gmail') =>
  gateway.request('GET', `/proxy/${platform}/__provider/echo`, { headers: { 'x-user-id': identity, ...headers } });
/** Stores a connection that the vault has. */
const connect = async (identity: string, row: Record<string, unknown> = {}, platform = 'gmail') => {
  const { id: vaultId, key, claim } = await claimOf(sandbox, identity, platform, row);
  const answer = await gateway.request('POST', '/connections', { headers: { 'x-user-id': identity }, json: claim });
  if (answer.status !== 201) throw new Error(answer.text);
  return { id: answer.json.id as string, vaultId, key };
};
const inVault = (vaultId: string, method: string, json?: Record<string, unknown>) => fetch(`${sandbox}/__control/connections/${vaultId}`, {
  method, ...(json ? { headers: { 'content-type': 'application/json' }, body: JSON.stringify(json) } : {}),
});
const failed = (identity: string, count: number, stateReason: string | null) => prisma.userConnection.createMany({
  data: Array.from({ length: count }, (_, n) => ({
    identity, platform: 'gmail', key: `test::gmail::default::${identity}${n}`, environment: 'test', state: 'failed', stateReason, createdAt: new Date(Date.now() + 1000 + n),
  })),
});

t.test('a living connection is found behind any number of newer dead ones', async (t) => {
  await connect('ann');
  await failed('ann', 60, null);
  await failed('ann-gone', 60, 'not_in_vault');
  await prisma.userConnection.updateMany({ where: { identity: 'ann-gone' }, data: { identity: 'ann' } });
  t.equal((await call('ann')).status, 200);
});

t.test('a connection of the other environment, which the secret cannot use, does not make the choice ambiguous', async (t) => {
  await connect('two');
  await prisma.userConnection.create({ data: { identity: 'two', platform: 'gmail', key: 'live::gmail::default::two', environment: 'live' } });
  t.equal((await call('two')).status, 200);
  await prisma.userConnection.create({ data: { identity: 'other', platform: 'gmail', key: 'live::gmail::default::other', environment: 'live' } });
  t.match(await call('other'), { status: 422, json: { code: 'environment_mismatch' } });
});

t.test('where several fit, all are counted and the 20 newest shown, as a person would tell them apart', async (t) => {
  for (let n = 0; n < 25; n += 1) await storeConnection(gateway, 'gmail', 'many');
  const newest = (await gateway.request('GET', '/connections?identity=many&limit=1')).json.rows[0];
  await gateway.request('PATCH', `/connections/${newest.id}`, { json: { name: 'Work' } });
  await failed('many', 3, null);
  const { status, json } = await call('many');
  t.match({ status, json }, { status: 409, json: { code: 'connection_ambiguous', count: 25, connections: { length: 20 } } });
  t.match(json.detail, /^25 connections/);
  t.same(json.connections[0], { id: newest.id, name: 'Work', state: 'operational', account: null, createdAt: newest.createdAt });
  t.notMatch(JSON.stringify(json), /::/, 'no key');
});

t.test('a connection deleted upstream has to be reconnected: said at its first call, and in the list', async (t) => {
  const { id, vaultId, key } = await connect('eve');
  t.equal((await call('eve')).status, 200);
  t.match((await gateway.request('GET', `/connections/${id}`)).json, { state: 'operational', stateReason: null });
  await inVault(vaultId, 'DELETE');
  for (const headers of [{}, { 'x-connection-id': id }, {}] as Record<string, string>[]) {
    const answer = await call('eve', headers);
    t.match(answer, { status: 409, json: { code: 'reconnect_required', connection: id, state: 'failed', stateReason: 'not_in_vault' } });
    t.equal(answer.headers.get('x-authkit-error'), 'reconnect_required');
    t.match(answer.json.detail, /POST \/authkit\/sessions.*reconnect/s, 'with what to do');
    t.notOk(answer.text.includes(key));
  }
  t.match((await gateway.request('GET', '/connections?identity=eve')).json.rows, [{ id, state: 'failed', stateReason: 'not_in_vault' }]);
  const explained = await call('eve', { 'x-authkit-explain': 'true' });
  t.match(explained, { status: 409, json: { code: 'reconnect_required' } });

  const next = await claimOf(sandbox, 'eve');
  const { token } = await openSession(gateway, { identity: 'eve', reconnect: { connectionId: id } });
  t.match(await asBearer(gateway, token)('POST', '/connections', { json: next.claim }), { status: 200, json: { id, state: 'operational', stateReason: null } });
  t.equal((await call('eve')).status, 200, 'and reconnected it works at once');
});

t.test('HEAD and a write learn it too, and the write can be repeated under its Idempotency-Key', async (t) => {
  const { vaultId } = await connect('hal');
  const head = () => fetch(`${gateway.url}/proxy/gmail/__provider/echo`, { method: 'HEAD', headers: { 'x-api-key': gateway.config.adminApiKeys[0]!, 'x-user-id': 'hal' } });
  t.equal((await head()).status, 200);
  await inVault(vaultId, 'DELETE');
  const answer = await head();
  t.same([answer.status, answer.headers.get('x-authkit-error')], [409, 'reconnect_required']);

  const { vaultId: other } = await connect('ian');
  await inVault(other, 'DELETE');
  const write = () => gateway.request('POST', '/proxy/gmail/__provider/echo', { headers: { 'x-user-id': 'ian', 'idempotency-key': 'one' }, json: { a: 1 } });
  t.match(await write(), { status: 409, json: { code: 'reconnect_required' } });
  const next = await claimOf(sandbox, 'ian');
  const [row] = (await gateway.request('GET', '/connections?identity=ian')).json.rows;
  const { token } = await openSession(gateway, { identity: 'ian', reconnect: { connectionId: row.id } });
  t.equal((await asBearer(gateway, token)('POST', '/connections', { json: next.claim })).status, 200);
  t.equal((await write()).status, 200, 'nothing was sent the first time');
});

t.test('what is stored as failed may be old: the vault is asked before anybody has to reconnect', async (t) => {
  const { id, vaultId } = await connect('ida', { state: 'failed' });
  await inVault(vaultId, 'PATCH', { state: 'operational' });
  t.equal((await call('ida')).status, 200);
  t.match((await gateway.request('GET', `/connections/${id}`)).json, { state: 'operational', stateReason: null });

  const dead = await connect('joe', { state: 'failed' });
  t.match(await call('joe'), { status: 409, json: { code: 'reconnect_required', connection: dead.id, state: 'failed', stateReason: null } });
});

t.test('while the vault is away it is not known whether to reconnect, and nobody is told to', async (t) => {
  await connect('kim', { state: 'failed' });
  await fault(sandbox, { path: '/v1/vault', times: 1, kind: 'reset' });
  t.match(await call('kim'), { status: 502, json: { code: 'upstream_unreachable' } });
});

t.test('an upstream that answers 404 though the vault has the connection is as unexpected as before', async (t) => {
  await connect('lea');
  await fault(sandbox, { path: '/v1/passthrough', times: 1, kind: 'status', status: 404 });
  t.match(await call('lea'), { status: 502, json: { code: 'upstream_invalid_response' } });
});

t.test('what was not found says for whom it was looked for, and what that identity has', async (t) => {
  await connect('max', {}, 'slack');
  await connect('max', {}, 'github');
  const answer = await call('max', { 'x-identity-type': 'user' });
  t.match(answer, { status: 404, json: { code: 'connection_not_found', identity: 'max', identityType: 'user', platform: 'gmail', platforms: ['github', 'slack'] } });
  t.match(answer.json.detail, /max.*gmail.*github, slack/);
  t.match(await call('nobody'), { status: 404, json: { code: 'connection_not_found', platforms: [] } });
  t.match(await call('max', { 'x-connection-id': '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87' }), { status: 404, json: { code: 'connection_not_found', platforms: ['github', 'slack'] } });

  const key = await gateway.createKey(['proxy:gmail', 'proxy:slack']);
  const narrow = await gateway.request('GET', '/proxy/gmail/x', { key, headers: { 'x-user-id': 'max' } });
  t.same([narrow.json.code, narrow.json.platforms], ['connection_not_found', ['slack']], 'no more than the key may call');
  t.notMatch(narrow.text, /github/);
});

t.test('with unverified claims, a connection that the vault keeps without an identity goes on working', async (t) => {
  const unverified = await startGateway(t, sandbox, { CONNECTION_VERIFICATION: 'off' });
  const { claim } = await claimOf(sandbox, undefined as unknown as string, 'gmail');
  const as = { headers: { 'x-user-id': 'nina' } };
  t.equal((await unverified.request('POST', '/connections', { ...as, json: claim })).status, 201);
  t.equal((await unverified.request('POST', '/connections/sync', as)).json.removed, 1, 'a sync does not find it');
  t.equal((await unverified.request('GET', '/proxy/gmail/__provider/echo', as)).status, 200);
});
