import type pg from 'pg';
import { type Invalidations, localInvalidations } from './invalidations.js';
import { Session } from './session.js';

const channel = 'authkit_gateway';
const heartbeatMs = 5_000;
const firstRetryMs = 100;
const longestRetryMs = 5_000;

/**
 * Invalidations over Postgres' LISTEN/NOTIFY, on a session of its own. A lost session makes every cache forget what it
 * has, when it is lost and again when it is back, and is opened anew for as long as it takes.
 */
export function postgresInvalidations(url: string, pool: Pick<pg.Pool, 'query'>): Invalidations {
  const local = localInvalidations();
  let client: pg.Client | undefined;
  let connected = false;
  let closed = false;
  let retryMs = firstRetryMs;
  let timer: NodeJS.Timeout | undefined;

  const connect = async (): Promise<void> => {
    const session = new Session({
      connectionString: url, application_name: 'authkit-gateway listener', connectionTimeoutMillis: 5_000, query_timeout: 3_000, keepAlive: true,
    });
    client = session;
    let lost = false;
    const lose = (): void => {
      if (lost) return;
      lost = true;
      connected = false;
      clearInterval(heartbeat);
      session.end().catch(() => {});
      local.deliverAll();
      if (closed) return;
      timer = setTimeout(() => void connect(), retryMs * (0.5 + Math.random() / 2));
      timer.unref();
      retryMs = Math.min(retryMs * 2, longestRetryMs);
    };
    // A peer that vanished without a word is noticed by asking.
    const heartbeat = setInterval(() => void session.query('SELECT 1').catch(lose), heartbeatMs);
    heartbeat.unref();
    session.on('error', lose).on('end', lose).on('notification', ({ payload = '' }) => {
      const space = payload.indexOf(' ');
      local.deliver(payload.slice(0, space), payload.slice(space + 1));
    });
    try {
      await session.connect();
      await session.query(`LISTEN ${channel}`);
      if (lost) return;
      connected = true;
      retryMs = firstRetryMs;
      local.deliverAll();
    } catch {
      lose();
    }
  };

  return {
    ...local,
    async publish(topic, id) {
      await local.publish(topic, id);
      await pool.query('SELECT pg_notify($1, $2)', [channel, `${topic} ${id}`]);
    },
    start() {
      if (!client && !closed) void connect();
    },
    connected: () => connected,
    async close() {
      closed = true;
      clearTimeout(timer);
      await client?.end().catch(() => {});
    },
  };
}
