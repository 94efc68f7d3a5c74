import { databaseNow, type PrismaClient } from '../persistence/database.js';
import type { AuthkitSessionModel } from '../persistence/generated/models.js';
import type { Identity } from './identity.js';

/** A stored session: everything but its token. */
export type StoredSession = AuthkitSessionModel;

/** What a session is stored with; the rest is the database's. */
export type NewSession = Identity & Pick<StoredSession, 'digest' | 'allowedOrigins' | 'platforms' | 'reconnectId' | 'madeById' | 'expiresAt'>;

/** The key that made a session; null: the root key. */
type Maker = { revokedAt: Date | null; expiresAt: Date | null } | null;

/** AuthKit sessions in the database. */
export type SessionStore = {
  /** `createdAt` is by the database's clock: what a reconnect finds stored is older or newer than its session. */
  create(session: NewSession): Promise<StoredSession>;
  /** With the key that made it: a session ends with that. */
  findByDigest(digest: string): Promise<(StoredSession & { madeBy: Maker }) | undefined>;
  /** Whether there was one; `owner` narrows to one identity's. */
  remove(id: string, owner: Identity | undefined): Promise<boolean>;
};

/** Sessions in the database. */
export function createSessionStore(prisma: PrismaClient): SessionStore {
  return {
    create: async (session) => prisma.authkitSession.create({ data: { ...session, createdAt: await databaseNow(prisma) } }),
    findByDigest: async (digest) => (await prisma.authkitSession.findUnique({
      where: { digest }, include: { madeBy: { select: { revokedAt: true, expiresAt: true } } },
    })) ?? undefined,
    remove: async (id, owner) => (await prisma.authkitSession.deleteMany({ where: { id, ...owner } })).count > 0,
  };
}
