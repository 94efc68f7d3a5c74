import { timingSafeEqual } from 'node:crypto';
import { Problem } from '../errors.js';
import { containsToken, digestKey, isWellFormedKey } from './key-format.js';
import type { CachedKeys } from './cached-keys.js';
import type { StoredKey } from './key-store.js';
import { type Principal, rootPrincipal } from './principal.js';
import type { Caller, Strangers } from './strangers.js';

/** Turns a presented credential into a principal. */
export type Authenticator = {
  /**
   * A promise only where something must be looked up. Throws or rejects with the one 401 for anything but a live credential;
   * with 429 or 503 where too many unknown ones are looked up, of the caller's address or altogether.
   */
  authenticate(credential: string, caller?: Caller): Principal | Promise<Principal>;
  /** Whether a text, raw or percent-decoded, contains one of our credentials. */
  mentionsCredential(text: string): boolean;
};

/** The root keys, compared by their digests in constant time, and the API keys in the store, which are looked up by theirs. */
export function createAuthenticator(rootKeys: readonly string[], keys: CachedKeys, strangers: Strangers, now: () => number = Date.now): Authenticator {
  const rootDigests = rootKeys.map((key) => Buffer.from(digestKey(key)));
  const principals = new WeakMap<StoredKey, Principal>();
  const principalOf = (key: StoredKey | undefined): Principal => {
    if (!key || !isActive(key, now())) throw unauthorized();
    const known = principals.get(key);
    if (known) return known;
    const principal: Principal = {
      id: key.id, kind: 'api-key', scopes: key.scopes, identity: key.boundTo, expiresAt: key.expiresAt, allowedOrigins: key.allowedOrigins,
    };
    principals.set(key, principal);
    return principal;
  };
  return {
    authenticate(credential, caller) {
      const digest = digestKey(credential);
      const held = keys.held(digest);
      if (held) return principalOf(held);
      const presented = Buffer.from(digest);
      if (rootDigests.some((root) => timingSafeEqual(presented, root))) return rootPrincipal;
      if (!isWellFormedKey(credential)) throw unauthorized();
      return strangers.lookUp(caller, digest, async () => principalOf(await keys.findByDigest(digest)));
    },
    mentionsCredential(text) {
      return [text, decoded(text)].some((form) => rootKeys.some((key) => form.includes(key)) || containsToken(form));
    },
  };
}

/** The one 401: the same for unknown, expired and revoked keys. */
export function unauthorized(detail = 'The key is unknown, expired or revoked.'): Problem {
  return new Problem('unauthorized', detail, { headers: { 'www-authenticate': 'Bearer realm="authkit-gateway"' } });
}

/** Whether a key may still be used at `at`, in milliseconds since the epoch. */
export function isActive(key: { revokedAt: Date | null; expiresAt: Date | null }, at: number): boolean {
  return key.revokedAt === null && (key.expiresAt === null || key.expiresAt.getTime() > at);
}

function decoded(text: string): string {
  if (!text.includes('%')) return text;
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
