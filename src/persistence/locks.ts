import { Session } from './session.js';

/** A lock that was taken. `lost` fires when it is gone without having been released. */
export type HeldLock = { lost: AbortSignal; release(): Promise<void> };

/**
 * Takes a session-level advisory lock, or resolves undefined when another session holds it. The lock lives and dies with a
 * connection of its own, so that a holder's death frees it; Postgres must see the sessions (no transaction pooling between).
 */
export async function tryAdvisoryLock(url: string, lock: number): Promise<HeldLock | undefined> {
  const client = new Session({ connectionString: url, application_name: 'authkit-gateway lock', keepAlive: true, connectionTimeoutMillis: 5_000 });
  const lost = new AbortController();
  for (const event of ['error', 'end'] as const) client.on(event, () => lost.abort(new Error('the connection that held the lock is gone')));
  await client.connect();
  try {
    // A holder whose machine vanishes says no goodbye: the server finds out in half a minute instead of hours.
    await client.query('SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3');
    const { rows: [answer] } = await client.query<{ taken: boolean }>('SELECT pg_try_advisory_lock($1) AS taken', [lock]);
    if (answer?.taken) return { lost: lost.signal, release: () => client.end() };
  } catch (error) {
    await client.end();
    throw error;
  }
  await client.end();
  return undefined;
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
