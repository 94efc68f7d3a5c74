import { createHash } from 'node:crypto';
import type pg from 'pg';
import { type Invalidations, localInvalidations } from './invalidations.js';
import type { SessionFactory } from './locks.js';
import type { Session } from './session.js';

const heartbeatMs = 5_000;
const firstRetryMs = 100;
const longestRetryMs = 5_000;

/**
 * Invalidations over Postgres' LISTEN/NOTIFY, on a session of its own and on a channel of the schema's own. A lost session makes every cache forget what it
 * has, when it is lost and again when it is back, and is opened anew for as long as it takes.
 */
export function postgresInvalidations(session: SessionFactory, pool: Pick<pg.Pool, 'query'>, schema: string): Invalidations {
  const channel = channelOf(schema);
  const local = localInvalidations();
  let client: Session | undefined;
  let connected = false;
  let closed = false;
  let retryMs = firstRetryMs;
  let timer: NodeJS.Timeout | undefined;

  const connect = async (): Promise<void> => {
    const listener = session('listener', { query_timeout: 3_000 });
    client = listener;
    let lost = false;
    const lose = (): void => {
      if (lost) return;
      lost = true;
      connected = false;
      clearInterval(heartbeat);
      void listener.close();
      local.deliverAll();
      if (closed) return;
      timer = setTimeout(() => void connect(), retryMs * (0.5 + Math.random() / 2));
      timer.unref();
      retryMs = Math.min(retryMs * 2, longestRetryMs);
    };
    // A peer that vanished without a word is noticed by asking.
    const heartbeat = setInterval(() => void listener.query('SELECT 1').catch(lose), heartbeatMs);
    heartbeat.unref();
    listener.on('error', lose).on('end', lose).on('notification', ({ payload = '' }) => {
      const space = payload.indexOf(' ');
      local.deliver(payload.slice(0, space), payload.slice(space + 1));
    });
    try {
      await listener.connect();
      await listener.query(`LISTEN ${channel}`);
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
      await client?.close();
    },
  };
}

/** The channel of a schema. In `public` it has the name that earlier releases used everywhere. */
export function channelOf(schema: string): string {
  return schema === 'public' ? 'authkit_gateway' : `authkit_gateway_${createHash('sha256').update(schema).digest('hex').slice(0, 16)}`;
}
