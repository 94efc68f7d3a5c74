import { randomBytes } from 'node:crypto';
import type { Owner } from './identity.js';

const LIFETIME_MS = 60 * 60_000;
const MAX_TOKENS = 20_000;

/** A token, its owner, and its end (ms since 1970). */
export interface LinkToken {
  token: string;
  owner: Owner;
  expiresAt: number;
}

/** The opaque proofs of identity that a token answer carries and the widget page hands back when it stores a connection. */
export class LinkTokens {
  #tokens = new Map<string, LinkToken>();

  issue(prefix: 'evt' | 'req', owner: Owner, lifetimeMs = LIFETIME_MS): LinkToken {
    const link = { token: `${prefix}_${randomBytes(24).toString('base64url')}`, owner, expiresAt: Date.now() + lifetimeMs };
    this.#tokens.set(link.token, link);
    if (this.#tokens.size > MAX_TOKENS) this.#tokens.delete(this.#tokens.keys().next().value as string);
    return link;
  }

  /** The owner a live token was issued to; undefined for an unknown or expired one. */
  owner(token: string): Owner | undefined {
    const link = this.#tokens.get(token);
    return link && link.expiresAt > Date.now() ? link.owner : undefined;
  }

  clear(): void {
    this.#tokens.clear();
  }
}
