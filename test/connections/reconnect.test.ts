import { mock } from 'node:test';
import t, { type Test } from 'tap';
import { replaceKey } from '../../src/connections/reconnect.js';
import { createConnectionService } from '../../src/connections/service.js';
import { createConnectionStore } from '../../src/connections/store.js';
import { syncConnections } from '../../src/connections/sync.js';
import { openTestDatabase, postgresUrl } from '../helpers/database.js';
import type { Gateway } from '../helpers/gateway.js';
import { fault } from '../helpers/sandbox.js';
import { asBearer, claimOf, openSession, startBoth } from '../helpers/trust.js';
import { fakeVault, storedFrom, vaultRow } from '../helpers/vault.js';

t.setTimeout(300_000);

const ada = { identity: 'ada', identityType: 'user' as const };
const headers = { 'x-user-id': 'ada' };
const claimant = { fromBrowser: true, bound: true, platforms: undefined, reconnect: undefined };

/** A gateway with one connection of ada's, and what her page sends to put another key on it. */
async function start(t: Test) {
  const { gateway, sandbox } = await startBoth(t);
  const old = await claimOf(sandbox, 'ada');
  const { id } = (await gateway.request('POST', '/connections', { headers, json: old.claim })).json;
  const keysInVault = async () => {
    const { rows } = await (await fetch(`${sandbox}/__control/connections`)).json() as { rows: { key: string }[] };
    return rows.map(({ key }) => key);
  };
  const noDelete = (times: number) =>
    fault(sandbox, { path: `/v1/vault/connections/${encodeURIComponent(old.id)}`, method: 'DELETE', times, kind: 'status', status: 503 });
  return { gateway, sandbox, id: id as string, keysInVault, noDelete };
}

async function reconnect(gateway: Gateway, id: string, json: unknown) {
  const { token } = await openSession(gateway, { identity: 'ada', reconnect: { connectionId: id } });
  return asBearer(gateway, token)('POST', '/connections', { json });
}

/** A service over a vault in memory that has one connection of ada's, stored here too, and the one that is to replace it. */
async function startService(t: Test) {
  const store = createConnectionStore((await openTestDatabase(t)).prisma);
  const vault = fakeVault();
  const [old, next] = [vaultRow('ada'), vaultRow('ada')];
  vault.rows = [old, next];
  const { id } = (await store.create(storedFrom(old)))!;
  const service = createConnectionService(store, vault, 'test', 'always', async () => {});
  const remove = (vaultId: string) => { vault.rows = vault.rows.filter((row) => row.id !== vaultId); };
  const putNext = () => replaceKey({ store, vault }, { connectionId: id, since: new Date(0) }, ada, next);
  return { store, vault, service, old, next, id, remove, putNext };
}

t.test('a sync that stores the new key while the claim puts it on the row makes way too', async (t) => {
  const { prisma } = await openTestDatabase(t);
  const [before, next] = [vaultRow('ada'), vaultRow('ada')];
  let hidden = 0;
  const late = prisma.$extends({ query: { userConnection: { findFirst: ({ args, query }) => {
    // As if the sync's row came just after the look for it.
    if (args.where?.key !== next.key || 'id' in args.where || hidden > 0) return query(args);
    hidden += 1;
    return Promise.resolve(null);
  } } } }) as unknown as typeof prisma;
  const store = createConnectionStore(late);
  const { id } = (await store.create(storedFrom(before)))!;
  await store.create(storedFrom(next));
  const connection = await replaceKey({ store, vault: fakeVault() }, { connectionId: id, since: new Date(0) }, ada, next);
  t.match(connection, { id, key: next.key });
  t.equal(hidden, 1);
  t.equal(await prisma.userConnection.count(), 1);
});

t.test('and does so however far apart the replicas\' clocks are', { skip: !postgresUrl && 'needs TEST_DATABASE_URL: embedded, there is one clock' }, async (t) => {
  const { gateway, sandbox, id } = await start(t);
  mock.timers.enable({ apis: ['Date'], now: Date.now() + 20_000 });
  t.teardown(() => mock.timers.reset());
  const { token } = await openSession(gateway, { identity: 'ada', reconnect: { connectionId: id } });
  mock.timers.reset();
  const next = await claimOf(sandbox, 'ada');
  t.equal((await gateway.request('POST', '/connections/sync', { headers })).json.created, 1);
  t.match(await asBearer(gateway, token)('POST', '/connections', { json: next.claim }), { status: 200, json: { id } });
  t.equal((await gateway.request('GET', `/connections/${id}`)).json.key, next.key);
});

