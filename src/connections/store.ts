import type { UserConnectionModel } from '../persistence/generated/models.js';
import { databaseNow, Prisma, type PrismaClient } from '../persistence/database.js';
import { newestFirst, type Position } from '../persistence/keyset.js';
import { appendEvent } from '../persistence/outbox.js';
import type { Identity } from '../auth/identity.js';
import { createConnectionBatches, isDeadlock } from './batch-store.js';
import { eventOf, eventsOfChange } from './events.js';
import { createConnectionList } from './list-store.js';

/** A stored connection. */
export type Connection = UserConnectionModel;

/** What a connection is stored with; the rest is the database's. */
export type NewConnection = Identity & Pick<Connection, 'key' | 'platform' | 'environment' | 'state' | 'name' | 'tags'>;

/** What a connection can be looked for by; undefined members do not narrow. */
export type ConnectionFilter = Partial<Pick<Connection, 'identity' | 'identityType' | 'platform' | 'environment' | 'state' | 'key'>> & {
  tag?: string | undefined;
  /** Only those of one of these platforms. */
  platforms?: readonly string[] | undefined;
};

/** Which connections of an identity a call could use. */
export type Fit = Identity & Pick<Connection, 'platform' | 'environment'> & {
  /** The failed ones, or all others; undefined: any. */
  failed?: boolean;
};

/** What may change in a stored connection; what is absent stays. */
export type ConnectionChange = Partial<Pick<Connection, 'name' | 'tags' | 'state' | 'stateReason' | 'identity' | 'identityType'>> & {
  metadata?: Record<string, unknown>;
};

/** A state for a row, decided on the row as it is here. */
export type StateChange = Pick<Connection, 'state' | 'stateReason'> & { row: Connection };

/** Many rows at once, with the events that one after the other would have. */
export type ConnectionBatches = {
  /** `create` for each, in this order; answers those that were stored. */
  createAll(connections: readonly NewConnection[]): Promise<Connection[]>;
  /** Gives rows another state, unless key, owner or state have changed since; answers those that changed, as they are now. */
  takeStates(changes: readonly StateChange[]): Promise<Connection[]>;
  /** The rows of these keys, whosever they are, by key. */
  findByKeys(keys: readonly string[]): Promise<Map<string, Connection>>;
};

/**
 * Connections in the database. `owner` narrows to one identity's; undefined: anybody's. Every change writes its events to
 * the outbox in the same transaction.
 */
export type ConnectionStore = ConnectionBatches & {
  /** Undefined when the key is already stored, by whomever, and when it `isReplaced`. */
  create(connection: NewConnection): Promise<Connection | undefined>;
  /** Whether a row of the same owner got another key for this one, whose connection is about to be deleted upstream. */
  isReplaced(connection: Identity & Pick<Connection, 'key'>): Promise<boolean>;
  find(id: string, owner: Identity | undefined): Promise<Connection | undefined>;
  findByKey(key: string): Promise<Connection | undefined>;
  /** Newest first, at most `limit` rows after `position`. */
  list(filter: ConnectionFilter, position: Position | undefined, limit: number): Promise<Connection[]>;
  /** Those that fit: how many, and the newest of them, at most `limit`. */
  fitting(fit: Fit, limit: number): Promise<{ rows: Connection[]; count: number }>;
  /** The platforms on which an identity has connections. */
  platforms(owner: Identity): Promise<string[]>;
  /** Undefined when there is no such row any more, or its key is no longer `key`. */
  update(id: string, owner: Identity | undefined, change: ConnectionChange, key?: string): Promise<Connection | undefined>;
  /** Whether there was such a row, with `key` where that is given. */
  remove(id: string, key?: string): Promise<boolean>;
  /**
   * Gives `current` another key and remembers the old one in `replacedKey`. A row that `owner` got for the new key after
   * `since`, by the database's clock (a sync was quicker), makes way; with an older one, or somebody else's, it is `taken`.
   * `changed`: the rows are not any more as they were when this began, and it can be tried again.
   */
  replaceKey(current: Connection, owner: Identity, next: Pick<Connection, 'key' | 'state'>, since: Date): Promise<Connection | 'taken' | 'changed'>;
  /** Clears `replacedKey`, if it still is `key`. */
  forgetReplaced(id: string, key: string): Promise<void>;
};

// Prisma gives up on a transaction after 2 s of waiting for a connection and 5 s of work, too soon for a busy database.
const patience = { maxWait: 10_000, timeout: 15_000 };

