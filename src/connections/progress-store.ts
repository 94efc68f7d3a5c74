import type { IdentityType } from '../auth/identity.js';
import type { PrismaClient } from '../persistence/database.js';
import type { WalkProgress } from './walk.js';

/** A run of the reconciler as the replicas share it. `finishedAt` is null while there is something left to walk. */
export type Run = { startedAt: Date; finishedAt: Date | null; pausedUntil: Date | null; progress: WalkProgress };

/** The last run, in the database. */
export type ProgressStore = { read(): Promise<Run | undefined>; save(run: Run): Promise<void> };

/** The progress in the database, where another replica finds it. */
export function createProgressStore(prisma: PrismaClient): ProgressStore {
  return {
    async read() {
      const row = await prisma.reconcilerProgress.findUnique({ where: { id: 1 } });
      if (!row) return undefined;
      const { startedAt, finishedAt, pausedUntil, identity, identityType, identities, created, updated, removed, unchanged, failed } = row;
      const last = identity === null ? undefined : { identity, identityType: identityType as IdentityType };
      return { startedAt, finishedAt, pausedUntil, progress: { identities, created, updated, removed, unchanged, failed, last } };
    },
    async save({ progress: { last, ...counts }, ...run }) {
      const data = { ...run, ...counts, identity: last?.identity ?? null, identityType: last?.identityType ?? null };
      await prisma.reconcilerProgress.upsert({ where: { id: 1 }, create: { id: 1, ...data }, update: data });
    },
  };
}
