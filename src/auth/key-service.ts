import { Problem } from '../errors.js';
import { decodeCursor, page } from '../persistence/keyset.js';
import { isActive, unauthorized } from './authenticator.js';
import type { Identity } from './identity.js';
import { digestKey, generateKey, keyHint } from './key-format.js';
import type { KeyFilter, KeyStore, StoredKey } from './key-store.js';
import { isPublishable, type Principal } from './principal.js';
import { opens } from './scopes.js';

/** What a caller asks of a new key. */
export type KeyRequest = { name: string; scopes: string[]; boundTo: Identity | undefined; expiresAt: Date | null; allowedOrigins?: string[] };

/** A stored key together with its plain text, which exists only in the answer that creates it. */
export type IssuedKey = { stored: StoredKey; key: string };

/** API keys as their managers see them. `manager` never reaches beyond its own scopes, identity and time. */
export type KeyService = {
  /**
   * Ends with the manager unless an earlier end is given. 403 `insufficient_scope` for a scope the manager lacks, 400
   * `identity_conflict` for another identity than its own, 400 `invalid_request` for an end that has passed or is later than
   * the manager's own, and for allowed origins on a key that is more than a token key.
   */
  create(manager: Principal, request: KeyRequest): Promise<IssuedKey>;
  list(manager: Principal, filter: KeyFilter, cursor: string | undefined, limit: number): Promise<{ rows: StoredKey[]; nextCursor: string | null }>;
  /**
   * 404 `api_key_not_found` for unknown keys and for keys of another identity. Repeating it changes nothing. `descendants`: also
   * every key that it, or one of those, made or was rotated into.
   */
  revoke(manager: Principal, id: string, descendants?: boolean): Promise<void>;
  /** A successor with the same rights; the old key works for `overlapSeconds` more. 409 when it is no longer active. */
  rotate(manager: Principal, id: string, overlapSeconds: number): Promise<IssuedKey>;
};

/** The service over a store; `now` is the clock that expiry goes by. */
export function createKeyService(store: KeyStore, now: () => Date = () => new Date()): KeyService {
  const find = async (manager: Principal, id: string): Promise<StoredKey> => {
    const stored = await store.find(id, manager.identity);
    if (!stored) throw new Problem('api_key_not_found', 'There is no such API key.');
    return stored;
  };

  return {
    async create(manager, { name, scopes, boundTo, expiresAt: wanted, allowedOrigins = [] }) {
      refuseEscalation(manager, scopes, boundTo);
      const expiresAt = wanted ?? manager.expiresAt;
      // Not `<=`: a leap second is a valid date-time (RFC 3339) but no valid Date. Past 9999 the database's answer cannot be read back.
      if (expiresAt && !(expiresAt > now() && expiresAt.getUTCFullYear() <= 9999)) throw invalidField('expiresAt', 'must be in the future, and not after the year 9999');
      if (outlives(expiresAt, manager)) throw invalidField('expiresAt', 'must not be later than the end of the key that asks');
      if (allowedOrigins.length > 0 && !isPublishable({ scopes, allowedOrigins })) {
        throw invalidField('allowedOrigins', 'is only for a key whose one scope is authkit:token');
      }
      const key = generateKey();
      const stored = await store.create({
        name, scopes, expiresAt, allowedOrigins, boundTo: boundTo ?? manager.identity, digest: digestKey(key), hint: keyHint(key), createdBy: manager.id,
      });
      // The manager was revoked while it asked: what it would leave behind nobody expects to be there.
      if (!stored) throw unauthorized();
      return { stored, key };
    },

    async list(manager, filter, cursor, limit) {
      return page(await store.list(manager.identity, filter, decodeCursor(cursor), limit + 1), limit);
    },

    async revoke(manager, id, descendants = false) {
      const stored = await find(manager, id);
      if (descendants) await store.revokeWithDescendants(stored.id, now());
      else await store.revoke(stored.id, now());
    },

    async rotate(manager, id, overlapSeconds) {
      const old = await find(manager, id);
      if (!isActive(old, now().getTime())) throw new Problem('api_key_not_active', 'A revoked or expired key cannot be rotated; create a new one.');
      refuseEscalation(manager, old.scopes, old.boundTo);
      if (outlives(old.expiresAt, manager)) {
        throw new Problem('insufficient_scope', 'A key cannot rotate one that outlives it.');
      }
      const key = generateKey();
      const end = new Date(now().getTime() + overlapSeconds * 1000);
      const stored = await store.rotate(id, now(), old.expiresAt && old.expiresAt < end ? old.expiresAt : end, {
        name: old.name, scopes: old.scopes, boundTo: old.boundTo, expiresAt: old.expiresAt, allowedOrigins: old.allowedOrigins,
        digest: digestKey(key), hint: keyHint(key), createdBy: manager.id,
      });
      if (!stored) throw new Problem('api_key_not_active', 'The key was rotated or revoked before: rotate its successor, or create a new key.');
      return { stored, key };
    },
  };
}

/** Whether something that ends at `expiresAt` is there after `manager` has ended. */
function outlives(expiresAt: Date | null, manager: Principal): boolean {
  return manager.expiresAt !== null && (expiresAt === null || expiresAt > manager.expiresAt);
}

function invalidField(name: string, message: string): Problem {
  return new Problem('invalid_request', `${name} ${message}.`, { errors: [{ field: `body.${name}`, message }] });
}

function refuseEscalation(manager: Principal, scopes: readonly string[], boundTo: Identity | undefined): void {
  const lacking = scopes.filter((scope) => !opens(manager.scopes, scope));
  if (lacking.length > 0) {
    throw new Problem('insufficient_scope', `A key cannot grant a scope it does not have: ${lacking.join(', ')}.`, {
      errors: [{ field: 'body.scopes', message: 'goes beyond the scopes of the key that asks' }],
    });
  }
  const own = manager.identity;
  if (own && boundTo && (boundTo.identity !== own.identity || boundTo.identityType !== own.identityType)) {
    throw new Problem('identity_conflict', 'Who acts as one identity can only create keys for that one.', {
      errors: [{ field: 'body.identity', message: 'contradicts the credential or header' }],
    });
  }
}
