import { setTimeout as sleep } from 'node:timers/promises';
import type { PostgresUrl } from './postgres-url.js';
import { Servers, Session, type SessionOptions } from './session.js';

/** What stands between us and the server: nothing that shows, or a pooler that gives a session to a client for its life, or for a transaction. */
export type Pooling = 'none' | 'session' | 'transaction';

/** What a URL leads to. */
export type Examined = {
  version: string;
  zone: string;
  encoding: string;
  pooling: Pooling;
  /** Where names without a schema are looked for: where our tables are already, or else where they would be made. */
  schema: string | undefined;
  searchPath: string;
  /** Tells servers and databases apart. */
  server: string;
};

type Row = { version: string; zone: string; encoding: string; pid: number; tables: string | null; current: string | null; path: string; server: string };

/**
 * Dials a URL and asks what it leads to. `variable` is what an error calls it, since its value holds a password.
 * Rejects with one plain line.
 */
export async function examine(url: PostgresUrl, variable: string): Promise<Examined> {
  const options: SessionOptions = {
    connectionString: url.connectionString, application_name: 'authkit-gateway start', connectionTimeoutMillis: 5_000, query_timeout: 10_000,
    servers: serversOf(url),
  };
  const session = new Session(options);
  try {
    await session.connect();
    const { rows: [row] } = await session.query(question) as { rows: Row[] };
    // A pooler hands out process ids of its own, for cancelling.
    const pooled = row!.pid !== (session as unknown as { processID: number }).processID;
    return {
      version: row!.version, zone: row!.zone, encoding: row!.encoding, searchPath: row!.path, server: row!.server,
      schema: row!.tables ?? row!.current ?? undefined,
      pooling: pooled ? await poolingOf(session, options, url) : 'none',
    };
  } catch (error) {
    throw explained(error as { message: string; code?: string }, variable);
  } finally {
    await session.close();
  }
}

/** The servers to choose from, when a URL names several. */
export function serversOf(url: PostgresUrl): Servers | undefined {
  return url.addresses.length > 1 ? new Servers(url.addresses, url.connectionString) : undefined;
}

// authkit_sessions: a table of ours that no other application is likely to have.
const question = `
  SELECT current_setting('server_version') AS version, current_setting('TimeZone') AS zone, current_setting('server_encoding') AS encoding,
    pg_backend_pid() AS pid, current_schema() AS current, current_setting('search_path') AS path,
    (SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('authkit_sessions')) AS tables,
    current_database() || ' ' || pg_postmaster_start_time() AS server`;

const rounds = 5;

/**
 * Whether a pooler keeps one server session for the life of a client. If it does not, a client whose last session another
 * one's transaction has taken is given a different one.
 */
async function poolingOf(session: Session, options: SessionOptions, url: PostgresUrl): Promise<Pooling> {
  if (url.saysPooler) return 'transaction';
  const pid = async (of: Session): Promise<number> => (await of.query('SELECT pg_backend_pid() AS pid') as { rows: { pid: number }[] }).rows[0]!.pid;
  const other = new Session({ ...options, query_timeout: 3_000 });
  try {
    await other.connect();
    const first = await pid(session);
    for (let round = 0; round < rounds; round += 1) {
      await other.query('BEGIN');
      const taken = await pid(other);
      // With a single server session behind the pooler, this waits for the end of the transaction.
      const next = await Promise.race([pid(session), sleep(2_000, undefined, { ref: false })]);
      await other.query('ROLLBACK');
      if (taken === first || next !== first) return 'transaction';
    }
    return 'session';
  } finally {
    await other.close();
  }
}

function explained(error: { message: string; code?: string }, variable: string): Error {
  // Where a name has several addresses, all of them refusing makes an error without a message.
  const message = error.message || error.code || 'no answer';
  const why = /unsupported startup parameter/.test(message) ? ` (a pooler says so: what options= asks for has to be set on the role, ALTER ROLE … SET …)`
    : /statement pooling/.test(message) ? ' (statement pooling lets no transaction through: use pool_mode = transaction)' : '';
  return new Error(`The database at ${variable} cannot be used: ${message}${why}`, { cause: error });
}
