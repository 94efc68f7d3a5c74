import { randomUUID } from 'node:crypto';
import type { PrismaClient } from '../persistence/database.js';

/** A delivery that was claimed: what to send, where to, signed with which secrets, and how often it was tried (this time included). */
export type ClaimedDelivery = {
  id: string;
  lease: string;
  attempts: number;
  webhookId: string;
  url: string;
  secrets: string[];
  event: { id: string; type: string; data: unknown; createdAt: Date };
};

/** How an attempt ended; `status` is undefined when there was no answer. */
export type AttemptResult = { status: number | undefined; error: string | undefined };

/** The deliveries that wait, shared by all replicas. */
export type DeliveryQueue = {
  /**
   * Claims what is due: at most `limit`, one of each webhook, none of the webhooks in `busy`. Of the deliveries of one
   * connection to one webhook only the oldest waiting one counts, so their order holds. A claim that is not settled within
   * the lease falls due again: whoever claimed it has died.
   */
  claim(limit: number, busy: readonly string[]): Promise<ClaimedDelivery[]>;
  /** Ends a claim; does nothing when the lease has passed to somebody else. `waitSeconds` undefined: parked. */
  delivered(claim: ClaimedDelivery, result: AttemptResult): Promise<void>;
  failed(claim: ClaimedDelivery, result: AttemptResult, waitSeconds: number | undefined): Promise<void>;
  /** Gives a claim back untried. */
  release(claim: ClaimedDelivery): Promise<void>;
};

type Row = {
  id: string; attempts: number; webhook_id: string; url: string; secret: string; previous_secret: string | null;
  event_id: string; type: string; data: unknown; created_at: Date;
};

/** @param leaseSeconds longer than any attempt takes. */
export function createDeliveryQueue(prisma: PrismaClient, leaseSeconds = 30): DeliveryQueue {
  return {
    async claim(limit, busy) {
      const lease = randomUUID();
      const rows = await prisma.$queryRaw<Row[]>`
        WITH due AS (
          SELECT d.id FROM webhooks w CROSS JOIN LATERAL (
            SELECT c.id, c.next_attempt_at FROM webhook_deliveries c
            WHERE c.webhook_id = w.id AND c.status = 'pending' AND c.next_attempt_at <= now() AND NOT EXISTS (
              SELECT 1 FROM webhook_deliveries earlier
              WHERE earlier.webhook_id = c.webhook_id AND earlier.connection_id = c.connection_id
                AND earlier.status = 'pending' AND earlier.sequence < c.sequence)
            ORDER BY c.next_attempt_at, c.sequence LIMIT 1 FOR UPDATE SKIP LOCKED
          ) d WHERE w.active AND w.id <> ALL (${[...busy]}::uuid[]) ORDER BY d.next_attempt_at LIMIT ${limit}
        ), claimed AS (
          UPDATE webhook_deliveries d
          SET lease = ${lease}::uuid, attempts = d.attempts + 1, last_attempt_at = now(), next_attempt_at = now() + make_interval(secs => ${leaseSeconds})
          FROM due WHERE d.id = due.id RETURNING d.id, d.attempts, d.webhook_id, d.event_id, d.sequence
        )
        SELECT c.id, c.attempts, w.id AS webhook_id, w.url, w.secret,
          CASE WHEN w.previous_secret_until > now() THEN w.previous_secret END AS previous_secret, e.id AS event_id, e.type, e.data, e.created_at
        FROM claimed c JOIN webhooks w ON w.id = c.webhook_id JOIN webhook_events e ON e.id = c.event_id ORDER BY c.sequence`;
      return rows.map((row) => ({
        id: row.id, lease, attempts: row.attempts, webhookId: row.webhook_id, url: row.url,
        secrets: row.previous_secret === null ? [row.secret] : [row.secret, row.previous_secret],
        event: { id: row.event_id, type: row.type, data: row.data, createdAt: row.created_at },
      }));
    },

    async delivered({ id, lease }, { status }) {
      await prisma.webhookDelivery.updateMany({
        where: { id, lease }, data: { status: 'delivered', deliveredAt: new Date(), lastStatus: status ?? null, lastError: null, lease: null },
      });
    },

    async failed({ id, lease }, { status, error }, waitSeconds) {
      const outcome = { lastStatus: status ?? null, lastError: error ?? null, lease: null };
      const next = waitSeconds === undefined ? { status: 'parked' } : { nextAttemptAt: new Date(Date.now() + waitSeconds * 1000) };
      await prisma.webhookDelivery.updateMany({ where: { id, lease }, data: { ...outcome, ...next } });
    },

    async release({ id, lease }) {
      await prisma.webhookDelivery.updateMany({ where: { id, lease }, data: { attempts: { decrement: 1 }, nextAttemptAt: new Date(), lease: null } });
    },
  };
}
