import { randomUUID } from 'node:crypto';
import type { PrismaClient } from '../persistence/database.js';

/** A delivery that was claimed: what to send, where to, signed with which secrets, and how often it was tried (this time included). */
export type ClaimedDelivery = {
  id: string;
  lease: string;
  attempts: number;
  /** The seconds it has waited after earlier attempts. */
  waitedSeconds: number;
  webhookId: string;
  url: string;
  secrets: string[];
  event: { id: string; type: string; data: unknown; createdAt: Date };
};

/** How an attempt ended; `status` is undefined when there was no answer, `retryAfter` the seconds that a busy receiver asks for. */
export type AttemptResult = { status: number | undefined; error: string | undefined; retryAfter?: number | undefined };

/** The deliveries that wait, shared by all replicas. */
export type DeliveryQueue = {
  /**
   * Claims what is due: at most `limit`, one of each webhook, none of the webhooks in `busy`, and where `among` is given only
   * of those. Of the deliveries of one connection to one webhook only the oldest waiting one counts, so their order holds. A
   * claim that is neither settled nor renewed within the lease falls due again: its process has died.
   */
  claim(limit: number, busy: readonly string[], among?: readonly string[]): Promise<ClaimedDelivery[]>;
  /** Begins the lease of claims anew, of those that still hold it. */
  renew(claims: readonly ClaimedDelivery[]): Promise<void>;
  /** How often claims are to be renewed while they are worked on. */
  renewEveryMs: number;
  /** Ends a claim; does nothing when the lease has passed to somebody else. `waitSeconds` undefined: parked. */
  delivered(claim: ClaimedDelivery, result: AttemptResult): Promise<void>;
  failed(claim: ClaimedDelivery, result: AttemptResult, waitSeconds: number | undefined): Promise<void>;
  /**
   * Switches off the webhook of a claim, whose receiver answered 410 Gone, unless it got another URL meanwhile. The delivery
   * waits, as all others do, until it is switched on again.
   */
  gone(claim: ClaimedDelivery, result: AttemptResult): Promise<void>;
  /** Gives a claim back untried. */
  release(claim: ClaimedDelivery): Promise<void>;
};

type Row = {
  id: string; attempts: number; waited_seconds: number; webhook_id: string; url: string; secret: string; previous_secret: string | null;
  event_id: string; type: string; data: unknown; created_at: Date;
};

/** @param leaseSeconds how long after the death of a process its deliveries wait for another one. */
export function createDeliveryQueue(prisma: PrismaClient, leaseSeconds = 8): DeliveryQueue {
  return {
    renewEveryMs: leaseSeconds * 250,

    async claim(limit, busy, among) {
      const lease = randomUUID();
      // A scalar subquery, not NOT EXISTS: Postgres would plan that as a join over everything that waits, for each claim.
      const rows = await prisma.$queryRaw<Row[]>`
        WITH due AS (
          SELECT d.id FROM webhooks w CROSS JOIN LATERAL (
            SELECT c.id, c.next_attempt_at FROM webhook_deliveries c
            WHERE c.webhook_id = w.id AND c.status = 'pending' AND c.next_attempt_at <= now() AND c.sequence = (
              SELECT min(first.sequence) FROM webhook_deliveries first
              WHERE first.webhook_id = c.webhook_id AND first.connection_id = c.connection_id AND first.status = 'pending')
            ORDER BY c.next_attempt_at, c.sequence LIMIT 1 FOR UPDATE SKIP LOCKED
          ) d WHERE w.active AND w.id <> ALL (${[...busy]}::uuid[]) AND (${among === undefined} OR w.id = ANY (${[...among ?? []]}::uuid[])) ORDER BY d.next_attempt_at LIMIT ${limit}
        ), claimed AS (
          UPDATE webhook_deliveries d
          SET lease = ${lease}::uuid, attempts = d.attempts + 1, last_attempt_at = now(), next_attempt_at = now() + make_interval(secs => ${leaseSeconds})
          FROM due WHERE d.id = due.id RETURNING d.id, d.attempts, d.waited_seconds, d.webhook_id, d.event_id, d.sequence
        )
        SELECT c.id, c.attempts, c.waited_seconds, w.id AS webhook_id, w.url, w.secret,
          CASE WHEN w.previous_secret_until > now() THEN w.previous_secret END AS previous_secret, e.id AS event_id, e.type, e.data, e.created_at
        FROM claimed c JOIN webhooks w ON w.id = c.webhook_id JOIN webhook_events e ON e.id = c.event_id ORDER BY c.sequence`;
      return rows.map((row) => ({
        id: row.id, lease, attempts: row.attempts, waitedSeconds: row.waited_seconds, webhookId: row.webhook_id, url: row.url,
        secrets: row.previous_secret === null ? [row.secret] : [row.secret, row.previous_secret],
        event: { id: row.event_id, type: row.type, data: row.data, createdAt: row.created_at },
      }));
    },

    async renew(claims) {
      await prisma.$executeRaw`
        UPDATE webhook_deliveries d SET next_attempt_at = now() + make_interval(secs => ${leaseSeconds})
        FROM unnest(${claims.map(({ id }) => id)}::uuid[], ${claims.map(({ lease }) => lease)}::uuid[]) AS held (id, lease)
        WHERE d.id = held.id AND d.lease = held.lease`;
    },

    async delivered({ id, lease }, { status }) {
      await prisma.webhookDelivery.updateMany({
        where: { id, lease }, data: { status: 'delivered', deliveredAt: new Date(), lastStatus: status ?? null, lastError: null, lease: null },
      });
    },

    async failed({ id, lease }, { status, error }, waitSeconds) {
      const outcome = { lastStatus: status ?? null, lastError: error ?? null, lease: null };
      const next = waitSeconds === undefined ? { status: 'parked' }
        : { nextAttemptAt: new Date(Date.now() + waitSeconds * 1000), waitedSeconds: { increment: Math.ceil(waitSeconds) } };
      await prisma.webhookDelivery.updateMany({ where: { id, lease }, data: { ...outcome, ...next } });
    },

    async gone({ id, lease, webhookId, url }, { status, error }) {
      await prisma.$transaction([
        prisma.webhook.updateMany({ where: { id: webhookId, url, active: true }, data: { active: false, inactiveReason: 'gone' } }),
        prisma.webhookDelivery.updateMany({
          where: { id, lease }, data: { lastStatus: status ?? null, lastError: error ?? null, lease: null, nextAttemptAt: new Date() },
        }),
      ]);
    },

    async release({ id, lease }) {
      await prisma.webhookDelivery.updateMany({ where: { id, lease }, data: { attempts: { decrement: 1 }, nextAttemptAt: new Date(), lease: null } });
    },
  };
}