t.test('a second reconnect waits until the connection the first one replaced is deleted upstream', async (t) => {
  const { gateway, sandbox, id, noDelete, keysInVault } = await start(t);
  const [second, third] = [await claimOf(sandbox, 'ada'), await claimOf(sandbox, 'ada')];
  await noDelete(3);
  t.equal((await reconnect(gateway, id, second.claim)).status, 200);
  t.equal((await reconnect(gateway, id, second.claim)).status, 200, 'the same claim can be repeated');
  t.match(await reconnect(gateway, id, third.claim), { status: 502, json: { code: /^upstream_/ } });
  t.equal((await gateway.request('GET', `/connections/${id}`)).json.key, second.key, 'nothing is stored');

  t.match(await reconnect(gateway, id, third.claim), { status: 200, json: { id } }, 'and it is safe to repeat');
  t.equal((await gateway.request('GET', `/connections/${id}`)).json.key, third.key);
  t.same(await keysInVault(), [third.key]);
  t.match((await gateway.request('POST', '/connections/sync', { headers })).json, { created: 0, removed: 0 });
});

t.test('deleting a row deletes the connection it replaced as well, or says that it could not', async (t) => {
  const { gateway, sandbox, id, noDelete, keysInVault } = await start(t);
  const next = await claimOf(sandbox, 'ada');
  await noDelete(2);
  t.equal((await reconnect(gateway, id, next.claim)).status, 200);
  t.match(await gateway.request('DELETE', `/connections/${id}`), { status: 502, json: { code: /^upstream_/ } });
  t.equal((await gateway.request('DELETE', `/connections/${id}`)).status, 204);
  t.same(await keysInVault(), []);
  t.equal((await gateway.request('POST', '/connections/sync', { headers })).json.created, 0);
});

t.test('deleting a row that gets another key meanwhile deletes that connection too', async (t) => {
  const { store, vault, service, old, id, remove, putNext } = await startService(t);
  let calls = 0;
  vault.remove = async (vaultId) => {
    calls += 1;
    if (calls === 1) await putNext();
    remove(vaultId);
  };
  await service.remove(id, ada, true);
  t.same(vault.rows, []);
  t.equal(await store.findByKey(old.key), undefined);
  t.equal(await store.find(id, ada), undefined);
});

t.test('the old key cannot be claimed or synced back while its connection is being deleted upstream', async (t) => {
  const { store, vault, service, old, next, id, remove, putNext } = await startService(t);
  const listing = vault.listOf;
  vault.remove = async (vaultId) => {
    const claim = { ...old, name: undefined, tags: undefined, keyField: 'body.key' as const };
    await t.rejects(service.save(ada, claim, claimant), { code: 'connection_claim_rejected' });
    t.equal(await store.create(storedFrom(old)), undefined);
    remove(vaultId);
  };
  // The sync has read our rows before, and the vault's still have the old one.
  vault.listOf = async (owner) => {
    const found = await listing(owner);
    vault.listOf = listing;
    await putNext();
    return found;
  };
  t.match(await syncConnections(store, vault, 'test', ada), { created: 0 });
  t.match(await store.list(ada, undefined, 10), [{ id, key: next.key }]);
  t.equal((await store.list(ada, undefined, 10)).length, 1);
});

t.test('a row of the other environment cannot be given a key of this one', async (t) => {
  const { gateway, sandbox } = await startBoth(t);
  const key = `live::gmail::default::${'a'.repeat(32)}`;
  const { id } = await gateway.database.prisma.userConnection.create({ data: { ...ada, platform: 'gmail', key, environment: 'live' } });
  const next = await claimOf(sandbox, 'ada');
  t.match(await reconnect(gateway, id, next.claim), { status: 403, json: { code: 'connection_claim_rejected' } });
  t.match(await gateway.request('GET', `/connections/${id}`), { json: { key, environment: 'live' } });
});
