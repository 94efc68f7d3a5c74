import type { Identity } from './identity.js';

/**
 * Who is calling. `root` and `api-key` carry scopes, `*` for the root key. `session` and `jwt` are what a browser holds: no
 * scopes, one identity, and only the routes that say so (see Access).
 */
export type Principal = Readonly<{
  id: string;
  kind: 'root' | 'api-key' | 'session' | 'jwt';
  scopes: readonly string[];
  /** The one identity this credential may act as; undefined: any. */
  identity: Identity | undefined;
  /** When it stops working; null: never. What it creates ends no later. */
  expiresAt: Date | null;
  /** The origins it may be used from; empty: any, and from outside of browsers too. */
  allowedOrigins: readonly string[];
  /** Of a session: what it is narrowed to. */
  session?: SessionLimits;
}>;

/** What an AuthKit session narrows its principal to. */
export type SessionLimits = Readonly<{
  /** The platforms it is for; empty: all. */
  platforms: readonly string[];
  /** The connection whose key a claim replaces, and since when the session is open. */
  reconnect: Readonly<{ connectionId: string; since: Date }> | undefined;
}>;

/** Whether a credential is made for browsers: bound to one identity, worth nothing elsewhere. */
export function isBrowserCredential({ kind }: Principal): boolean {
  return kind === 'session' || kind === 'jwt';
}

/** A key meant to be seen by everybody: it can only ask for tokens, and only from its own origins. */
export function isPublishable({ scopes, allowedOrigins }: Pick<Principal, 'scopes' | 'allowedOrigins'>): boolean {
  return allowedOrigins.length > 0 && scopes.length === 1 && scopes[0] === 'authkit:token';
}

/** The root key. */
export const rootPrincipal: Principal = Object.freeze({
  id: 'root', kind: 'root', scopes: ['*'], identity: undefined, expiresAt: null, allowedOrigins: [],
});
