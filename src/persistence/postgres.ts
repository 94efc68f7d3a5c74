import pg from 'pg';
import { PrismaPg } from '@prisma/adapter-pg';
import type { Database } from './database.js';
import { examine, type Examined, serversOf } from './examine.js';
import { PrismaClient } from './generated/client.js';
import { type SessionFactory, tryAdvisoryLock, withAdvisoryLock } from './locks.js';
import { postgresInvalidations } from './postgres-invalidations.js';
import { parsePostgresUrl, type PostgresUrl } from './postgres-url.js';
import { isReadOnly, ReadOnlyDatabase, Session, type SessionOptions } from './session.js';

type PostgresOptions = { url: string; directUrl: string | undefined; poolSize: number };

/** The server ends a statement after this, and a table that is locked keeps no connection of the pool for longer. */
const statementMs = 10_000;
/** We end a session whose server has not answered by then: it is away, and its own limit cannot help. */
const answerMs = 11_000;

/** A server that finds its client gone frees what it held in half a minute instead of hours. */
const keepalives = { tcp_keepalives_idle: '10', tcp_keepalives_interval: '5', tcp_keepalives_count: '3' };

/** Dials Postgres, makes sure that it is fit for us, and opens it. Rejects with one plain line that names the variable to mend. */
export async function openPostgres({ url, directUrl, poolSize }: PostgresOptions): Promise<Database> {
  const given = parsePostgresUrl(url);
  const direct = directUrl === undefined ? given : parsePostgresUrl(directUrl);
  const found = await examine(direct, directUrl === undefined ? 'DATABASE_URL' : 'DATABASE_DIRECT_URL');
  const schema = usable(found, given, direct, directUrl !== undefined);
  const pooled = directUrl === undefined ? found : await examine(given, 'DATABASE_URL');
  if (pooled !== found) agreeing(pooled, found, schema);
  const transactions = directUrl !== undefined && pooled.pooling !== 'none';

  const session = sessions(direct, { ...keepalives, search_path: pg.escapeIdentifier(schema) });
  const { pool, close: closePool } = openPool(given, poolSize, transactions ? {} : {
    ...keepalives, search_path: pg.escapeIdentifier(schema), idle_in_transaction_session_timeout: '60s',
    ...(given.sets.has('statement_timeout') ? {} : { statement_timeout: `${statementMs}ms` }),
  });
  const prisma = new PrismaClient({
    // Another client's transaction may be on the server session that knows a named statement.
    adapter: new PrismaPg(pool, { schema, ...(transactions ? {} : { statementNameGenerator: ({ sql }) => statementName(sql) }) }),
    // Its longer forms quote the request's data into messages, and so into the log.
    errorFormat: 'minimal',
  });
  const invalidations = postgresInvalidations(session, pool, schema);
  return {
    engine: 'postgres',
    facts: { version: found.version, zone: found.zone, encoding: found.encoding, schema, pooler: transactions ? 'transaction' : pooled.pooling },
    prisma,
    // One connection: the engine's own lock belongs to a session. It has no limit of time, because migrations may take theirs.
    adapter: new PrismaPg(
      { ...session.options('migrations'), Client: Session as unknown as new () => pg.ClientBase, max: 1, query_timeout: undefined } as pg.PoolConfig, { schema },
    ),
    invalidations,
    exclusively: (lock, work, wait) => withAdvisoryLock(session, schema, lock, work, wait),
    tryLock: (lock) => tryAdvisoryLock(session, schema, lock),
    async createSchema() {
      if (given.schema !== undefined || direct.schema !== undefined) await once(session, (one) => one.query(`CREATE SCHEMA IF NOT EXISTS ${pg.escapeIdentifier(schema)}`));
    },
    async ping() {
      const client = await pool.connect();
      let usable = false;
      try {
        if (await isReadOnly(client)) throw new ReadOnlyDatabase();
        usable = true;
      } finally {
        client.release(!usable);
      }
    },
    close: async () => {
      await invalidations.close();
      await prisma.$disconnect();
      await closePool();
    },
  };
}

/** The schema to use, once it is known that the server is fit for us. Throws what an operator has to change. */
function usable({ encoding, zone, pooling, schema: resolved, searchPath }: Examined, given: PostgresUrl, direct: PostgresUrl, separate: boolean): string {
  if (pooling === 'transaction' || (!separate && given.saysPooler)) {
    throw new Error(separate ? 'DATABASE_DIRECT_URL leads to a transaction pooler too: it has to lead to the server itself, for LISTEN, locks and migrations.'
      : 'DATABASE_URL leads to a transaction pooler (PgBouncer, Supavisor, Neon\'s -pooler host …): set DATABASE_DIRECT_URL to the server itself, for LISTEN, locks and migrations.');
  }
  fit(encoding, zone, separate ? 'DATABASE_DIRECT_URL' : 'DATABASE_URL');
  if (given.schema !== undefined && direct.schema !== undefined && given.schema !== direct.schema) throw new Error('DATABASE_URL and DATABASE_DIRECT_URL name two schemas with ?schema=.');
  const schema = given.schema ?? direct.schema ?? resolved;
  if (schema === undefined) throw new Error(`No schema of the search_path (${searchPath}) of DATABASE_URL's role exists, or it may not be used: create one, or name it with ?schema=.`);
  return schema;
}

