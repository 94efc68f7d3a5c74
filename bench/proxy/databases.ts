import { randomBytes } from 'node:crypto';
import pg from 'pg';

const local = 'postgres://postgres@127.0.0.1:5432/postgres';

/** Databases for the contenders that keep data: production runs on Postgres, and the embedded database would share their core. */
export type BenchDatabases = {
  /** A new, empty database's URL; undefined where there is no Postgres: the embedded one is used then. */
  create(): Promise<string | undefined>;
  dropAll(): Promise<void>;
};

/** On the Postgres of BENCH_DATABASE_URL, or of this machine where one lets us in without a password. */
export async function openDatabases(): Promise<BenchDatabases> {
  const url = process.env['BENCH_DATABASE_URL'] ?? local;
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  const connected = await client.connect().then(() => true, () => false);
  if (!connected && process.env['BENCH_DATABASE_URL']) throw new Error('BENCH_DATABASE_URL does not answer');
  const names: string[] = [];
  return {
    async create() {
      if (!connected) return undefined;
      const name = `authkit_bench_${randomBytes(4).toString('hex')}`;
      await client.query(`CREATE DATABASE ${name}`);
      names.push(name);
      return Object.assign(new URL(url), { pathname: `/${name}` }).href;
    },
    async dropAll() {
      if (!connected) return;
      for (const name of names) await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
      await client.end();
    },
  };
}
