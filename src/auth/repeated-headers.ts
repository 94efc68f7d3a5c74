import { Problem } from '../errors.js';
import { unauthorized } from './authenticator.js';

/**
 * Headers that we read, and that have one value: Node keeps the first of some and joins others, and a server before us may
 * have judged by another one than we would. Those with the same bit are one: an action id has two names.
 */
const single = new Map([
  ['authorization', 1], ['x-api-key', 2], ['x-identity', 4], ['x-identity-type', 8], ['x-user-id', 16], ['x-connection-id', 32], ['x-pica-action-id', 64],
  ['x-one-action-id', 64], ['idempotency-key', 128], ['x-authkit-explain', 256], ['content-type', 512], ['content-encoding', 1024],
]);
const lengths = new Set([...single.keys()].map((name) => name.length));
const credentials = 1 | 2;
const identities = 4 | 8 | 16;

// The spellings met so far. Bounded: names come from callers.
const spellings = new Map(single);
const maxSpellings = 500;

function bitOf(spelling: string): number {
  const known = spellings.get(spelling);
  if (known !== undefined) return known;
  const bit = single.get(spelling.toLowerCase()) ?? 0;
  if (spellings.size < maxSpellings) spellings.set(spelling, bit);
  return bit;
}

/**
 * Refuses a request that sends one of our headers twice: 401 for a credential, 400 `identity_conflict` for an identity, 400
 * `invalid_request` for another. `rawHeaders` are Node's: names and values in turn.
 */
export function refuseRepeated(rawHeaders: readonly string[]): void {
  let seen = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const spelling = rawHeaders[index]!;
    if (!lengths.has(spelling.length)) continue;
    const bit = bitOf(spelling);
    if (bit === 0) continue;
    if ((seen & bit) !== 0) throw repeated(bit, spelling.toLowerCase());
    seen |= bit;
  }
}

function repeated(bit: number, name: string): Problem {
  if ((bit & credentials) !== 0) return unauthorized('A credential was sent twice.');
  const extras = { errors: [{ field: `header.${name}`, message: 'was sent twice' }] };
  return new Problem((bit & identities) !== 0 ? 'identity_conflict' : 'invalid_request', `${name} was sent twice.`, extras);
}
