import { databaseNow, Prisma, type PrismaClient } from '../persistence/database.js';
import type { WalkPosition, WalkProgress } from './walk.js';

/**
 * A run of the reconciler as the replicas share it. `finishedAt` is null while there is something left to walk;
 * `completeSince` is when the last finished run began: every connection was compared with the vault after that.
 */
export type Run = { startedAt: Date; finishedAt: Date | null; pausedUntil: Date | null; completeSince: Date | null; progress: WalkProgress };

/** The last run, in the database. */
export type ProgressStore = {
  /** The time by the database's clock. */
  now(): Promise<Date>;
  read(): Promise<Run | undefined>;
  save(run: Run): Promise<void>;
};

/** The progress in the database, where another replica finds it. */
export function createProgressStore(prisma: PrismaClient): ProgressStore {
  return {
    now: () => databaseNow(prisma),
    async read() {
      const row = await prisma.reconcilerProgress.findUnique({ where: { id: 1 } });
      if (!row) return undefined;
      const { startedAt, finishedAt, pausedUntil, completeSince, position, total, identities, created, updated, removed, unchanged, skipped, failed } = row;
      return {
        startedAt, finishedAt, pausedUntil, completeSince,
        progress: { identities, created, updated, removed, unchanged, skipped, failed, total, position: (position ?? undefined) as WalkPosition },
      };
    },
    async save({ progress: { position, ...counts }, ...run }) {
      const data = { ...run, ...counts, position: position ?? Prisma.DbNull };
      await prisma.reconcilerProgress.upsert({ where: { id: 1 }, create: { id: 1, ...data }, update: data });
    },
  };
}
