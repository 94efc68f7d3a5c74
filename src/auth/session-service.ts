import { Problem } from '../errors.js';
import { isActive, unauthorized } from './authenticator.js';
import type { Identity } from './identity.js';
import { digestKey, generateToken } from './key-format.js';
import type { Principal } from './principal.js';
import type { SessionStore, StoredSession } from './session-store.js';

/** What a caller asks of a new session. Empty lists do not narrow. */
export type SessionRequest = {
  expiresInSeconds: number;
  allowedOrigins: string[];
  platforms: string[];
  /** The connection whose key a claim made with the session replaces. */
  reconnectId: string | undefined;
};

/** Rejects unless `owner` has the connection. */
export type FindConnection = (id: string, owner: Identity) => Promise<unknown>;

/** AuthKit sessions: what a browser gets instead of a key. */
export type SessionService = {
  /** A session of `owner`, and its token, which is in this answer only. Ends no later than the key that asks for it. */
  create(maker: Principal, owner: Identity, request: SessionRequest): Promise<{ stored: StoredSession; token: string }>;
  /** Ends it at once, everywhere: nothing caches sessions. 404 `session_not_found` for unknown and other identities' alike. */
  end(maker: Principal, id: string): Promise<void>;
  /** The session's principal; 401 for anything but a live session's token. */
  authenticate(token: string): Promise<Principal>;
};


/** The service over a store; `findConnection` looks up what `reconnect` names, `now` is the clock that expiry goes by. */
export function createSessionService(store: SessionStore, findConnection: FindConnection, now: () => Date = () => new Date()): SessionService {
  return {
    async create(maker, owner, { expiresInSeconds, allowedOrigins, platforms, reconnectId }) {
      if (reconnectId !== undefined) await findConnection(reconnectId, owner);
      const token = generateToken('ags_');
      const end = new Date(now().getTime() + expiresInSeconds * 1000);
      const stored = await store.create({
        identity: owner.identity, identityType: owner.identityType, digest: digestKey(token), allowedOrigins, platforms, reconnectId: reconnectId ?? null,
        madeById: maker.kind === 'api-key' ? maker.id : null, expiresAt: maker.expiresAt && maker.expiresAt < end ? maker.expiresAt : end,
      });
      return { stored, token };
    },

    async end(maker, id) {
      if (!(await store.remove(id, maker.identity))) throw new Problem('session_not_found', 'There is no such session; it may have ended by itself.');
    },

    async authenticate(token) {
      const session = await store.findByDigest(digestKey(token));
      const alive = session && session.expiresAt > now() && (session.madeBy === null || isActive(session.madeBy, now().getTime()));
      if (!alive) throw unauthorized('The session is unknown or has ended.');
      return toPrincipal(session);
    },
  };
}

function toPrincipal({ id, identity, identityType, allowedOrigins, platforms, reconnectId, createdAt, expiresAt }: StoredSession): Principal {
  return {
    id, kind: 'session', scopes: [], identity: { identity, identityType: identityType as Identity['identityType'] }, allowedOrigins, expiresAt,
    session: { platforms, reconnect: reconnectId === null ? undefined : { connectionId: reconnectId, since: createdAt } },
  };
}
