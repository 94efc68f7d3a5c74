// npm run chaos: three replicas of the production build under load, behind nginx, while processes and the database are stopped,
// killed, paused and cut off. It starts its own Postgres, PgBouncer and nginx where they are installed (Debian packages postgresql,
// pgbouncer, nginx-light) and says what it left out. About five minutes; exit code 1 when a promise was broken.
// Options: --seconds 20 (of each round) --rate 50 (requests a second) --only "kill -9,rolling stop"
import { spawnSync } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startCluster, withoutCluster } from '../test/helpers/cluster.js';
import { startForwarder } from '../test/helpers/forwarder.js';
import { startPgBouncer, withoutPgBouncer } from '../test/helpers/pgbouncer.js';
import { freePort } from '../test/helpers/process.js';
import { Load, pause } from './chaos/ledger.js';
import { startBalancer } from './chaos/nginx.js';
import { Replica, rootKey } from './chaos/replicas.js';
import { type Round, rounds, type World } from './chaos/rounds.js';
import { openScope } from './chaos/scope.js';
import { type Application, startApplication, startVault } from './chaos/upstream.js';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '20' }, rate: { type: 'string', default: '50' }, only: { type: 'string' } } });
const seconds = Number(values.seconds);
const broken: string[] = [];
const log = (line: string): void => console.log(`  ${line}`);

if (withoutCluster) {
  console.log(`nothing was run: ${withoutCluster}`);
  process.exit(1);
}
const scope = openScope();
const directory = await mkdtemp(join(tmpdir(), 'authkit-chaos-'));
await chmod(directory, 0o755);
try {
  await main();
} catch (error) {
  broken.push((error as Error).message);
} finally {
  await scope.end();
  if (broken.length === 0) await rm(directory, { recursive: true, force: true });
}
for (const line of broken) console.error(`BROKEN: ${line}`);
if (broken.length > 0) console.error(`logs of the replicas: ${directory}`);
process.exit(broken.length > 0 ? 1 : 0);

async function main(): Promise<void> {
  const cluster = await startCluster(scope.test, { max_connections: '100' });
  const direct = await cluster.createDatabase('authkit');
  const database = await startForwarder(scope.test, direct);
  let pooler = withoutPgBouncer ? undefined : await startPgBouncer(scope.test, database.url);
  const poolerUrl = pooler?.url;
  const restartPooler = async (): Promise<void> => {
    await pooler!.stop();
    // On the port that the replicas know.
    pooler = await startPgBouncer(scope.test, database.url, { listen_port: new URL(poolerUrl!).port });
  };
  if (!pooler) log(`left out: PgBouncer (${withoutPgBouncer})`);

  const upstream = await startVault(scope);
  const application = await startApplication(scope);
  const env = {
    ...(pooler ? { DATABASE_URL: poolerUrl!, DATABASE_DIRECT_URL: database.url } : { DATABASE_URL: database.url }),
    DATABASE_POOL_SIZE: '2', PICA_BASE_URL: upstream.url, PICA_SECRET_KEY: 'sk_test_chaos', ADMIN_API_KEY: rootKey, HOST: '127.0.0.1',
    WEBHOOK_ALLOW_PRIVATE: 'true', RECONCILE_INTERVAL_MS: '0', ACTION_RESOLUTION: 'off',
  };
  const replicas: Replica[] = [];
  for (let i = 0; i < 3; i += 1) replicas.push(new Replica(scope, await freePort(), directory, env));
  await Promise.all(replicas.map((replica) => replica.start()));
  const urls = replicas.map(({ url }) => url);
  const balanced = spawnSync('which', ['nginx']).status === 0;
  if (!balanced) log('left out: nginx; callers take the replicas in turn, so that a stopped one is noticed');
  const load = new Load(balanced ? [await startBalancer(scope, directory, await freePort(), urls)] : urls, rootKey, upstream);

  await call(urls[0]!, 'POST', '/webhooks', { url: application.url });
  await call(urls[0]!, 'POST', '/connections', { key: upstream.seed('reader'), platform: 'gmail' }, { 'x-user-id': 'reader' });
  const world: World = { replicas, cluster, database, restartPooler: pooler && restartPooler, log };
  const table: Record<string, object> = {};
  for (const round of rounds) {
    if (values.only && !values.only.split(',').includes(round.name)) continue;
    if (round.needs === 'pooler' && !pooler) continue;
    console.log(`${round.name} …`);
    table[round.name] = await play(round, world, load, application, upstream.sent);
  }
  console.table(table);
  for (const { deaths } of replicas) broken.push(...deaths);
}

