// npm run bench:reconcile -- [--sizes 1000,100000] [--limit 300] [--share 0.2] [--pages N]: how many calls, and how long,
// does it take to compare so many connections with the vault? Runs the reconciler against the sandbox with its rate limit
// (calls a minute) on, on Postgres (BENCH_DATABASE_URL, a server on which a database may be made and dropped). --pages ends
// a walk after so many pages and extrapolates, and the table says so. Begins with the first sync of one identity's 10,000.
import { parseArgs } from 'node:util';
import pg from 'pg';
import { startSandbox } from '../sandbox/start.js';
import { createComparisonStore } from '../src/connections/comparison-store.js';
import { createProgressStore } from '../src/connections/progress-store.js';
import { createReconciler, type RunSummary } from '../src/connections/reconciler.js';
import { createConnectionStore } from '../src/connections/store.js';
import { syncConnections } from '../src/connections/sync.js';
import { openDatabase } from '../src/persistence/database.js';
import { applyMigrations } from '../src/persistence/migrate.js';
import { createUpstreamClient, type UpstreamClient } from '../src/upstream/client.js';
import { createPacer } from '../src/upstream/paced.js';
import { createVault } from '../src/upstream/vault.js';

const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: '1000,100000' }, limit: { type: 'string', default: '300' }, share: { type: 'string', default: '0.2' }, pages: { type: 'string' },
  },
});
const sizes = values.sizes.split(',').map(Number);
const [limit, share, maxPages] = [Number(values.limit), Number(values.share), Number(values.pages ?? Infinity)];
const server = process.env['BENCH_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres';
const identitySize = 10;
const usualPerMinute = 300 * 0.2;

const name = `authkit_bench_${process.pid}`;
const url = Object.assign(new URL(server), { pathname: `/${name}` }).href;
await onServer(`CREATE DATABASE ${name}`);
const sandbox = await startSandbox();
const database = await openDatabase({ url, poolSize: 4, dataDir: undefined });
try {
  await applyMigrations(database);
  const store = createConnectionStore(database.prisma);
  const client = createUpstreamClient({ baseUrl: sandbox.url, secretKey: 'sk_test_sandbox_0123456789abcdef', headerPrefix: 'x-pica', timeoutMs: 60_000 });
  let calls = 0;
  let mostCalls = Infinity;
  let leave = (): void => {};
  const counted: UpstreamClient = {
    ...client,
    call(...request) {
      calls += 1;
      if (calls > mostCalls) leave();
      return client.call(...request);
    },
  };
  const quiet = { warn: () => {} };

  await control('POST', '/connections', { platform: 'gmail', identity: 'one', count: 5_000 });
  await control('POST', '/connections', { platform: 'gmail', identity: 'one', count: 5_000 });
  const began = performance.now();
  const { created } = await syncConnections(store, createVault(client, quiet), 'test', { identity: 'one', identityType: 'user' });
  console.log(`first sync of one identity's ${created.toLocaleString('en')} connections: ${seconds(performance.now() - began)} s\n`);

  console.log(`| connections | walk | calls | measured, at ${limit * share} calls a minute | at the usual ${usualPerMinute} |`);
  console.log('|---:|---|---:|---:|---:|');
  for (const size of sizes) {
    await database.prisma.userConnection.deleteMany();
    await database.prisma.connectionComparison.deleteMany();
    await control('POST', '/reset');
    for (let left = size; left > 0; left -= 5_000) {
      const count = Math.min(left, 5_000);
      await control('POST', '/connections', { platform: 'gmail', identity: `user-${left}`, count, identities: Math.ceil(count / identitySize) });
    }
    // Storing everything takes two calls a page: here without a limit, so that it is out of the way.
    await walk(size, 'first, everything new', 1e9);
    await walk(size, 'every later one', limit);
  }

  async function walk(size: number, what: string, perMinute: number): Promise<void> {
    await control('PATCH', '/settings', { rateLimit: perMinute, rateLimitWindowMs: 60_000 });
    const leaving = new AbortController();
    // A page of what is new is read twice.
    mostCalls = perMinute === limit ? maxPages : 2 * maxPages + 1;
    leave = () => leaving.abort(new Error('enough'));
    const pacer = createPacer(counted, { share: perMinute === limit ? share : 1 });
    const reconciler = createReconciler({
      store, comparisons: createComparisonStore(database.prisma), progress: createProgressStore(database.prisma),
      vaultFor: (signal) => createVault(pacer(signal), quiet), tryLock: () => database.tryLock(1), environment: 'test', intervalMs: 0,
      observe: { ended: () => {}, drifted: () => {}, progressed: () => {} },
    });
    // The client keeps what it was last told of the limit: one call that tells it the new one, be it by a 429.
    await client.call('GET', '/v1/vault/connections', { query: { limit: 1 } }).catch(() => {});
    calls = 0;
    let reached: RunSummary | undefined;
    const start = performance.now();
    const { finished } = await reconciler.start(leaving.signal, (summary) => (reached = summary));
    const result = await finished.catch((error: unknown) => {
      if (!leaving.signal.aborted) throw error;
      return undefined;
    });
    const checked = (result ?? reached)!.checked;
    const whole = size / checked;
    const took = performance.now() - start;
    const all = Math.ceil((result ? calls : calls - 1) * whole);
    const mark = result ? '' : ` (${checked.toLocaleString('en')} compared, the rest extrapolated)`;
    const measured = `${seconds(took * whole)} s${perMinute === limit ? '' : ' without a limit'}${mark}`;
    console.log(`| ${size.toLocaleString('en')} | ${what} | ${all.toLocaleString('en')} | ${measured} | ${hours(all / usualPerMinute)} |`);
  }
  await client.close();
} finally {
  await database.close();
  await sandbox.close();
  await onServer(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
}

async function control(method: string, path: string, body?: object): Promise<void> {
  const answer = await fetch(`${sandbox.url}/__control${path}`, { method, ...(body ? { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) } : {}) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status}`);
  await answer.arrayBuffer();
}

function seconds(milliseconds: number): string {
  return (milliseconds / 1000).toLocaleString('en', { maximumFractionDigits: 1 });
}

function hours(minutes: number): string {
  return minutes < 60 ? `${minutes.toFixed(1)} min` : `${(minutes / 60).toFixed(1)} h`;
}

async function onServer(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: server });
  await client.connect();
  await client.query(sql);
  await client.end();
}
