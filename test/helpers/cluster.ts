import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { appendFile, chmod, chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { freePort } from './process.js';

/** What ends with a test, or with a script that has a `teardown` of its own. */
export type Owner = { teardown(handler: () => unknown): unknown };

/** A throw-away Postgres cluster on a port of its own, which a test may stop, restart and break. */
export type Cluster = {
  /** As the superuser `postgres`, database `postgres`. */
  url: string;
  port: number;
  /** Data directory; the directory of the Unix socket is `${directory}/socket`. */
  directory: string;
  /** Everything the server has printed. */
  log(): string;
  /** Starts it (again) on the same port and resolves when it accepts connections. */
  start(): Promise<void>;
  /** `fast` ends every session with 57P01, `immediate` is a crash. */
  stop(mode?: 'fast' | 'immediate'): Promise<void>;
  /** The URL of this server for another role or database; `query` replaces the URL's query. */
  urlOf(parts: { user?: string; database?: string; query?: Record<string, string> }): string;
  /** Runs statements as the superuser, one after the other. */
  run(...statements: string[]): Promise<void>;
  /** Runs one statement as the superuser in `database` and returns its rows. */
  rows<Row extends pg.QueryResultRow>(sql: string, database?: string): Promise<Row[]>;
  /** A new, empty database. */
  createDatabase(name: string, options?: string): Promise<string>;
};

const binaries = findBinaries();

/** The reason to skip a test that needs a cluster of its own, or false. */
export const withoutCluster = binaries ? false : 'needs the binaries of a Postgres server: apt install postgresql';

/**
 * Makes and starts a cluster; it is stopped and removed with its owner. `settings` are server settings by name. Postgres
 * does not run as root: then it runs as the system's user `postgres`, or `nobody`.
 */
export async function startCluster(owner: Owner, settings: Record<string, string> = {}, initdb: readonly string[] = ['--encoding=UTF8', '--locale=C']): Promise<Cluster> {
  const directory = await mkdtemp(join(tmpdir(), 'cluster-'));
  let server: ChildProcess | undefined;
  let text = '';
  owner.teardown(async () => {
    await stop('immediate');
    await rm(directory, { recursive: true, force: true });
  });
  await giveAway(directory);
  await promisify(execFile)(join(binaries!, 'initdb'), ['--pgdata', join(directory, 'data'), '--username=postgres', '--auth=trust', '--no-sync', '--no-instructions', ...initdb], asUser());
  await mkdir(join(directory, 'socket'));
  await giveAway(join(directory, 'socket'));
  const port = await freePort();
  const all = {
    port: String(port), listen_addresses: '127.0.0.1', unix_socket_directories: join(directory, 'socket'), fsync: 'off', max_connections: '60', ...settings,
  };
  await appendFile(join(directory, 'data', 'postgresql.conf'), Object.entries(all).map(([name, value]) => `${name} = '${value}'\n`).join(''));
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;

  async function start(): Promise<void> {
    const child = spawn(join(binaries!, 'postgres'), ['-D', join(directory, 'data')], { stdio: ['ignore', 'ignore', 'pipe'], ...asUser() });
    server = child;
    await new Promise<void>((resolve, reject) => {
      let since = '';
      child.stderr.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        since += chunk.toString();
        if (since.includes('ready to accept')) resolve();
      });
      child.once('error', reject).once('exit', () => reject(new Error(`Postgres did not start: ${since}`)));
    });
  }
  async function stop(mode: 'fast' | 'immediate' = 'fast'): Promise<void> {
    const child = server;
    server = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    await exited;
  }
  async function rows<Row extends pg.QueryResultRow>(sql: string, database = 'postgres'): Promise<Row[]> {
    const client = new pg.Client({ connectionString: urlOf({ database }) });
    await client.connect();
    try {
      return (await client.query<Row>(sql)).rows;
    } finally {
      await client.end();
    }
  }
  async function run(...statements: string[]): Promise<void> {
    for (const statement of statements) await rows(statement);
  }
  function urlOf({ user = 'postgres', database = 'postgres', query = {} }: Parameters<Cluster['urlOf']>[0]): string {
    const parsed = new URL(url);
    Object.assign(parsed, { username: user, pathname: `/${database}` });
    for (const [name, value] of Object.entries(query)) parsed.searchParams.set(name, value);
    return parsed.href;
  }

  await start();
  return {
    url, port, directory, start, stop, run, rows, urlOf,
    log: () => text,
    async createDatabase(name, options = '') {
      await run(`CREATE DATABASE "${name}" ${options}`);
      return urlOf({ database: name });
    },
  };
}

/** Spawn options that drop root's rights. */
export function asUser(): { uid?: number; gid?: number; cwd: string } {
  const cwd = tmpdir();
  return process.getuid?.() === 0 ? { ...unprivileged(), cwd } : { cwd };
}

/** Hands a directory to the user that servers run as, and to no other. */
export async function giveAway(path: string): Promise<void> {
  await chmod(path, 0o700);
  if (process.getuid?.() !== 0) return;
  const { uid, gid } = unprivileged();
  await chown(path, uid, gid);
}

function unprivileged(): { uid: number; gid: number } {
  const users = readFileSync('/etc/passwd', 'utf8').split('\n').map((line) => line.split(':'));
  const user = users.find(([name]) => name === 'postgres') ?? users.find(([name]) => name === 'nobody');
  return { uid: Number(user?.[2] ?? 65_534), gid: Number(user?.[3] ?? 65_534) };
}

function findBinaries(): string | undefined {
  const debian = '/usr/lib/postgresql';
  const versions = existsSync(debian) ? readdirSync(debian).sort((one, other) => Number(other) - Number(one)) : [];
  const places = [...versions.map((version) => `${debian}/${version}/bin`), ...(process.env['PATH'] ?? '').split(':')];
  return places.find((place) => ['initdb', 'postgres'].every((name) => existsSync(join(place, name))));
}