/** Connections in the database, each change with its event for webhooks. */
export function createConnectionStore(prisma: PrismaClient): ConnectionStore {
  return {
    ...createConnectionBatches(prisma),
    create: (connection) => prisma.$transaction(async (tx) => {
      const now = await databaseNow(tx);
      const { count } = await tx.userConnection.createMany({ data: [{ ...connection, createdAt: now, updatedAt: now }], skipDuplicates: true });
      if (count === 0) return undefined;
      // Only now: the insert has waited for whoever was just putting another key on the row of this one.
      if (await isReplaced(tx, connection)) {
        await tx.userConnection.delete({ where: { key: connection.key } });
        return undefined;
      }
      const created = await tx.userConnection.findUniqueOrThrow({ where: { key: connection.key } });
      await appendEvent(tx, eventOf('connection.created', created));
      return created;
    }, patience),
    isReplaced: (connection) => isReplaced(prisma, connection),
    find: async (id, owner) => (await prisma.userConnection.findFirst({ where: { id, ...ownedBy(owner) } })) ?? undefined,
    findByKey: async (key) => (await prisma.userConnection.findUnique({ where: { key } })) ?? undefined,
    list: createConnectionList(prisma),
    async fitting({ failed, ...fit }, limit) {
      const where = { ...fit, ...(failed === undefined ? {} : { state: failed ? 'failed' : { not: 'failed' } }) };
      const rows = await prisma.userConnection.findMany({ where, orderBy: newestFirst, take: limit });
      return { rows, count: rows.length < limit ? rows.length : await prisma.userConnection.count({ where }) };
    },
    async platforms(owner) {
      const rows = await prisma.userConnection.groupBy({ by: ['platform'], where: ownedBy(owner) });
      return rows.map(({ platform }) => platform);
    },
    update(id, owner, { metadata, ...change }, key) {
      const data = { ...change, ...(metadata === undefined ? {} : { metadata: metadata as Prisma.InputJsonObject }) };
      return prisma.$transaction((tx) => updateRow(tx, { id, ...ownedBy(owner), ...(key === undefined ? {} : { key }) }, data), patience);
    },
    remove: (id, key) => prisma.$transaction((tx) => removeRow(tx, { id, ...(key === undefined ? {} : { key }) }), patience),
    async replaceKey(current, owner, { key, state }, since) {
      const change = { key, state, stateReason: null, replacedKey: current.key };
      const makesWay = { key, ...ownedBy(owner), createdAt: { gte: since } };
      try {
        return await prisma.$transaction(async (tx) => {
          const quicker = await tx.userConnection.findFirst({ where: makesWay });
          if (quicker) await removeRow(tx, { id: quicker.id });
          const after = await updateRow(tx, { id: current.id, key: current.key, ...ownedBy(owner) }, change);
          if (!after) throw new RowChanged();
          return after;
        }, patience);
      } catch (error) {
        // A sync that stores many rows at once may hold the one that this waits for, and wait for this one.
        if (error instanceof RowChanged || isDeadlock(error)) return 'changed';
        // P2002: a unique constraint, here that of the key.
        if (!(error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002')) throw error;
        // A sync may have stored it after the look for it.
        return await prisma.userConnection.findFirst({ where: makesWay }) ? 'changed' : 'taken';
      }
    },
    forgetReplaced: async (id, key) => void (await prisma.userConnection.updateMany({ where: { id, replacedKey: key }, data: { replacedKey: null } })),
  };
}

/** Undoes a transaction whose row has changed under it. */
class RowChanged extends Error {}

type RowCondition = { id: string; key?: string; identity?: string; identityType?: string };

async function updateRow(tx: Prisma.TransactionClient, where: RowCondition, data: Prisma.UserConnectionUpdateInput): Promise<Connection | undefined> {
  const before = await lock(tx, where);
  if (!before) return undefined;
  const after = await tx.userConnection.update({ where: { id: where.id }, data });
  for (const event of eventsOfChange(before, after)) await appendEvent(tx, event);
  return after;
}

async function removeRow(tx: Prisma.TransactionClient, where: RowCondition): Promise<boolean> {
  const row = await lock(tx, where);
  if (!row) return false;
  await tx.userConnection.delete({ where: { id: row.id } });
  await appendEvent(tx, eventOf('connection.deleted', row));
  return true;
}

async function isReplaced(db: Pick<PrismaClient, 'userConnection'>, { identity, identityType, key }: Identity & Pick<Connection, 'key'>): Promise<boolean> {
  return (await db.userConnection.findFirst({ where: { identity, identityType, replacedKey: key } })) !== null;
}

async function lock(tx: Prisma.TransactionClient, where: RowCondition): Promise<Connection | null> {
  await tx.$executeRaw`SELECT 1 FROM user_connections WHERE id = ${where.id}::uuid FOR UPDATE`;
  return tx.userConnection.findFirst({ where });
}

function ownedBy(owner: Identity | undefined) {
  return owner ? { identity: owner.identity, identityType: owner.identityType } : {};
}
