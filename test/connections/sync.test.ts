import t from 'tap';
import { createRecheck, createStateRefresher } from '../../src/connections/refresh.js';
import { createConnectionStore } from '../../src/connections/store.js';
import { Problem } from '../../src/errors.js';
import { syncConnections } from '../../src/connections/sync.js';
import { openTestDatabase } from '../helpers/database.js';
import { fakeVault, storedFrom, vaultRow } from '../helpers/vault.js';

const ada = { identity: 'ada', identityType: 'user' as const };
const quiet = { warn: () => {} };

t.test('what is stored while the vault is being read is not taken for vanished', async (t) => {
  const store = createConnectionStore((await openTestDatabase(t)).prisma);
  const vault = fakeVault();
  const late = vaultRow('ada');
  vault.before = async () => void await store.create(storedFrom(late));
  t.match(await syncConnections(store, vault, 'test', ada), { removed: 0 });
  t.match(await store.findByKey(late.key), { state: 'operational', stateReason: null });
});

t.test('what gets another owner while the vault is being read is not marked as vanished', async (t) => {
  const store = createConnectionStore((await openTestDatabase(t)).prisma);
  const vault = fakeVault();
  const { id, key } = (await store.create(storedFrom(vaultRow('ada'))))!;
  vault.before = async () => void await store.update(id, ada, { identity: 'bob' });
  t.match(await syncConnections(store, vault, 'test', ada), { removed: 0 });
  t.match(await store.findByKey(key), { identity: 'bob', state: 'operational' });
});

t.test('what is deleted while the vault is being read does not come back', async (t) => {
  const store = createConnectionStore((await openTestDatabase(t)).prisma);
  const vault = fakeVault();
  const doomed = vaultRow('ada', 'degraded');
  const row = await store.create(storedFrom(doomed));
  vault.rows = [doomed];
  vault.before = async () => void await store.remove(row!.id);
  t.match(await syncConnections(store, vault, 'test', ada), { created: 0, updated: 0 });
  t.equal(await store.findByKey(doomed.key), undefined);
});

t.test('refreshing a state re-reads one connection by its key', async (t) => {
  const store = createConnectionStore((await openTestDatabase(t)).prisma);
  const vault = fakeVault();
  const row = vaultRow('ada', 'degraded');
  vault.rows = [row];
  const { id } = (await store.create(storedFrom(row)))!;
  const refresh = createStateRefresher(store, vault, 'test', quiet, new AbortController().signal, 10);
  await refresh(id);
  t.match(await store.find(id, undefined), { state: 'degraded', stateReason: null });
  t.same(vault.calls, [row.key]);

  vault.rows = [];
  await refresh(id);
  t.match(await store.find(id, undefined), { state: 'failed', stateReason: 'not_in_vault' });

  vault.rows = [{ ...row, identity: 'bob' }];
  await store.update(id, undefined, { state: 'operational', stateReason: null });
  await refresh(id);
  t.match(await store.find(id, undefined), { state: 'failed', stateReason: 'not_in_vault' }, 'somebody else\'s is not this one\'s');

  vault.before = async () => { throw new Error('the vault is away'); };
  await t.resolves(refresh(id), 'it never rejects');
  await t.resolves(refresh('01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87'), 'nor for an unknown one');
});

t.test('a hundred requests for one refresh are two reads', async (t) => {
  const store = createConnectionStore((await openTestDatabase(t)).prisma);
  const vault = fakeVault();
  const row = vaultRow('ada');
  vault.rows = [row];
  const { id } = (await store.create(storedFrom(row)))!;
  const stopping = new AbortController();
  const refresh = createStateRefresher(store, vault, 'test', quiet, stopping.signal, 10);
  await Promise.all(Array.from({ length: 100 }, () => refresh(id)));
  t.equal(vault.calls.length, 2, 'one at once, and one for those who asked while it ran');
  stopping.abort();
  await refresh(id);
  t.equal(vault.calls.length, 2, 'none after a stop');
});

t.test('a connection that is called again and again is compared with the vault once in a while', async (t) => {
  const store = createConnectionStore((await openTestDatabase(t)).prisma);
  const vault = fakeVault();
  const row = vaultRow('ada');
  const stored = (await store.create({ ...storedFrom(row), state: 'failed' }))!;
  const recheck = createRecheck(store, vault, 600_000);
  const found = await Promise.all(Array.from({ length: 10 }, () => recheck(stored)));
  vault.rows = [row];
  found.push(await recheck(stored));
  for (const { connection, inVault } of found) t.match({ connection, inVault }, { connection: { state: 'failed', stateReason: 'not_in_vault' }, inVault: undefined });
  t.same(vault.calls, [row.key]);

  const next = vaultRow('ada');
  vault.rows = [next];
  const changed = await store.replaceKey((await store.find(stored.id, undefined))!, ada, { key: next.key, state: 'failed' }, new Date(0));
  t.match(await recheck(changed as typeof stored), { connection: { state: 'operational', stateReason: null } }, 'of a new key nothing is known yet');

  const other = (await store.create({ ...storedFrom(vaultRow('ada')), state: 'failed' }))!;
  vault.before = async () => { throw new Problem('upstream_unreachable', 'away'); };
  for (let n = 0; n < 3; n += 1) await t.rejects(recheck(other), { code: 'upstream_unreachable' });
  t.equal(vault.calls.length, 3, 'a vault that is away is left alone as well');
  t.match(await store.find(other.id, undefined), { state: 'failed', stateReason: null });
});
