import { Prisma, type PrismaClient } from './database.js';
import type { HeldLock } from './locks.js';

/** Rows of one table that are kept for a time only. */
export type Sweep = {
  table: string;
  /** Deletes at most `limit` rows whose time is over, oldest first, in one statement; resolves with their number. */
  remove(limit: number): Promise<number>;
};

/** How long rows are kept whose end is not written in the row itself. */
export type RetentionDays = {
  /** Webhook events, with their deliveries. */
  webhooks: number;
};

/** Works through every table's old rows. */
export type Retention = {
  /** Deletes what is due; resolves when nothing is left, another replica is at it, the lock is lost, or `signal` fires. */
  run(signal: AbortSignal): Promise<void>;
};

/** A replica at a time deletes: the number of the lock that says which. */
export const retentionLock = 4_711_003;
/** Keys that have ended stay visible for this long, so that a caller who still uses one can be told apart. */
const deadKeyDays = 90;
const slowMs = 500;
const fastMs = 100;
const smallestBatch = 10;
const largestBatch = 5_000;
const sayEveryMs = 10_000;

/** The tables that grow with use, and which of their rows are over. All times are the database's. */
export function createSweeps(prisma: PrismaClient, days: RetentionDays): Sweep[] {
  return [
    sweep(prisma, 'idempotency_keys', Prisma.sql`SELECT ctid FROM idempotency_keys WHERE expires_at < now() ORDER BY expires_at`),
    sweep(prisma, 'authkit_sessions', Prisma.sql`SELECT ctid FROM authkit_sessions WHERE expires_at < now() ORDER BY expires_at`),
    // Deliveries go with their event. What waits for a webhook that is switched off holds nothing: it is over as well.
    sweep(prisma, 'webhook_events', Prisma.sql`
      SELECT ctid FROM webhook_events e WHERE created_at < now() - make_interval(days => ${days.webhooks}) AND NOT EXISTS (
        SELECT 1 FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id WHERE d.event_id = e.id AND d.status = 'pending' AND w.active)
      ORDER BY created_at`),
    // A key that made others, or was rotated into another, stays until they are gone: they are found by it.
    sweep(prisma, 'api_keys', Prisma.sql`
      SELECT ctid FROM api_keys k WHERE least(revoked_at, expires_at) < now() - make_interval(days => ${deadKeyDays})
        AND NOT EXISTS (SELECT 1 FROM api_keys made WHERE made.created_by = k.id::text OR made.rotated_from = k.id)
      ORDER BY created_at`),
    {
      table: 'webhooks (previous secrets)',
      remove: () => prisma.$executeRaw`UPDATE webhooks SET previous_secret = NULL, previous_secret_until = NULL WHERE previous_secret_until < now()`,
    },
  ];
}

function sweep(prisma: PrismaClient, table: string, due: Prisma.Sql): Sweep {
  return {
    table,
    remove: (limit) => prisma.$executeRaw`DELETE FROM ${Prisma.raw(table)} WHERE ctid = ANY (ARRAY(${due} LIMIT ${limit} FOR UPDATE SKIP LOCKED))`,
  };
}

/** What a retention works with; `log` gets progress every ten seconds, and the sum at the end. */
export type RetentionOptions = {
  sweeps: readonly Sweep[];
  tryLock(): Promise<HeldLock | undefined>;
  log(figures: { table: string; deleted: number; batch: number; done: boolean }): void;
  /** Milliseconds, for measuring a batch. */
  clock?: () => number;
};

/** Deletes in batches that grow and shrink so that one statement takes between a tenth and half of a second. */
export function createRetention({ sweeps, tryLock, log, clock = () => performance.now() }: RetentionOptions): Retention {
  const clear = async ({ table, remove }: Sweep, signal: AbortSignal): Promise<void> => {
    let deleted = 0;
    let batch = 500;
    let said = clock();
    while (!signal.aborted) {
      const began = clock();
      const count = await remove(batch);
      deleted += count;
      if (count < batch) break;
      const took = clock() - began;
      if (took > slowMs) batch = Math.max(smallestBatch, Math.floor(batch / 2));
      else if (took < fastMs) batch = Math.min(largestBatch, batch * 2);
      if (clock() - said >= sayEveryMs) {
        said = clock();
        log({ table, deleted, batch, done: false });
      }
    }
    if (deleted > 0) log({ table, deleted, batch, done: !signal.aborted });
  };
  return {
    async run(signal) {
      const lock = await tryLock();
      if (!lock) return;
      try {
        const either = AbortSignal.any([signal, lock.lost]);
        for (const each of sweeps) await clear(each, either);
      } finally {
        await lock.release();
      }
    },
  };
}
