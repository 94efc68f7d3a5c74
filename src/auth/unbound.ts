import { Problem } from '../errors.js';
import type { Principal } from './principal.js';

/** 403 `unbound_key_required` for a credential that may act as one identity only: what follows concerns everybody's. */
export function requireUnbound(principal: Principal): void {
  if (principal.identity) throw new Problem('unbound_key_required', 'This concerns every identity; use a key that is not bound to one.');
}
