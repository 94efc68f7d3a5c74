import t, { type Test } from 'tap';
import { createProgressStore } from '../../src/connections/progress-store.js';
import { createReconciler, reconcilerLock, type ReconcilerOptions } from '../../src/connections/reconciler.js';
import { createConnectionStore } from '../../src/connections/store.js';
import { Problem } from '../../src/errors.js';
import { openTestDatabase } from '../helpers/database.js';
import { fakeVault, storedFrom, vaultRow } from '../helpers/vault.js';

const letters = [...'abcdefghij'];

/** Ten identities with a connection each, which the vault knows too. */
async function start(t: Test, options: Partial<ReconcilerOptions> = {}) {
  const database = await openTestDatabase(t);
  const store = createConnectionStore(database.prisma);
  const progress = createProgressStore(database.prisma);
  const vault = fakeVault();
  vault.rows = letters.map((identity) => vaultRow(identity));
  for (const row of vault.rows) await store.create(storedFrom(row));
  const runs: Parameters<ReconcilerOptions['observe']>[0][] = [];
  const replica = () => createReconciler({
    store, progress, vaultFor: () => vault, tryLock: () => database.tryLock(reconcilerLock), environment: 'test', intervalMs: 60_000,
    observe: (run) => void runs.push(run), ...options,
  });
  return { database, store, progress, vault, runs, replica };
}

t.test('a run takes over states, marks the vanished, and counts what it found', async (t) => {
  const { store, vault, runs, replica } = await start(t);
  const [a, b, ...others] = vault.rows;
  vault.rows = [{ ...a!, state: 'degraded' }, ...others, vaultRow('c')];
  const reconciler = replica();
  t.equal(await reconciler.runDue(), true);
  t.match(await store.findByKey(a!.key), { state: 'degraded', stateReason: null });
  t.match(await store.findByKey(b!.key), { state: 'failed', stateReason: 'not_in_vault' });
  t.match(runs, [{ outcome: 'finished', resumed: false, summary: { identities: 10, checked: 11, drift: 3, created: 1, updated: 1, removed: 1, failed: 0 } }]);
  t.same(vault.calls, letters, 'every identity once, in order');
  t.equal(await reconciler.runDue(), false, 'not due before the interval is over');
});

t.test('of two replicas one runs, by schedule and by hand', async (t) => {
  const { vault, runs, replica } = await start(t);
  let release = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  vault.before = () => held;
  const [one, other] = [replica(), replica()];
  const running = one.runDue();
  while (vault.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  t.equal(await other.runDue(), false);
  await t.rejects(other.start(new AbortController().signal, () => {}), { code: 'sync_in_progress' });
  release();
  t.equal(await running, true);
  t.equal(runs.length, 1);
  const { finished } = await other.start(new AbortController().signal, () => {});
  t.match(await finished, { identities: 10, checked: 10, drift: 0 }, 'by hand it need not be due');
});

t.test('a run that was stopped is continued where it was, by whoever comes next', async (t) => {
  const { progress, vault, runs, replica } = await start(t);
  const first = replica();
  vault.before = async (identity) => {
    if (identity === 'e') void first.stop();
  };
  await t.rejects(first.runDue(), { code: 'service_unavailable' });
  t.match(await progress.read(), { finishedAt: null, progress: { last: { identity: 'e' }, identities: 5 } });
  vault.before = async () => {};
  t.equal(await replica().runDue(), true);
  t.same(vault.calls, letters, 'nobody twice');
  t.match(runs, [{ outcome: 'stopped', summary: { identities: 5 } }, { outcome: 'finished', resumed: true, summary: { identities: 5 } }]);
  t.match(await progress.read(), { finishedAt: Date, progress: { identities: 10 } });
});

t.test('a lost lock ends the run', async (t) => {
  const lost = new AbortController();
  const { vault, runs, replica } = await start(t, { tryLock: async () => ({ lost: lost.signal, release: async () => {} }) });
  vault.before = async (identity) => {
    if (identity === 'c') lost.abort(new Error('the lock is lost'));
  };
  await t.rejects(replica().runDue(), { message: 'the lock is lost' });
  t.equal(vault.calls.length, 3);
  t.match(runs, [{ outcome: 'stopped' }]);
});

t.test('an identity whose listing fails is left out; three in a row pause the run', async (t) => {
  const { progress, vault, runs, replica } = await start(t);
  const failing = new Set(['b', 'e', 'f', 'g']);
  vault.before = async (identity) => {
    if (failing.has(identity)) throw new Problem('upstream_timeout', 'too slow');
  };
  const reconciler = replica();
  t.equal(await reconciler.runDue(), true);
  t.match(runs, [{ outcome: 'paused', summary: { identities: 7, failed: 4 }, cause: { code: 'upstream_timeout' } }]);
  t.equal(await reconciler.runDue(), false, 'paused');
  const run = (await progress.read())!;
  await progress.save({ ...run, pausedUntil: new Date() });
  t.equal(await reconciler.runDue(), true, 'and continued');
  t.same(vault.calls, letters);
  t.match(runs[1], { outcome: 'finished', resumed: true });
});

t.test('a run by hand ends when its caller leaves, and leaves the lock free', async (t) => {
  const { vault, replica } = await start(t);
  const gone = new AbortController();
  vault.before = async (identity) => {
    if (identity === 'd') gone.abort(new Error('the caller left'));
  };
  const seen: number[] = [];
  const { finished } = await replica().start(gone.signal, ({ identities }) => void seen.push(identities));
  await t.rejects(finished, { message: 'the caller left' });
  t.same(seen, [1, 2, 3, 4]);
  t.equal(await replica().runDue(), true);
});