function fit(encoding: string, zone: string, variable: string): void {
  if (encoding !== 'UTF8') {
    throw new Error(`The database at ${variable} is encoded in ${encoding}, and cannot keep every text: create it with ENCODING 'UTF8' TEMPLATE template0.`);
  }
  if (!/^(?:Etc\/)?(?:UTC|UCT|GMT|Universal|Zulu)$/.test(zone)) {
    throw new Error(`Sessions at ${variable} stay in the time zone ${zone} although UTC is asked for (a pooler?): set it on the role, ALTER ROLE … SET timezone = 'UTC'.`);
  }
}

/** Throws when what the pooler leads to is not what is behind the direct URL. */
function agreeing(pooled: Examined, direct: Examined, schema: string): void {
  fit(pooled.encoding, pooled.zone, 'DATABASE_URL');
  if (pooled.server !== direct.server) throw new Error('DATABASE_URL and DATABASE_DIRECT_URL lead to different databases.');
  const first = /^\s*(?:"([^"]+)"|([^\s,"]+))/.exec(pooled.searchPath);
  if (pooled.pooling === 'none' || (pooled.schema ?? first?.[1] ?? first?.[2]) === schema) return;
  throw new Error(`Through the pooler at DATABASE_URL names are looked for in schema ${pooled.schema ?? `(none of ${pooled.searchPath})`}, not in ${schema}, and a pooler keeps no `
    + `search_path of ours: set it on the role, ALTER ROLE … SET search_path = ${pg.escapeIdentifier(schema)}.`);
}

/** Makes sessions with the server itself, for locks, listening and migrations. */
function sessions(url: PostgresUrl, settings: Record<string, string>): SessionFactory & { options(purpose: string): SessionOptions } {
  const servers = serversOf(url);
  const options = (purpose: string): SessionOptions => ({
    connectionString: url.connectionString, application_name: `authkit-gateway ${purpose}`, servers, settings, connectionTimeoutMillis: 5_000,
    query_timeout: answerMs, keepAlive: true, keepAliveInitialDelayMillis: 10_000,
  });
  return Object.assign((purpose: string, more: pg.ClientConfig = {}) => new Session({ ...options(purpose), ...more }), { options });
}

async function once<T>(session: SessionFactory, work: (one: Session) => Promise<T>): Promise<T> {
  const one = session('start');
  try {
    await one.connect();
    return await work(one);
  } finally {
    await one.close();
  }
}

/**
 * The pool. When a server turns out to be read-only or does not answer, sessions of the same age are dropped, each as soon as
 * it is idle: a pool that points at the old primary mends itself, and one black hole costs one request its patience, not all.
 */
function openPool(url: PostgresUrl, size: number, settings: Record<string, string>): { pool: pg.Pool; close(): Promise<void> } {
  let generation = 0;
  const born = new Map<Session, number>();
  const distrust = (): void => {
    generation += 1;
    // Lent and given back, because the pool has no other way to drop an idle one.
    for (let idle = pool.idleCount; idle > 0; idle -= 1) pool.connect().then((client) => client.release(), () => {});
  };
  const options: SessionOptions & pg.PoolConfig = {
    Client: Session as unknown as new () => pg.ClientBase, connectionString: url.connectionString, application_name: 'authkit-gateway', max: size,
    connectionTimeoutMillis: 5_000, query_timeout: answerMs, keepAlive: true, keepAliveInitialDelayMillis: 10_000, servers: serversOf(url), settings, distrust,
  };
  const pool = new pg.Pool(options);
  // An idle connection that the server drops must not end the process; the next query dials again.
  pool.on('error', () => {});
  pool.on('connect', (client) => void born.set(client as unknown as Session, generation));
  pool.on('remove', (client) => void born.delete(client as unknown as Session));
  pool.on('release', (_, client) => {
    // The pool removes what has begun to end.
    if (born.get(client as unknown as Session) !== generation) void client.end().catch(() => {});
  });
  return {
    pool,
    async close() {
      // A server that does not answer the goodbye must not hold up a stop.
      const timer = setTimeout(() => [...born.keys()].forEach((session) => session.destroy()), 1_000);
      await pool.end();
      clearTimeout(timer);
    },
  };
}

const statementNames = new Map<string, string>();

function statementName(sql: string): string {
  const known = statementNames.get(sql);
  if (known) return known;
  // Prisma's SQL has few shapes, but lists of varying length make more: past this many, statements are not kept.
  if (statementNames.size >= 500) return '';
  const name = `p${crypto.randomUUID().replaceAll('-', '')}`;
  statementNames.set(sql, name);
  return name;
}
