import type { ApiKeyModel } from '../persistence/generated/models.js';
import { Prisma, type PrismaClient } from '../persistence/database.js';
import { after, newestFirst, type Position } from '../persistence/keyset.js';
import type { Identity, IdentityType } from './identity.js';

/** A stored API key: everything but the key. */
export type StoredKey = Omit<ApiKeyModel, 'identity' | 'identityType'> & { boundTo: Identity | undefined };

/** What a key is stored with; the rest is the database's. */
export type NewKey = Pick<StoredKey, 'name' | 'digest' | 'hint' | 'scopes' | 'boundTo' | 'expiresAt' | 'allowedOrigins' | 'createdBy'> & { rotatedFrom?: string };

/** API keys in the database. `owner` narrows to the keys bound to that identity. */
export type KeyStore = {
  findByDigest(digest: string): Promise<StoredKey | undefined>;
  find(id: string, owner: Identity | undefined): Promise<StoredKey | undefined>;
  create(key: NewKey): Promise<StoredKey>;
  /** Newest first, at most `limit` rows after `position`. */
  list(owner: Identity | undefined, position: Position | undefined, limit: number): Promise<StoredKey[]>;
  /** Marks it revoked; the time of an earlier revocation stays. False when there is no such key. */
  revoke(id: string, at: Date): Promise<boolean>;
  /**
   * Stores `next` and lets the old key expire at `expiresAt`, both or neither. Undefined when at `now` the old key is no
   * longer active, or already has a successor: of two rotations at once, or a rotation and a revocation, one wins.
   */
  rotate(id: string, now: Date, expiresAt: Date, next: NewKey): Promise<StoredKey | undefined>;
};

/** The KeyStore on Prisma. */
export function createKeyStore(prisma: PrismaClient): KeyStore {
  return {
    findByDigest: async (digest) => toStored(await prisma.apiKey.findUnique({ where: { digest } })),
    find: async (id, owner) => toStored(await prisma.apiKey.findFirst({ where: { id, ...bound(owner) } })),
    create: async (key) => toStored(await prisma.apiKey.create({ data: toRow(key) }))!,
    list: async (owner, position, limit) => {
      const rows = await prisma.apiKey.findMany({ where: { ...bound(owner), ...after(position) }, orderBy: newestFirst, take: limit });
      return rows.map((row) => toStored(row)!);
    },
    revoke: async (id, at) => {
      await prisma.apiKey.updateMany({ where: { id, revokedAt: null }, data: { revokedAt: at } });
      return (await prisma.apiKey.count({ where: { id } })) > 0;
    },
    rotate: (id, now, expiresAt, next) => prisma.$transaction(async (tx) => {
      // Locks the row: whoever rotates or revokes it at the same time waits here.
      const { count } = await tx.apiKey.updateMany({
        where: { id, revokedAt: null, OR: [{ expiresAt: null }, { expiresAt: { gt: now } }] }, data: { expiresAt },
      });
      return count === 0 ? undefined : toStored(await tx.apiKey.create({ data: toRow({ ...next, rotatedFrom: id }) }));
    }).catch((error: unknown) => {
      if (error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002') return undefined;
      throw error;
    }),
  };
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
