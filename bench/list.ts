// npm run bench:list: does GET /connections?identity=… stay flat, and is every filter and pair of filters quick? Measures
// the same request against 1,000 and 1,000,000 rows in one run, and then every filter and pair against 1,000,000, for values
// that most, some, few and no rows have; on Postgres (BENCH_DATABASE_URL, a server on which a database may be made and dropped).
import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import pg from 'pg';
import { buildApp } from '../src/app.js';
import { loadConfig } from '../src/config.js';
import { createLogger } from '../src/observability/logger.js';
import { openDatabase } from '../src/persistence/database.js';
import { applyMigrations } from '../src/persistence/migrate.js';

const server = process.env['BENCH_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres';
const sizes = [1_000, 1_000_000] as const;
const identities = { 1_000: 50, 1_000_000: 50_000 } as const;
const requests = 2_000;
const warmUp = 500;
const rounds = 3;
/** What a page of a million rows may take, whatever it is filtered by. */
const mostMs = 50;
const repetitions = 7;
const rootKey = randomBytes(32).toString('hex');

const name = `authkit_bench_${process.pid}`;
const url = Object.assign(new URL(server), { pathname: `/${name}` }).href;
await onServer(`CREATE DATABASE ${name}`);
try {
  const database = await openDatabase({ url, poolSize: 4, dataDir: undefined });
  await applyMigrations(database);
  const config = loadConfig({ PICA_SECRET_KEY: 'sk_test_bench', ADMIN_API_KEY: rootKey, DATABASE_URL: url, PORT: '0', LOG_LEVEL: 'silent' });
  const app = await buildApp({ config, database, logger: createLogger('silent', []) });
  await app.listen({ port: 0, host: '127.0.0.1' });
  const base = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;

  const p50: Record<number, number[]> = {};
  for (const size of sizes) {
    console.log(`seeding ${size.toLocaleString('en')} rows, ${size / identities[size]} per identity …`);
    await seed(size);
  }
  for (let round = 1; round <= rounds; round += 1) {
    for (const size of sizes) {
      const times = await measure(base, size);
      (p50[size] ??= []).push(at(times, 0.5));
      console.log(`round ${round}, ${size.toLocaleString('en').padStart(9)} rows: p50 ${at(times, 0.5).toFixed(2)} ms, p99 ${at(times, 0.99).toFixed(2)} ms`);
    }
  }
  const [small, large] = sizes.map((size) => at(p50[size]!.sort((one, other) => one - other), 0.5)) as [number, number];
  console.log(`\nmedian p50: ${small.toFixed(2)} ms → ${large.toFixed(2)} ms, ratio ${(large / small).toFixed(2)} (to stay under 1.50)`);
  await explain();
  const slow = await measureFilters(base);
  await app.close();
  await database.close();
  if (large / small > 1.5 || slow > 0) process.exitCode = 1;
} finally {
  await onServer(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
}

/** Each size has a table of its own, put in the place of the real one while it is measured: only the rows differ. */
async function seed(size: (typeof sizes)[number]): Promise<void> {
  await query(`
    CREATE TABLE bench_${size} (LIKE user_connections INCLUDING ALL);
    INSERT INTO bench_${size} (id, user_id, identity_type, platform, connection_key, environment, state, tags, created_at, updated_at)
    SELECT gen_random_uuid(), 'user-' || (n % ${identities[size]}), CASE WHEN n > ${size} - 1000 THEN 'team' ELSE 'user' END,
      CASE WHEN n % 100000 = 3 THEN 'exa' ELSE (ARRAY['gmail','slack','hubspot','github','stripe'])[1 + n % 5] END,
      'test::gmail::default::' || md5(n::text), 'test', CASE WHEN n % 50 = 0 THEN 'failed' WHEN n % 10000 = 1 THEN 'degraded' ELSE 'operational' END,
      CASE WHEN n % 200000 = 7 THEN ARRAY['rare'] WHEN n % 300 = 1 THEN ARRAY['some'] WHEN n % 10 = 0 THEN ARRAY['common'] ELSE '{}' END,
      now() - n * interval '1 second', now()
    FROM generate_series(1, ${size}) AS n;
    ANALYZE bench_${size};`);
}

/** Every filter and every pair, for each of their values; answers how many of them took too long. */
async function measureFilters(base: string): Promise<number> {
  const size = sizes[1];
  await query(`ALTER TABLE user_connections RENAME TO user_connections_aside; ALTER TABLE bench_${size} RENAME TO user_connections;`);
  const [first] = await query('SELECT connection_key FROM user_connections OFFSET 500000 LIMIT 1');
  const values: Record<string, string[]> = {
    identity: ['user-42', 'nobody'], identityType: ['user', 'team', 'project'], platform: ['gmail', 'exa', 'nowhere'], environment: ['test', 'live'],
    state: ['operational', 'failed', 'degraded', 'unknown'], tag: ['common', 'some', 'rare', 'none'], key: [String(first!['connection_key']), 'test::none'],
  };
  const names = Object.keys(values);
  const pairs = names.flatMap((one, index) => [[one], ...names.slice(index + 1).map((other) => [one, other])]);
  let slow = 0;
  console.log(`\nevery filter and pair of filters at ${size.toLocaleString('en')} rows, medians of ${repetitions}: the slowest value of each`);
  for (const filters of pairs.sort((one, other) => one.length - other.length)) {
    const queries = filters.reduce<string[]>((so, name) => so.flatMap((before) => values[name]!.map((value) => `${before}&${name}=${encodeURIComponent(value)}`)), ['']);
    let worst = { ms: 0, query: '' };
    for (const text of queries) {
      const times: number[] = [];
      for (let call = 0; call <= repetitions; call += 1) {
        const started = performance.now();
        const answer = await fetch(`${base}/connections?limit=20${text}`, { headers: { 'x-api-key': rootKey } });
        await answer.json();
        if (!answer.ok) throw new Error(`${text}: ${answer.status}`);
        // The first one reads from disk what no other has read yet.
        if (call > 0) times.push(performance.now() - started);
      }
      const ms = at(times.sort((one, other) => one - other), 0.5);
      if (ms > mostMs) slow += 1;
      if (ms > worst.ms) worst = { ms, query: text.slice(1) };
    }
    console.log(`${worst.ms > mostMs ? 'SLOW' : '    '} ${filters.join(' + ').padEnd(28)} ${worst.ms.toFixed(1).padStart(7)} ms  ${worst.query.slice(0, 60)}`);
  }
  console.log(`${slow} of them over ${mostMs} ms`);
  await query(`ALTER TABLE user_connections RENAME TO bench_${size}; ALTER TABLE user_connections_aside RENAME TO user_connections;`);
  return slow;
}

async function measure(base: string, size: (typeof sizes)[number]): Promise<number[]> {
  await query(`ALTER TABLE user_connections RENAME TO user_connections_aside; ALTER TABLE bench_${size} RENAME TO user_connections;`);
  const times: number[] = [];
  for (let call = 0; call < warmUp + requests; call += 1) {
    const identity = `user-${(call * 7919) % identities[size]}`;
    const started = performance.now();
    const answer = await fetch(`${base}/connections?identity=${identity}`, { headers: { 'x-api-key': rootKey } });
    const { rows } = await answer.json() as { rows: unknown[] };
    if (call >= warmUp) times.push(performance.now() - started);
    if (rows.length !== 20) throw new Error(`expected a page of 20 rows, got ${rows.length}`);
  }
  await query(`ALTER TABLE user_connections RENAME TO bench_${size}; ALTER TABLE user_connections_aside RENAME TO user_connections;`);
  return times.sort((one, other) => one - other);
}

async function explain(): Promise<void> {
  const rows = await query(`EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM bench_${sizes[1]} WHERE user_id = 'user-42' ORDER BY created_at DESC, id DESC LIMIT 21`);
  console.log(`\nplan at ${sizes[1].toLocaleString('en')} rows:\n${rows.map((row) => `  ${String(row['QUERY PLAN'])}`).join('\n')}`);
}

function at(sorted: number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}

async function query(sql: string): Promise<Record<string, unknown>[]> {
  return run(url, sql);
}

async function onServer(sql: string): Promise<void> {
  await run(server, sql);
}

async function run(connectionString: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    return (await client.query(sql) as { rows?: Record<string, unknown>[] }).rows ?? [];
  } finally {
    await client.end();
  }
}
