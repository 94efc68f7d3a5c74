import { identityTypes } from '../auth/identity.js';
import { Prisma, type PrismaClient } from '../persistence/database.js';
import { after, newestFirst, type Position } from '../persistence/keyset.js';
import { connectionStates } from '../upstream/vault.js';
import type { Connection, ConnectionFilter } from './store.js';

const environments = ['test', 'live'];
// Filters whose values many rows may share. The others find few rows, by an index of their own.
const broad = new Set(['identityType', 'platform', 'environment', 'state', 'tag']);
/** Of a tag's rows, so many of the newest of all are looked through first. */
const newestRows = 3_000;
const mostAttempts = 5;

/** An identity's, a key's or everybody's connections are left to the planner; see {@link byKind} and {@link byTag} for the rest. */
export function createConnectionList(prisma: PrismaClient) {
  return async (filter: ConnectionFilter, position: Position | undefined, limit: number): Promise<Connection[]> => {
    const { tag, platforms, ...members } = Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined)) as ConnectionFilter;
    const where = {
      ...members, ...(platforms ? { AND: { platform: { in: [...platforms] } } } : {}), ...(tag === undefined ? {} : { tags: { has: tag } }), ...after(position),
    };
    const names = Object.keys(filter).filter((name) => filter[name as keyof ConnectionFilter] !== undefined);
    if (names.length === 0 || names.some((name) => !broad.has(name))) return prisma.userConnection.findMany({ where, orderBy: newestFirst, take: limit });
    for (let attempt = 1; ; attempt += 1) {
      const ids = tag === undefined ? await byKind(prisma, members, position, limit) : await byTag(prisma, tag, members, position, limit);
      const rows = await prisma.userConnection.findMany({ where: { ...where, id: { in: ids } }, orderBy: newestFirst });
      // Fewer: one was changed or deleted meanwhile, and a page that is not full would end the list.
      if (rows.length === ids.length || attempt === mostAttempts) return rows;
    }
  };
}

type Kind = Pick<ConnectionFilter, 'identityType' | 'platform' | 'environment' | 'state'>;

/**
 * Environments, types and states are few: the rows are the newest of all their combinations, each of which is one short
 * stretch of an index, however many rows or how few it has. Left to itself, the planner takes a filter without hits for one
 * with many and walks the whole table in its order. NULLS LAST is the order of these indexes only, so that none but them will do.
 */
async function byKind(prisma: PrismaClient, { platform, environment, identityType, state }: Kind, position: Position | undefined, limit: number): Promise<string[]> {
  const onPlatform = platform === undefined ? Prisma.empty : Prisma.sql`AND c.platform = ${platform}::text`;
  const rows = await prisma.$queryRaw<{ id: string }[]>`
    SELECT found.id
    FROM unnest(${oneOf(environment, environments)}::text[]) e CROSS JOIN unnest(${oneOf(identityType, identityTypes)}::text[]) t
      CROSS JOIN unnest(${oneOf(state, connectionStates)}::text[]) s CROSS JOIN LATERAL (
        SELECT c.id, c.created_at FROM user_connections c
        WHERE c.environment = e AND c.identity_type = t AND c.state = s ${onPlatform}
          AND (c.created_at, c.id) < (${createdAt(position)}::timestamptz, ${position?.id ?? lastId}::uuid)
        ORDER BY c.created_at DESC NULLS LAST, c.id DESC NULLS LAST LIMIT ${limit}
      ) found
    ORDER BY found.created_at DESC, found.id DESC LIMIT ${limit}`;
  return rows.map(({ id }) => id);
}

/**
 * A tag that many rows have is found among the newest rows; what is not is rare enough to be collected by the index of
 * facets, and sorted. The planner, which knows the frequency of common tags only, would choose one way for all.
 */
async function byTag(prisma: PrismaClient, tag: string, kind: Kind, position: Position | undefined, limit: number): Promise<string[]> {
  const { platform, environment, identityType, state } = kind;
  const wanted = [['platform', platform], ['environment', environment], ['identity_type', identityType], ['state', state]] as const;
  const matches = Prisma.join([
    Prisma.sql`tags @> ARRAY[${tag}::text]`,
    ...wanted.filter(([, value]) => value !== undefined).map(([column, value]) => Prisma.sql`${Prisma.raw(column)} = ${value}::text`),
  ], ' AND ');
  const page = Prisma.sql`(created_at, id) < (${createdAt(position)}::timestamptz, ${position?.id ?? lastId}::uuid)`;
  const columns = Prisma.sql`id, created_at, tags, platform, environment, identity_type, state`;
  const newest = await prisma.$queryRaw<{ id: string }[]>`
    WITH newest AS MATERIALIZED (SELECT ${columns} FROM user_connections WHERE ${page} ORDER BY created_at DESC, id DESC LIMIT ${newestRows})
    SELECT id FROM newest WHERE ${matches} ORDER BY created_at DESC, id DESC LIMIT ${limit}`;
  if (newest.length === limit) return newest.map(({ id }) => id);
  const facets = [
    tag, ...wanted.filter(([, value]) => value !== undefined).map(([column, value]) => `${column === 'identity_type' ? 'type' : column} ${value}`),
  ];
  const rows = await prisma.$queryRaw<{ id: string }[]>`
    WITH tagged AS MATERIALIZED (
      SELECT ${columns} FROM user_connections
      WHERE (tags || ARRAY['environment ' || environment, 'type ' || identity_type, 'state ' || state, 'platform ' || platform]) @> ${facets}::text[]
    )
    SELECT id FROM tagged WHERE ${matches} AND ${page} ORDER BY created_at DESC, id DESC LIMIT ${limit}`;
  return rows.map(({ id }) => id);
}

const lastId = 'ffffffff-ffff-ffff-ffff-ffffffffffff';

function createdAt(position: Position | undefined): string {
  return position ? position.createdAt.toISOString() : 'infinity';
}

function oneOf(value: string | undefined, all: readonly string[]): string[] {
  return value === undefined ? [...all] : [value];
}
