import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asUser, giveAway, type Owner } from './cluster.js';
import { freePort } from './process.js';

const binary = ['/usr/sbin', '/usr/bin', '/usr/local/bin', ...(process.env['PATH'] ?? '').split(':')].map((place) => join(place, 'pgbouncer')).find((file) => existsSync(file));

/** The reason to skip a test that needs PgBouncer, or false. */
export const withoutPgBouncer = binary ? false : 'needs PgBouncer: apt install pgbouncer';

/** A PgBouncer in front of a server; `url` is the target's, through it. */
export type PgBouncer = { url: string; port: number; log(): string; stop(): Promise<void> };

/**
 * Starts a PgBouncer with its defaults in front of the server of `target`, in transaction mode; ended with its owner. `settings`
 * are settings of its section [pgbouncer].
 */
export async function startPgBouncer(owner: Owner, target: string, settings: Record<string, string> = {}): Promise<PgBouncer> {
  const { hostname, port: targetPort, username, pathname } = new URL(target);
  const directory = await mkdtemp(join(tmpdir(), 'pgbouncer-'));
  const port = await freePort();
  const all = {
    listen_addr: '127.0.0.1', listen_port: String(port), unix_socket_dir: '', auth_type: 'trust', auth_file: join(directory, 'users.txt'), pool_mode: 'transaction', ...settings,
  };
  await writeFile(join(directory, 'users.txt'), `"${username}" ""\n`);
  await writeFile(join(directory, 'pgbouncer.ini'), [
    '[databases]', `* = host=${hostname} port=${targetPort}`, '[pgbouncer]', ...Object.entries(all).map(([name, value]) => `${name} = ${value}`), '',
  ].join('\n'));
  await giveAway(directory);
  await giveAway(join(directory, 'users.txt'));
  await giveAway(join(directory, 'pgbouncer.ini'));
  const child = spawn(binary!, [join(directory, 'pgbouncer.ini')], { stdio: ['ignore', 'ignore', 'pipe'], ...asUser() });
  const exited = once(child, 'exit');
  let text = '';
  const stop = async (): Promise<void> => {
    // SIGQUIT ends it at once, without waiting for clients.
    child.kill('SIGQUIT');
    await exited;
  };
  owner.teardown(async () => {
    await stop();
    await rm(directory, { recursive: true, force: true });
  });
  await new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes('process up')) resolve();
    });
    child.once('error', reject).once('exit', () => reject(new Error(`PgBouncer did not start: ${text}`)));
  });
  return { url: `postgres://${username}@127.0.0.1:${port}${pathname}`, port, log: () => text, stop };
}
