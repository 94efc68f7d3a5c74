import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { access, chmod, constants, lstat, mkdir, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import lockfile from 'proper-lockfile';

/** The embedded database's directory, held by this process alone. */
export type HeldDirectory = {
  /** False once another process may have the directory: nothing may be written to it any more. Costs one comparison. */
  holds(): boolean;
  release(): Promise<void>;
};

/** Another process has taken the directory over while this one was paused. */
export class DirectoryLostError extends Error {
  constructor() {
    super('the embedded database was taken over by another process while this one was paused');
  }
}

const leaseMs = 15_000;
const renewMs = 3_000;
// Well within the lease: a process that ran this recently has renewed it.
const confirmedForMs = 10_000;
const confirmEveryMs = 2_000;

/**
 * Makes `dataDir`, closes it to other users, and takes it for this process. Two processes on one directory would corrupt it.
 *
 * On Linux an abstract socket is the lock (unix(7)): the kernel frees it when its holder dies, and keeps it while the holder
 * is only paused. It reaches as far as one network namespace, so a lease on a lock file (15 s, renewed every 3 s) holds off
 * other containers and hosts on a shared volume.
 *
 * @param onLost called once when the directory is lost
 * @param retries how often a directory in use is tried again, once a second; longer than the lease
 * Rejects with a plain sentence that names DATA_DIR when another process holds it, or it cannot be written or closed.
 */
export async function holdDirectory(dataDir: string, onLost: (error: DirectoryLostError) => void, retries = 16): Promise<HeldDirectory> {
  await prepare(dataDir);
  const mutex = await eventually(() => takeSocket(dataDir), dataDir, retries);
  try {
    return await takeLease(dataDir, mutex, onLost, retries);
  } catch (error) {
    mutex?.close();
    throw error;
  }
}

async function takeLease(dataDir: string, mutex: Server | undefined, onLost: (error: DirectoryLostError) => void, retries: number): Promise<HeldDirectory> {
  const lockPath = join(dataDir, '.lock');
  const holderPath = join(dataDir, '.holder');
  const id = randomUUID();
  let lost = false;
  const lose = (): void => {
    if (lost) return;
    lost = true;
    onLost(new DirectoryLostError());
  };

  if (await holderIsDead(holderPath, mutex !== undefined)) await rm(lockPath, { recursive: true, force: true });
  const unlock = await lockfile.lock(dataDir, {
    lockfilePath: lockPath, stale: leaseMs, update: renewMs, onCompromised: lose, retries: { retries, minTimeout: 1_000, maxTimeout: 1_000 },
  }).catch((cause: { code?: string }) => {
    throw cause.code === 'ELOCKED' ? inUse(dataDir, cause) : cause;
  });
  await chmod(lockPath, 0o700);
  await writeFile(holderPath, JSON.stringify({ id, ...await thisHost() }), { mode: 0o600 });

  let confirmedAt = performance.now();
  const confirm = (): void => {
    if (idOf(readText(holderPath)) === id) confirmedAt = performance.now();
    else lose();
  };
  const timer = setInterval(confirm, confirmEveryMs).unref();
  return {
    holds() {
      if (!lost && performance.now() - confirmedAt > confirmedForMs) confirm();
      return !lost;
    },
    async release() {
      clearInterval(timer);
      if (!lost) {
        await rm(holderPath, { force: true });
        await unlock();
      }
      mutex?.close();
    },
  };
}

/** Whether the process that wrote the lock's owner down is known to have ended; `exclusive`: this process holds the socket. */
async function holderIsDead(path: string, exclusive: boolean): Promise<boolean> {
  const holder = parse(await readFile(path, 'utf8').catch(() => ''));
  const own = await thisHost();
  if (!holder || holder.host !== own.host) return false;
  // A living holder in this namespace would have the socket.
  return exclusive || !isRunning(holder.pid);
}

type Holder = { id: string; host: string; pid: number };

/** Where a process runs, as far as its sockets and process ids mean something. */
async function thisHost(): Promise<{ host: string; pid: number }> {
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => hostname());
  const network = await readlink('/proc/self/ns/net').catch(() => '');
  return { host: `${boot.trim()} ${network}`, pid: process.pid };
}

/** The abstract socket of a directory; undefined where there are none (not Linux). Rejects with EADDRINUSE when it is taken. */
async function takeSocket(dataDir: string): Promise<Server | undefined> {
  if (process.platform !== 'linux') return undefined;
  const { dev, ino } = await stat(dataDir, { bigint: true });
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(`\0authkit-gateway:${dev}:${ino}`, resolve);
  });
  return server.unref();
}

async function eventually<T>(take: () => Promise<T>, dataDir: string, retries: number): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    try {
      return await take();
    } catch (error) {
      if ((error as { code?: string }).code !== 'EADDRINUSE') throw error;
      // A process that is being stopped needs a moment.
      if (tries >= retries) throw inUse(dataDir, error);
      await sleep(1_000);
    }
  }
}

async function prepare(dataDir: string): Promise<void> {
  try {
    const made = await mkdir(dataDir, { recursive: true, mode: 0o700 });
    // Otherwise taking the lock would fail, and be tried again for as long as a lock that is held.
    await access(dataDir, constants.W_OK);
    await mkdir(join(dataDir, 'pglite'), { recursive: true, mode: 0o700 });
    const ours = new Set(['pglite', '.lock', '.holder']);
    // A directory that holds other things too may be meant for others: what is in it is closed all the same.
    if (made !== undefined || (await readdir(dataDir)).every((name) => ours.has(name))) await chmod(dataDir, 0o700).catch(() => {});
  } catch (cause) {
    throw new Error(`DATA_DIR (${dataDir}) cannot be written: ${(cause as Error).message}`, { cause });
  }
  if (process.platform !== 'win32') await closeToOthers(join(dataDir, 'pglite'), dataDir);
}

/** Takes group's and others' rights off a directory and everything in it; links are left alone. */
async function closeToOthers(path: string, dataDir: string): Promise<void> {
  const { mode } = await lstat(path);
  const isDirectory = (mode & constants.S_IFMT) === constants.S_IFDIR;
  if (!isDirectory && (mode & constants.S_IFMT) !== constants.S_IFREG) return;
  const wanted = isDirectory ? 0o700 : 0o600;
  if ((mode & 0o777) !== wanted) {
    const refusal = await chmod(path, wanted).then(() => undefined, (error: Error) => error);
    if (refusal || ((await lstat(path)).mode & 0o077) !== 0) {
      throw new Error(`DATA_DIR (${dataDir}) cannot be closed to other users, and it holds secrets: ${refusal?.message ?? `its file system ignores chmod (${path})`}`, { cause: refusal });
    }
  }
  if (isDirectory) for (const name of await readdir(path)) await closeToOthers(join(path, name), dataDir);
}

function inUse(dataDir: string, cause: unknown): Error {
  return new Error(`The embedded database in DATA_DIR (${dataDir}) is in use by another process; stop it, or set DATABASE_URL.`, { cause });
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function parse(text: string): Holder | undefined {
  try {
    return JSON.parse(text) as Holder;
  } catch {
    return undefined;
  }
}

const idOf = (text: string): string | undefined => parse(text)?.id;

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as { code?: string }).code === 'EPERM';
  }
}
