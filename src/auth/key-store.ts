import type { ApiKeyModel } from '../persistence/generated/models.js';
import { Prisma, type PrismaClient } from '../persistence/database.js';
import { after, newestFirst, type Position } from '../persistence/keyset.js';
import type { Identity, IdentityType } from './identity.js';
import { rootPrincipal } from './principal.js';

/** A stored API key: everything but the key. */
export type StoredKey = Omit<ApiKeyModel, 'identity' | 'identityType'> & { boundTo: Identity | undefined };

/** What a key is stored with; the rest is the database's. */
export type NewKey = Pick<StoredKey, 'name' | 'digest' | 'hint' | 'scopes' | 'boundTo' | 'expiresAt' | 'allowedOrigins' | 'createdBy'> & { rotatedFrom?: string };

/** What keys are listed by: who made them (a key's id, or `root`), and the key they succeeded. */
export type KeyFilter = { createdBy?: string | undefined; rotatedFrom?: string | undefined };

/** API keys in the database. `owner` narrows to the keys bound to that identity. */
export type KeyStore = {
  findByDigest(digest: string): Promise<StoredKey | undefined>;
  find(id: string, owner: Identity | undefined): Promise<StoredKey | undefined>;
  /** Undefined when the key that makes it (`createdBy`) has been revoked meanwhile. */
  create(key: NewKey): Promise<StoredKey | undefined>;
  /** Newest first, at most `limit` rows after `position`. */
  list(owner: Identity | undefined, filter: KeyFilter, position: Position | undefined, limit: number): Promise<StoredKey[]>;
  /** Marks it revoked; the time of an earlier revocation stays. False when there is no such key. */
  revoke(id: string, at: Date): Promise<boolean>;
  /** Revokes it and every key that it, or one of those, made or was rotated into; returns the ids of those that were not revoked yet. */
  revokeWithDescendants(id: string, at: Date): Promise<string[]>;
  /**
   * Stores `next` and lets the old key expire at `expiresAt`, both or neither. Undefined when at `now` the old key or the one
   * that rotates it is no longer active, or the old key already has a successor: of two rotations at once, or a rotation and a revocation, one wins.
   */
  rotate(id: string, now: Date, expiresAt: Date, next: NewKey): Promise<StoredKey | undefined>;
};

// Prisma gives up on a transaction after 2 s of waiting for a connection and 5 s of work, too soon for a busy database.
const patience = { maxWait: 10_000, timeout: 15_000 };

/** The KeyStore on Prisma. */
export function createKeyStore(prisma: PrismaClient): KeyStore {
  return {
    findByDigest: async (digest) => toStored(await prisma.apiKey.findUnique({ where: { digest } })),
    find: async (id, owner) => toStored(await prisma.apiKey.findFirst({ where: { id, ...bound(owner) } })),
    create: async (key) => {
      if (key.createdBy === rootPrincipal.id) return toStored(await prisma.apiKey.create({ data: toRow(key) }));
      return prisma.$transaction(async (tx) => (await makerIsLive(tx, key) ? toStored(await tx.apiKey.create({ data: toRow(key) })) : undefined), patience);
    },
    list: async (owner, { createdBy, rotatedFrom }, position, limit) => {
      const filter = { ...(createdBy === undefined ? {} : { createdBy }), ...(rotatedFrom === undefined ? {} : { rotatedFrom }) };
      const rows = await prisma.apiKey.findMany({ where: { ...bound(owner), ...filter, ...after(position) }, orderBy: newestFirst, take: limit });
      return rows.map((row) => toStored(row)!);
    },
    revoke: async (id, at) => {
      await prisma.apiKey.updateMany({ where: { id, revokedAt: null }, data: { revokedAt: at } });
      return (await prisma.apiKey.count({ where: { id } })) > 0;
    },
    async revokeWithDescendants(id, at) {
      const revoked: string[] = [];
      // Again until none is found: one of them may have been making another while the rows were read.
      for (;;) {
        const living = await prisma.$queryRaw<{ id: string }[]>`
          WITH RECURSIVE family AS (
            SELECT id FROM api_keys WHERE id = ${id}::uuid
            UNION
            SELECT child.id FROM family JOIN api_keys child ON child.created_by = family.id::text OR child.rotated_from = family.id
          )
          SELECT id FROM family JOIN api_keys USING (id) WHERE revoked_at IS NULL`;
        if (living.length === 0) return revoked;
        // One row's lock at a time: a rotation holds two, in an order of its own.
        for (const one of living) {
          await prisma.apiKey.updateMany({ where: { id: one.id, revokedAt: null }, data: { revokedAt: at } });
          revoked.push(one.id);
        }
      }
    },
    rotate: (id, now, expiresAt, next) => prisma.$transaction(async (tx) => {
      // Locks the row: whoever rotates or revokes it at the same time waits here.
      const { count } = await tx.apiKey.updateMany({
        where: { id, revokedAt: null, OR: [{ expiresAt: null }, { expiresAt: { gt: now } }] }, data: { expiresAt },
      });
      return count === 0 || !(await makerIsLive(tx, next)) ? undefined : toStored(await tx.apiKey.create({ data: toRow({ ...next, rotatedFrom: id }) }));
    }, patience).catch((error: unknown) => {
      if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') return undefined;
      throw error;
    }),
  };
}

/** Locks the key that makes another against its revocation until both are committed; false when it is revoked already. */
async function makerIsLive(tx: Prisma.TransactionClient, { createdBy }: NewKey): Promise<boolean> {
  if (createdBy === null || createdBy === rootPrincipal.id) return true;
  const rows = await tx.$queryRaw<{ id: string }[]>`SELECT id FROM api_keys WHERE id = ${createdBy}::uuid AND revoked_at IS NULL FOR SHARE`;
  return rows.length > 0;
}

function bound(owner: Identity | undefined) {
  return owner ? { identity: owner.identity, identityType: owner.identityType } : {};
}

function toRow({ boundTo, ...key }: NewKey) {
  return { ...key, identity: boundTo?.identity ?? null, identityType: boundTo?.identityType ?? null };
}

function toStored(row: ApiKeyModel | null): StoredKey | undefined {
  if (!row) return undefined;
  const { identity, identityType, ...key } = row;
  return { ...key, boundTo: identity === null ? undefined : { identity, identityType: identityType as IdentityType } };
}
