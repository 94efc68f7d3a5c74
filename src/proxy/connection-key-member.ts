import { Problem } from '../errors.js';

/** The connection that a call was planned with, as far as a body may name it. */
export type Chosen = Readonly<{ id: string; key: string }>;

// Some parsers match member names in any case, by Unicode's simple folding (Go's), hence the flags.
const ours = /^connectionkey$/iu;

/** Whether a member's name is `connectionKey` to some parser. */
export function isConnectionKey(name: string): boolean {
  return ours.test(name);
}

/** Whether a member's value names the chosen connection: its key, or our id of it. */
export function namesChosen(value: unknown, { id, key }: Chosen): boolean {
  return typeof value === 'string' && (value === key || value.toLowerCase() === id);
}

/** 422 `action_mismatch` for a body that names another connection than the call's. */
export function foreignConnection(): Problem {
  return mismatch('The body\'s connectionKey is not the connection of this call.', 'must be the key or the id of the connection that the call uses, or absent');
}

/** 422 `action_mismatch` for a body, with the reason. */
export function mismatch(detail: string, message: string, field = 'body.connectionKey'): Problem {
  return new Problem('action_mismatch', detail, { errors: [{ field, message }] });
}
