import { Problem } from '../errors.js';
import { unauthorized } from './authenticator.js';

const credentials = new Set(['authorization', 'x-api-key']);
const identities = new Set(['x-identity', 'x-identity-type', 'x-user-id']);
const lengths = new Set([...credentials, ...identities].map((name) => name.length));

/**
 * Refuses a request that sends a credential or an identity header twice: Node keeps the first of some and joins others,
 * and a server before us may have judged by another one than we would. 401, or 400 `identity_conflict`.
 */
export function refuseRepeated(rawHeaders: readonly string[]): void {
  let seen: string[] | undefined;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (!lengths.has(rawHeaders[index]!.length)) continue;
    const name = rawHeaders[index]!.toLowerCase();
    if (!credentials.has(name) && !identities.has(name)) continue;
    if (!seen?.includes(name)) (seen ??= []).push(name);
    else if (credentials.has(name)) throw unauthorized('A credential was sent twice.');
    else throw new Problem('identity_conflict', `${name} was sent twice.`, { errors: [{ field: `header.${name}`, message: 'was sent twice' }] });
  }
}
