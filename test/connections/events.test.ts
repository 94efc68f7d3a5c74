import t, { type Test } from 'tap';
import { announceChanges } from '../../src/connections/cached-choice.js';
import { createConnectionStore } from '../../src/connections/store.js';
import { localInvalidations } from '../../src/persistence/invalidations.js';
import { openTestDatabase } from '../helpers/database.js';
import { storedFrom, vaultRow } from '../helpers/vault.js';

const ada = { identity: 'ada', identityType: 'user' as const };

/** A store, the events it has written, oldest first, and what it told caches. */
async function start(t: Test) {
  const { prisma } = await openTestDatabase(t);
  await prisma.webhook.create({ data: { url: 'https://app.example.com/', secret: 'unused' } });
  const invalidations = localInvalidations();
  const told: string[] = [];
  invalidations.subscribe('connections', (news) => void told.push(String(news).split(' ')[0]!));
  const events = async () => (await prisma.webhookEvent.findMany({ orderBy: { sequence: 'asc' } })).map(({ type, connectionId, data }) => ({ type, connectionId, data: data as Record<string, unknown> }));
  return { store: announceChanges(createConnectionStore(prisma), invalidations), events, told };
}

t.test('a state and a name that change together are two events; a reason alone is an update', async (t) => {
  const { store, events } = await start(t);
  const { id } = (await store.create(storedFrom(vaultRow('ada'))))!;
  await store.update(id, ada, { state: 'failed', stateReason: 'not_in_vault', name: 'Mine' });
  await store.update(id, ada, { stateReason: null });
  await store.update(id, ada, { stateReason: null, metadata: {} });
  t.match(await events(), [
    { type: 'connection.created', data: { state: 'operational' } },
    { type: 'connection.state_changed', data: { state: 'failed', stateReason: 'not_in_vault', previousState: 'operational', name: 'Mine' } },
    { type: 'connection.updated', data: { state: 'failed', name: 'Mine' } },
    { type: 'connection.updated', data: { stateReason: null } },
  ]);
  t.equal((await events()).length, 4, 'what changes nothing is no event');
});

t.test('a reconnect is an update, without either key, and removes what a sync had stored for the new key', async (t) => {
  const { store, events, told } = await start(t);
  const [before, next] = [vaultRow('ada'), vaultRow('ada')];
  const current = (await store.create(storedFrom(before)))!;
  const quicker = (await store.create(storedFrom(next)))!;
  told.length = 0;
  const after = await store.replaceKey(current, ada, { key: next.key, state: 'operational' }, new Date(0));
  t.match(after, { id: current.id, key: next.key, replacedKey: before.key });
  const [, , ...last] = await events();
  t.match(last, [{ type: 'connection.deleted', connectionId: quicker.id }, { type: 'connection.updated', connectionId: current.id }]);
  t.notMatch(JSON.stringify(last), /::/, 'no key');
  t.same(told, [current.id], 'caches forget the old key');

  await store.forgetReplaced(current.id, before.key);
  t.equal((await events()).length, 4, 'tidying up is no event');
  t.equal(await store.replaceKey(current, ada, { key: next.key, state: 'operational' }, new Date(0)), 'changed');
  t.equal((await events()).length, 4, 'and what was undone is none either');
});
