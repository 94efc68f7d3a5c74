import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import type { Session } from './session.js';

/** A lock that was taken. `lost` fires when it is gone without having been released. */
export type HeldLock = { lost: AbortSignal; release(): Promise<void> };

/** How to wait for a lock: `signal` ends the wait with its reason, `waiting` is told once when it takes its time. */
export type LockWait = { signal?: AbortSignal; waiting?: () => void };

/** Makes a session with the server itself, not yet connected; `purpose` is seen in pg_stat_activity. */
export type SessionFactory = (purpose: string, more?: pg.ClientConfig) => Session;

const pollMs = 250;
const patienceMs = 3_000;
const heartbeatMs = 5_000;

/**
 * Takes a session-level advisory lock, or resolves undefined when another session holds it. The lock lives and dies with a
 * session of its own, so that a holder's death frees it. Locks of two schemas, and of two databases, are two locks.
 */
export async function tryAdvisoryLock(session: SessionFactory, schema: string, lock: number): Promise<HeldLock | undefined> {
  const client = session('lock');
  const lost = new AbortController();
  let released = false;
  const lose = (): void => void (released || lost.abort(new Error('the connection that held the lock is gone')));
  for (const event of ['error', 'end'] as const) client.on(event, lose);
  await client.connect();
  try {
    if (await take(client, schema, lock)) {
      // A server that vanished without a word is noticed by asking.
      let asking = false;
      const heartbeat = setInterval(() => {
        if (asking) return;
        asking = true;
        (client.query('SELECT 1') as Promise<unknown>).then(() => void (asking = false), lose);
      }, heartbeatMs);
      heartbeat.unref();
      return {
        lost: lost.signal,
        async release() {
          released = true;
          clearInterval(heartbeat);
          await client.close();
        },
      };
    }
  } catch (error) {
    await client.close();
    throw error;
  }
  await client.close();
  return undefined;
}

/** Runs `work` while holding the lock; waits for it as long as it takes. Rejects when the wait is ended by its signal. */
export async function withAdvisoryLock<T>(session: SessionFactory, schema: string, lock: number, work: () => Promise<T>, { signal, waiting }: LockWait = {}): Promise<T> {
  // A session of its own: a pooled connection could be lent to another user while it still holds the lock.
  const client = session('lock');
  await client.connect();
  try {
    const began = Date.now();
    let said = false;
    // Asked again and again: a statement that waits would keep the holder's CREATE INDEX CONCURRENTLY from ending.
    while (!await take(client, schema, lock)) {
      if (!said && Date.now() - began >= patienceMs) {
        said = true;
        waiting?.();
      }
      await sleep(pollMs, undefined, { signal }).catch(() => signal?.throwIfAborted());
    }
    signal?.throwIfAborted();
    return await work();
  } finally {
    await client.close();
  }
}

async function take(client: Session, schema: string, lock: number): Promise<boolean> {
  const { rows: [answer] } = await client.query('SELECT pg_try_advisory_lock($1) AS taken', [lockKey(schema, lock)]) as { rows: { taken: boolean }[] };
  return answer?.taken === true;
}

/** The 64-bit key of a lock in a schema, as text. In `public` it is the number itself, which earlier releases used everywhere. */
export function lockKey(schema: string, lock: number): string {
  return schema === 'public' ? String(lock) : String(createHash('sha256').update(`${lock} ${schema}`).digest().readBigInt64BE());
}

/** The same for a database that only this process uses. */
export function createProcessLocks(): (lock: number) => Promise<HeldLock | undefined> {
  const held = new Set<number>();
  return async (lock) => {
    if (held.has(lock)) return undefined;
    held.add(lock);
    return { lost: new AbortController().signal, release: async () => void held.delete(lock) };
  };
}
