import type { Identity } from '../auth/identity.js';

/** What a token is asked for. `page` and `limit` come from widgets that page through the integrations themselves. */
export type TokenRequest = Identity & { group?: string; label?: string; page?: number; limit?: number };

/** Issues AuthKit tokens. The result is the upstream's object, unmodified; every failure is a catalogued Problem. */
export type TokenSource = (request: TokenRequest) => Promise<Record<string, unknown>>;