/** Plays one round: load, trouble, recovery, and then whether every promise of the round was kept. */
async function play(round: Round, world: World, load: Load, application: Application, sent: (id: string) => number): Promise<object> {
  const { replicas } = world;
  const earlier = { deliveries: application.deliveries, distinct: application.distinct.size, stored: load.stored.length };
  load.writes.clear();
  load.reset();
  load.start(Number(values.rate));
  await pause(1000);
  await round.run(world, seconds);
  const mended = performance.now();
  for (const replica of replicas) await replica.revive();
  // Recovered: two seconds without a failure, and somebody was served in them.
  while (performance.now() - Math.max(load.lastFailure, mended) < 2000 || load.lastSuccess < mended) {
    if (performance.now() - mended > 120_000) break;
    await pause(50);
  }
  const recovery = Math.max(0, load.lastFailure - mended);
  await load.stop();

  const promised = new Map(load.stored.map(({ id, names }) => [id, names]));
  const missing = (): number => [...promised].reduce((sum, [id, names]) => {
    const events = application.events.get(id) ?? [];
    return sum + (events.some(({ type }) => type === 'connection.created') ? 0 : 1) + names.filter((name) => !events.some((event) => event.name === name)).length;
  }, 0);
  for (const end = performance.now() + 90_000; missing() > 0 && performance.now() < end;) await pause(100);
  const webhooksLost = missing();
  const outOfOrder = [...application.events.values()].filter((events) => {
    const names = events.map(({ name }) => Number(name ?? 0));
    return names.some((name, i) => i > 0 && name < names[i - 1]!);
  }).length;

  const lost = await countLost(replicas[0]!.url, [...promised.keys()].slice(earlier.stored));
  const twice = [...load.writes].filter((id) => sent(id) > 1).length;
  const failed = [...load.tally.failures.values()].reduce((sum, count) => sum + count, 0);
  if (lost > 0) broken.push(`${round.name}: ${lost} acknowledged connections are lost`);
  if (twice > 0) broken.push(`${round.name}: ${twice} writes were sent twice`);
  if (webhooksLost > 0) broken.push(`${round.name}: ${webhooksLost} webhooks are lost`);
  if (outOfOrder > 0) broken.push(`${round.name}: webhooks of ${outOfOrder} connections out of order`);
  if (round.mustNotFail && failed > 0) broken.push(`${round.name}: ${failed} requests failed`);
  return {
    requests: load.tally.requests, failed, 'by kind': [...load.tally.failures].map(([kind, count]) => `${kind}: ${count}`).join(', ') || '-',
    acknowledged: load.stored.length - earlier.stored, lost, 'sent twice': twice, 'webhooks lost': webhooksLost,
    duplicated: application.deliveries - earlier.deliveries - (application.distinct.size - earlier.distinct), 'out of order': outOfOrder,
    'recovery s': Number((recovery / 1000).toFixed(1)),
  };
}

/** How many of these connections a list by id no longer has. */
async function countLost(url: string, ids: readonly string[]): Promise<number> {
  let lost = 0;
  for (const id of ids) {
    const { status } = await fetch(`${url}/connections/${id}`, { headers: { 'x-api-key': rootKey } });
    if (status !== 200) lost += 1;
  }
  return lost;
}

async function call(url: string, method: string, path: string, json: unknown, headers: Record<string, string> = {}): Promise<void> {
  const response = await fetch(url + path, { method, headers: { 'x-api-key': rootKey, 'content-type': 'application/json', ...headers }, body: JSON.stringify(json) });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
}
