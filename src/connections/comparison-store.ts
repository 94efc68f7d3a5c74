import { databaseNow, type PrismaClient } from '../persistence/database.js';
import type { Connection } from './store.js';

/** When each connection was last compared with the vault: what a walk that takes hours, on more than one replica, must remember. */
export type ComparisonStore = {
  /** The time by the database's clock. */
  now(): Promise<Date>;
  /** Notes that rows were compared; answers of how many identities they are that had no row compared since `since` before. */
  note(ids: readonly string[], since: Date): Promise<number>;
  /**
   * Rows of an environment that were not compared since `since`: at most `limit` of them, in the order of their ids, after
   * the one of `after`. `next` is where to go on, undefined at the end; there may be more even after a part without any.
   */
  missing(environment: string, since: Date, after: string, limit: number): Promise<{ rows: Connection[]; next: string | undefined }>;
  /** Forgets what was last compared before `since`: rows that are gone. */
  forget(since: Date): Promise<void>;
};

// Bounds what one statement reads, however many connections there are.
const idsAtOnce = 10_000;
const forgottenAtOnce = 1_000;

/** The comparisons in the database, where another replica finds them. */
export function createComparisonStore(prisma: PrismaClient): ComparisonStore {
  return {
    now: () => databaseNow(prisma),

    async note(ids, since) {
      if (ids.length === 0) return 0;
      // LIMIT keeps the planner from joining the whole tables.
      const [row] = await prisma.$queryRaw<[{ identities: number }]>`
        SELECT count(*)::int AS identities FROM (SELECT DISTINCT user_id, identity_type FROM user_connections WHERE id = ANY(${[...ids]}::uuid[])) AS here
        WHERE (
          SELECT 1 FROM user_connections AS theirs JOIN connection_comparisons AS done ON done.connection_id = theirs.id
          WHERE theirs.user_id = here.user_id AND theirs.identity_type = here.identity_type AND done.compared_at >= ${since.toISOString()}::timestamptz LIMIT 1
        ) IS NULL`;
      await prisma.$executeRaw`
        INSERT INTO connection_comparisons (connection_id, compared_at)
        SELECT DISTINCT id, clock_timestamp() FROM unnest(${[...ids]}::uuid[]) AS compared(id) ORDER BY id
        ON CONFLICT (connection_id) DO UPDATE SET compared_at = excluded.compared_at`;
      return row.identities;
    },

    async missing(environment, since, after, limit) {
      const found = await prisma.$queryRaw<{ id: string; missing: boolean }[]>`
        WITH part AS (SELECT id, environment FROM user_connections WHERE id > ${after}::uuid ORDER BY id LIMIT ${idsAtOnce}::int), judged AS (
          SELECT part.id, part.environment = ${environment} AND (done.compared_at IS NULL OR done.compared_at < ${since.toISOString()}::timestamptz) AS missing
          FROM part LEFT JOIN connection_comparisons AS done ON done.connection_id = part.id
        ), last AS (SELECT id FROM part ORDER BY id DESC LIMIT 1)
        (SELECT id::text AS id, true AS missing FROM judged WHERE missing ORDER BY judged.id LIMIT ${limit}::int)
        UNION ALL SELECT id::text, false FROM last`;
      const ids = found.filter(({ missing }) => missing).map(({ id }) => id);
      const rows = ids.length === 0 ? [] : await prisma.userConnection.findMany({ where: { id: { in: ids } }, orderBy: { id: 'asc' } });
      return { rows, next: ids.length === limit ? ids.at(-1) : found.find(({ missing }) => !missing)?.id };
    },

    async forget(since) {
      let forgotten: number;
      do {
        forgotten = await prisma.$executeRaw`
          DELETE FROM connection_comparisons WHERE connection_id IN (
            SELECT connection_id FROM connection_comparisons WHERE compared_at < ${since.toISOString()}::timestamptz LIMIT ${forgottenAtOnce}::int)`;
      } while (forgotten === forgottenAtOnce);
    },
  };
}
