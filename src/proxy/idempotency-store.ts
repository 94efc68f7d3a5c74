import { randomUUID } from 'node:crypto';
import { Prisma, type PrismaClient } from '../persistence/database.js';
import type { IdempotencyKeyModel } from '../persistence/generated/models.js';

/** A write and what became of it. */
export type StoredWrite = IdempotencyKeyModel;
/** The answer as it is kept; `body` undefined: too large. */
export type StoredAnswer = { status: number; headers: readonly string[]; body: Buffer | undefined; bodyDigest: string | undefined };

/** Writes by owner and key, in the database that all replicas share. Times are the database's own. */
export type IdempotencyStore = {
  /** Takes the key for a new write: its claim, or the row that has the key already. Expired rows count as absent. */
  claim(owner: string, key: string, fingerprint: string): Promise<{ claim: string } | { existing: StoredWrite; leaseOver: boolean }>;
  answered(claim: string, answer: StoredAnswer): Promise<void>;
  /** Nobody knows whether the write took place. */
  unknown(claim: string): Promise<void>;
  /** The write certainly did not take place: the key is free again. */
  release(claim: string): Promise<void>;
  /** Says that these are still being sent. */
  extend(claims: readonly string[]): Promise<void>;
};

const lease = Prisma.sql`now() + interval '15 seconds'`;
const life = Prisma.sql`now() + interval '24 hours'`;

/** Idempotency keys in the database, where every replica sees them. */
export function createIdempotencyStore(prisma: PrismaClient): IdempotencyStore {
  return {
    async claim(owner, key, fingerprint) {
      for (;;) {
        const claim = randomUUID();
        const taken = await prisma.$executeRaw`
          INSERT INTO idempotency_keys AS row (owner, key, claim, fingerprint, state, lease_until, expires_at)
          VALUES (${owner}, ${key}, ${claim}::uuid, ${fingerprint}, 'running', ${lease}, ${life})
          ON CONFLICT (owner, key) DO UPDATE SET claim = excluded.claim, fingerprint = excluded.fingerprint, state = 'running', body_digest = NULL,
            status = NULL, headers = NULL, body = NULL, lease_until = excluded.lease_until, created_at = now(), expires_at = excluded.expires_at
          WHERE row.expires_at < now()`;
        if (taken === 1) return { claim };
        const existing = await prisma.idempotencyKey.findUnique({ where: { owner_key: { owner, key } } });
        // Released between the two looks: it can be taken now.
        if (!existing) continue;
        const [{ over } = { over: false }] = await prisma.$queryRaw<{ over: boolean }[]>`SELECT ${existing.leaseUntil.toISOString()}::timestamptz < now() AS over`;
        return { existing, leaseOver: over };
      }
    },
    async answered(claim, { status, headers, body, bodyDigest }) {
      await prisma.idempotencyKey.updateMany({
        where: { claim }, data: { state: 'answered', status, headers: [...headers], body: body ? new Uint8Array(body) : null, bodyDigest: bodyDigest ?? null },
      });
    },
    unknown: async (claim) => void (await prisma.idempotencyKey.updateMany({ where: { claim }, data: { state: 'unknown' } })),
    release: async (claim) => void (await prisma.idempotencyKey.deleteMany({ where: { claim, state: 'running' } })),
    async extend(claims) {
      await prisma.$executeRaw`UPDATE idempotency_keys SET lease_until = ${lease} WHERE claim = ANY(${[...claims]}::uuid[]) AND state = 'running'`;
    },
  };
}
