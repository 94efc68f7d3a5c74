import pg from 'pg';
import type { Address } from './postgres-url.js';
import { fromSession } from './unavailable.js';

declare module 'pg' {
  interface Client {
    /** The parameters of the startup message (PostgreSQL protocol, "StartupMessage"). */
    getStartupConf(): Record<string, string>;
  }
}

/** How a {@link Session} is opened: what `pg` takes (an Error of it names no password), and what it does not know. */
export type SessionOptions = pg.ClientConfig & {
  connectionString: string;
  application_name: string;
  /** Where to dial when the URL names several servers: which one takes writes is found out first. */
  servers?: Servers | undefined;
  /** Server settings of this session, set once it is open: a pooler refuses them in the startup message. */
  settings?: Readonly<Record<string, string>> | undefined;
  /** Told of an error after which other sessions of the same age are not to be trusted: no answer in time, or a read-only server. */
  distrust?: (() => void) | undefined;
};

/**
 * The one kind of session this service opens: the pool's, the migrations', the listener's and the locks'.
 *
 * It speaks UTC and ISO dates whatever the server, database or role is set to: `@prisma/adapter-pg` writes instants without
 * an offset and drops the offset when it reads. Losing it never ends the process: an `error` event is always listened to.
 * A query without an answer in `query_timeout` ends it, since what came later would answer another query.
 */
export class Session extends pg.Client {
  readonly #options: SessionOptions;

  constructor(options: SessionOptions) {
    super(options);
    this.#options = options;
    // pg-pool takes its own listener off while a client is lent; a FATAL that arrives just then would be uncaught. What the
    // event says is not lost: queries under way, and those that follow, reject with it.
    this.on('error', fromSession);
  }

  override getStartupConf(): Record<string, string> {
    return { ...super.getStartupConf(), TimeZone: 'UTC', DateStyle: 'ISO' };
  }

  // pg's own overloads cannot be written down for an override.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  override connect(callback?: (error: any, client?: any) => void): any {
    const opening = this.#open();
    if (!callback) return opening;
    opening.then(() => callback(null, this), (error: unknown) => callback(error));
  }

  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  override query(...args: any[]): any {
    const callback: unknown = args.at(-1);
    if (typeof callback === 'function') {
      args[args.length - 1] = (error: unknown, result: unknown): void => {
        if (error) this.#judge(error);
        callback(error, result);
      };
      return this.#send(args);
    }
    const result: unknown = this.#send(args);
    if (result instanceof Promise) result.catch((error: unknown) => this.#judge(error));
    return result;
  }

  /** Ends it: politely, and by force where the server does not answer the goodbye. Never rejects. */
  async close(): Promise<void> {
    const timer = setTimeout(() => this.destroy(), 1_000);
    await this.end().catch(() => {});
    clearTimeout(timer);
  }

  /** Drops the connection at once; queries under way reject. */
  destroy(): void {
    this.connection.stream.destroy();
  }

  #send(args: unknown[]): unknown {
    return (super.query as (...args: unknown[]) => unknown).apply(this, args);
  }

  async #open(): Promise<this> {
    const { servers, settings } = this.#options;
    try {
      if (servers) Object.assign(this, await servers.writable());
      await super.connect();
      if (settings && Object.keys(settings).length > 0) await this.#send([setting(settings)]);
      return this;
    } catch (error) {
      servers?.forget();
      this.destroy();
      throw (error as { severity?: string }).severity ? error : fromSession(error);
    }
  }

  #judge(error: unknown): void {
    const { code, message } = error as { code?: string; message?: string };
    if (message === 'Query read timeout') this.destroy();
    else if (code !== readOnly) return;
    this.#options.servers?.forget();
    this.#options.distrust?.();
  }
}

/** SQLSTATE read_only_sql_transaction: a standby, a demoted primary, or a database set to read-only. */
export const readOnly = '25006';

/** Several servers of which one takes writes (libpq's multiple hosts with `target_session_attrs=read-write`). */
export class Servers {
  #chosen: Promise<Address> | undefined;

  constructor(private readonly addresses: readonly Address[], private readonly connectionString: string) {}

  /** The first that takes writes; remembered until {@link forget}. Rejects when there is none. */
  writable(): Promise<Address> {
    return this.#chosen ??= this.#find();
  }

  /** Asks anew at the next {@link writable}. */
  forget(): void {
    this.#chosen = undefined;
  }

  async #find(): Promise<Address> {
    let failure: unknown;
    for (const address of this.addresses) {
      const session = new Session({ connectionString: this.connectionString, application_name: 'authkit-gateway choice', connectionTimeoutMillis: 3_000, query_timeout: 3_000 });
      Object.assign(session, address);
      try {
        await session.connect();
        if (!await isReadOnly(session)) return address;
        failure ??= new ReadOnlyDatabase();
      } catch (error) {
        failure = error;
      } finally {
        void session.close();
      }
    }
    throw failure;
  }
}

/** Says that the database can be asked, and takes no writes. */
export class ReadOnlyDatabase extends Error {
  readonly code = readOnly;
  /** For `GET /readyz`, which shows no other text of an error. */
  readonly readiness = 'takes no writes (read-only or a standby)';

  constructor() {
    super('the database takes no writes (read-only, or a standby)');
    fromSession(this);
  }
}

/** Whether a session's server takes no writes now. */
export async function isReadOnly(session: Pick<pg.Client, 'query'>): Promise<boolean> {
  // A standby answers on, too.
  const { rows: [row] } = await session.query<{ value: string }>('SELECT current_setting(\'transaction_read_only\') AS value');
  return row?.value === 'on';
}

function setting(settings: Readonly<Record<string, string>>): string {
  return `SELECT ${Object.entries(settings).map(([name, value]) => `set_config(${pg.escapeLiteral(name)}, ${pg.escapeLiteral(value)}, false)`).join(', ')}`;
}
