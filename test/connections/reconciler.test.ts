import t, { type Test } from 'tap';
import { createComparisonStore } from '../../src/connections/comparison-store.js';
import { createProgressStore } from '../../src/connections/progress-store.js';
import { createReconciler, reconcilerLock, type ReconcilerOptions, type RunObserver } from '../../src/connections/reconciler.js';
import { createConnectionStore } from '../../src/connections/store.js';
import { Problem } from '../../src/errors.js';
import { openTestDatabase } from '../helpers/database.js';
import { fakeVault, storedFrom, vaultRow } from '../helpers/vault.js';

const letters = [...'abcdefghij'];

/** Ten identities with a connection each, which the vault knows too, each on a page of its own. */
async function start(t: Test, options: Partial<ReconcilerOptions> = {}) {
  const database = await openTestDatabase(t);
  const store = createConnectionStore(database.prisma);
  const progress = createProgressStore(database.prisma);
  const vault = fakeVault();
  vault.rows = letters.map((identity) => vaultRow(identity));
  for (const row of vault.rows) await store.create(storedFrom(row));
  const comparisons = createComparisonStore(database.prisma);
  const runs: Parameters<RunObserver['ended']>[0][] = [];
  const drifted: string[] = [];
  const observe: RunObserver = {
    ended: (run) => void runs.push(run),
    drifted: ({ created, updated, removed }) => void drifted.push(...[...created, ...updated, ...removed].map(({ id }) => id)),
    progressed: () => {},
  };
  const replica = () => createReconciler({
    store, comparisons, progress, vaultFor: () => vault, tryLock: () => database.tryLock(reconcilerLock), environment: 'test', intervalMs: 60_000,
    observe, ...options,
  });
  return { database, store, progress, vault, runs, drifted, replica };
}

t.test('a run takes over states, marks the vanished, finds who has no row yet, and counts and names what it found', async (t) => {
  const { store, vault, runs, drifted, progress, replica } = await start(t);
  const [a, b, ...others] = vault.rows;
  const [second, newcomer, nobody] = [vaultRow('c'), vaultRow('newcomer'), { ...vaultRow('nobody'), identity: undefined }];
  const ids = await Promise.all([a!, b!].map(async ({ key }) => (await store.findByKey(key))!.id));
  vault.rows = [{ ...a!, state: 'degraded' }, ...others, second, newcomer, nobody];
  const reconciler = replica();
  t.equal(await reconciler.runDue(), true);
  t.match(await store.findByKey(a!.key), { state: 'degraded', stateReason: null });
  t.match(await store.findByKey(b!.key), { state: 'failed', stateReason: 'not_in_vault' });
  t.match(await store.findByKey(newcomer.key), { identity: 'newcomer', state: 'operational' }, 'an identity of which nothing was stored');
  t.equal(await store.findByKey(nobody.key), undefined);
  t.match(runs, [{ outcome: 'finished', resumed: false, summary: { identities: 11, checked: 12, drift: 4, created: 2, updated: 1, removed: 1, failed: 0 } }]);
  const created = await Promise.all([second, newcomer].map(async ({ key }) => (await store.findByKey(key))!.id));
  t.same([...drifted].sort(), [...ids, ...created].sort());
  t.same(vault.calls.filter((call) => call.length === 1), [...letters.filter((letter) => letter !== 'b'), 'c'], 'every page once, in order');
  t.ok(vault.calls.includes(b!.key), 'what was on no page was asked for by its key');
  t.match(await progress.read(), { finishedAt: Date, completeSince: Date, progress: { total: 12 } });
  t.equal(await reconciler.runDue(), false, 'not due before the interval is over');
  vault.calls.length = 0;
  await (await reconciler.start(new AbortController().signal, () => {})).finished;
  t.notOk(vault.calls.includes(b!.key), 'what is known to be gone is not asked for again');
});

t.test('a page that moved, or lied, marks nothing as vanished', async (t) => {
  const { store, vault, replica } = await start(t);
  const all = vault.rows;
  vault.page = async (position) => ({ rows: position ? [] : all.slice(0, 1), count: position ? 0 : 1, skipped: 0, total: 10, next: position ? undefined : { page: 2, seen: 1, skips: false } });
  const { finished } = await replica().start(new AbortController().signal, () => {});
  t.match(await finished, { identities: 10, checked: 10, drift: 0 });
  t.equal((await store.list({ state: 'failed' }, undefined, 10)).length, 0);
});

t.test('what is stored, changed or deleted here after a page was read is not undone by it', async (t) => {
  const { store, vault, replica } = await start(t);
  const [a, b] = [vault.rows[1]!, vault.rows.at(-1)!];
  vault.rows = vault.rows.map((row) => (row === a ? { ...row, state: 'degraded' } : row));
  const idOf = async ({ key }: { key: string }) => (await store.findByKey(key))!.id;
  const read = vault.page;
  vault.page = async (position) => {
    const page = await read(position);
    const identity = page.rows[0]?.identity;
    if (identity === a.identity) {
      await store.update(await idOf(a), undefined, { state: 'failed' });
      vault.rows = vault.rows.map((row) => (row.key === a.key ? { ...row, state: 'failed' } : row));
    }
    if (identity === b.identity) {
      await store.remove(await idOf(b));
      vault.rows = vault.rows.slice(0, -1);
    }
    return page;
  };
  t.match(await (await replica().start(new AbortController().signal, () => {})).finished, { drift: 0 });
  t.match(await store.findByKey(a.key), { state: 'failed' }, 'changed');
  t.equal(await store.findByKey(b.key), undefined, 'deleted');
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
  t.match(await progress.read(), { finishedAt: null, progress: { position: { page: 6, seen: 5 }, identities: 5 } });
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

t.test('a page that fails three times is left out, and its rows are asked for by key; two such pages pause the run', async (t) => {
  const { progress, store, vault, runs, replica } = await start(t);
  const failing = new Set(['b', 'e', 'f']);
  const hidden = vault.rows.filter(({ identity }) => identity === 'b');
  vault.before = async (about) => {
    if (failing.has(about)) throw new Problem('upstream_timeout', 'too slow');
  };
  const reconciler = replica();
  t.equal(await reconciler.runDue(), true);
  t.match(runs, [{ outcome: 'paused', summary: { identities: 3, failed: 1 }, cause: { code: 'upstream_timeout' } }]);
  t.same(vault.calls, [...'abbbcdeeefff']);
  t.match(await progress.read(), { pausedUntil: Date, progress: { position: { page: 5 } } }, 'before the first of them');
  t.equal(await reconciler.runDue(), false, 'paused');
  const run = (await progress.read())!;
  await progress.save({ ...run, pausedUntil: new Date() });
  failing.delete('e');
  failing.delete('f');
  vault.calls.length = 0;
  t.equal(await reconciler.runDue(), true, 'and continued');
  t.same(vault.calls, [...'efghij', ...hidden.map(({ key }) => key)]);
  t.match(runs[1], { outcome: 'finished', resumed: true, summary: { identities: 7, checked: 7, drift: 0 } });
  t.equal((await store.list({ state: 'failed' }, undefined, 10)).length, 0);
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
