import { databaseNow, Prisma, type PrismaClient } from '../persistence/database.js';
import { appendEvents } from '../persistence/outbox.js';
import { createRowIds } from '../persistence/row-ids.js';
import { eventOf, eventsOfChange } from './events.js';
import type { Connection, ConnectionBatches, NewConnection, StateChange } from './store.js';

// Many enough to make the round trips cheap, few enough that a statement takes milliseconds and others' locks are short.
const rowsAtOnce = 500;
const patience = { maxWait: 10_000, timeout: 15_000 };
const attempts = 5;

/** The batches of a ConnectionStore, in transactions of at most 500 rows each. */
export function createConnectionBatches(prisma: PrismaClient): ConnectionBatches {
  const transaction = <T>(work: (tx: Prisma.TransactionClient) => Promise<T>): Promise<T> => withoutDeadlock(() => prisma.$transaction(work, patience));
  return {
    async createAll(connections) {
      const nextId = createRowIds();
      const created: Connection[] = [];
      for (const batch of batches(connections)) created.push(...await transaction((tx) => insert(tx, batch, nextId)));
      return created;
    },
    async takeStates(changes) {
      const changed: Connection[] = [];
      const busy: StateChange[] = [];
      for (const batch of batches(changes)) {
        const outcome = await transaction((tx) => update(tx, batch));
        changed.push(...outcome.changed);
        busy.push(...outcome.busy);
      }
      // Waiting for one lock while holding none cannot end in a deadlock.
      for (const change of busy) changed.push(...(await transaction((tx) => update(tx, [change], true))).changed);
      return changed;
    },
    async findByKeys(keys) {
      const found: Connection[] = [];
      for (const batch of batches(keys)) found.push(...await prisma.userConnection.findMany({ where: { key: { in: [...batch] } } }));
      return new Map(found.map((row) => [row.key, row]));
    },
  };
}

async function insert(tx: Prisma.TransactionClient, connections: readonly NewConnection[], nextId: (at: Date) => string): Promise<Connection[]> {
  const now = await databaseNow(tx);
  const rows = connections.map((connection): Connection => ({
    ...connection, id: nextId(now), stateReason: null, metadata: {}, createdAt: now, updatedAt: now, lastUsedAt: null, replacedKey: null,
  }));
  const values = JSON.stringify(rows.map(({ id, identity, identityType, platform, key, environment, state, name, tags }) => (
    { id, user_id: identity, identity_type: identityType, platform, connection_key: key, environment, state, name, tags })));
  // In the order of their keys, so that two batches with common keys wait for each other instead of deadlocking.
  const inserted = await tx.$queryRaw<{ id: string }[]>`
    INSERT INTO user_connections (id, user_id, identity_type, platform, connection_key, environment, state, name, tags, created_at, updated_at)
    SELECT id, user_id, identity_type, platform, connection_key, environment, state, name, tags, ${now.toISOString()}::timestamptz, ${now.toISOString()}::timestamptz
    FROM jsonb_to_recordset(${values}::jsonb) AS given(
      id uuid, user_id text, identity_type text, platform text, connection_key text, environment text, state text, name text, tags text[])
    ORDER BY connection_key
    ON CONFLICT (connection_key) DO NOTHING
    RETURNING id::text AS id`;
  const ids = new Set(inserted.map(({ id }) => id));
  const created = await withoutReplaced(tx, rows.filter(({ id }) => ids.has(id)));
  await appendEvents(tx, created.map((row) => eventOf('connection.created', row)));
  return created;
}

/** Takes rows back whose key was just replaced by another one of the same owner: its connection is about to be deleted upstream. */
async function withoutReplaced(tx: Prisma.TransactionClient, created: Connection[]): Promise<Connection[]> {
  if (created.length === 0) return created;
  const name = ({ identity, identityType, key }: { identity: string; identityType: string; key: string }): string => JSON.stringify([identity, identityType, key]);
  // Only now: the insert has waited for a transaction that was putting another key on the row of one of these.
  const replaced = await tx.$queryRaw<{ identity: string; identityType: string; key: string }[]>`
    SELECT user_id AS identity, identity_type AS "identityType", replaced_key AS key FROM user_connections
    WHERE user_id = ANY(${[...new Set(created.map(({ identity }) => identity))]}) AND replaced_key = ANY(${created.map(({ key }) => key)})`;
  const names = new Set(replaced.map(name));
  const takenBack = created.filter((row) => names.has(name(row)));
  if (takenBack.length > 0) await tx.userConnection.deleteMany({ where: { id: { in: takenBack.map(({ id }) => id) } } });
  return created.filter((row) => !names.has(name(row)));
}

async function update(
  tx: Prisma.TransactionClient, changes: readonly StateChange[], wait = false,
): Promise<{ changed: Connection[]; busy: StateChange[] }> {
  const ids = changes.map(({ row }) => row.id);
  // Rows that others have locked are left for later: waiting for one while holding others could deadlock.
  const locked = await tx.$queryRaw<{ id: string }[]>`
    SELECT id::text AS id FROM user_connections WHERE id = ANY(${ids}::uuid[]) ORDER BY id FOR UPDATE ${wait ? Prisma.empty : Prisma.sql`SKIP LOCKED`}`;
  const free = new Set(locked.map(({ id }) => id));
  const now = await databaseNow(tx);
  const current = new Map((await tx.userConnection.findMany({ where: { id: { in: [...free] } } })).map((row) => [row.id, row]));
  const pairs = changes.flatMap(({ row, state, stateReason }) => {
    const before = current.get(row.id);
    return before && isAsKnown(before, row) ? [{ before, after: { ...before, state, stateReason, updatedAt: now } }] : [];
  });
  const values = JSON.stringify(pairs.map(({ after }) => ({ id: after.id, state: after.state, state_reason: after.stateReason })));
  await tx.$executeRaw`
    UPDATE user_connections AS row SET state = given.state, state_reason = given.state_reason, updated_at = ${now.toISOString()}::timestamptz
    FROM jsonb_to_recordset(${values}::jsonb) AS given(id uuid, state text, state_reason text) WHERE row.id = given.id`;
  await appendEvents(tx, pairs.flatMap(({ before, after }) => eventsOfChange(before, after)));
  return { changed: pairs.map(({ after }) => after), busy: changes.filter(({ row }) => !free.has(row.id)) };
}

/** Whether a row still is what the change was decided on; otherwise its state is newer than the vault's that was read. */
function isAsKnown(now: Connection, known: Connection): boolean {
  return now.key === known.key && now.identity === known.identity && now.identityType === known.identityType
    && now.state === known.state && now.stateReason === known.stateReason;
}

async function withoutDeadlock<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (attempt === attempts || !isDeadlock(error)) throw error;
    }
  }
}

/** Whether Postgres ended a transaction for a deadlock (40P01): P2034 from Prisma's own queries, P2010 from raw ones. */
export function isDeadlock(error: unknown): boolean {
  return error instanceof Prisma.PrismaClientKnownRequestError && (error.code === 'P2034' || JSON.stringify(error.meta ?? {}).includes('40P01'));
}

function* batches<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let start = 0; start < all.length; start += rowsAtOnce) yield all.slice(start, start + rowsAtOnce);
}
