import { parseArgs } from 'node:util';
import Value from 'typebox/value';
import { type FieldProblem, Problem } from '../errors.js';
import { isOrigin } from '../origin.js';
import { printable } from '../schemas.js';
import { type Identity, resolveIdentity } from './identity.js';
import type { KeyService } from './key-service.js';
import type { StoredKey } from './key-store.js';
import { rootPrincipal } from './principal.js';
import { ScopeSchema, scopes } from './scopes.js';

/** What `npm run keys` prints when asked for help, or asked wrongly. */
export const usage = `usage: npm run keys -- COMMAND        (in the image: node dist/keys-cli.js COMMAND)

  create --name NAME --scope SCOPE [--scope SCOPE …]
         [--identity ID [--identity-type TYPE]]   bind it to one identity
         [--expires WHEN]                         a date, or 30d, 12h, 45m from now
         [--origin ORIGIN …]                      publishable: for browsers on these origins; only with --scope authkit:token
  list
  revoke ID [--descendants]                       and every key that it, or one of those, made or was rotated into
  rotate ID [--overlap SECONDS]                   how long the old key keeps working; an hour unless given

Scopes: ${Object.keys(scopes).join(', ')}, proxy:{platform}.`;

/** What the operator typed makes no sense; the message says what. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

const units: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };
const maxOverlapSeconds = 604_800;

/** What each command takes besides its id. */
const optionsOf: Record<string, readonly string[]> = {
  create: ['name', 'scope', 'identity', 'identity-type', 'expires', 'origin'], list: [], revoke: ['descendants'], rotate: ['overlap'],
};

/**
 * Runs `create`, `list`, `revoke` or `rotate` with the rights of the root key, for an operator at a shell, and returns what
 * to print; a new key is on a line of its own. Rejects with a UsageError, or the Problem that the API would answer.
 */
export async function runKeysCommand(args: readonly string[], keys: KeyService, now: () => number = Date.now): Promise<string> {
  const { values, positionals: [command, id, ...rest] } = parse(args);
  const tooMany = command === 'create' || command === 'list' ? id : rest[0];
  if (tooMany !== undefined) throw new UsageError(`${tooMany} is one argument too many.`);
  const foreign = Object.keys(values).find((name) => command && Object.hasOwn(optionsOf, command) && !optionsOf[command]!.includes(name));
  if (foreign !== undefined) throw new UsageError(`${command} does not take --${foreign}.`);
  switch (command) {
    case 'create': {
      if (!values.name) throw new UsageError('create needs --name.');
      if ([...values.name].length > 128 || !new RegExp(printable, 'u').test(values.name)) throw new UsageError('--name has 1–128 characters, none of them a control character.');
      const { stored, key } = await keys.create(rootPrincipal, {
        name: values.name, scopes: readScopes(values.scope), boundTo: readIdentity(values.identity, values['identity-type']),
        expiresAt: readExpiry(values.expires, now()), allowedOrigins: readOrigins(values.origin),
      });
      return `${describe(stored)}\n\nThe key, shown this once:\n${key}`;
    }
    case 'list': return list(keys);
    case 'revoke':
      await keys.revoke(rootPrincipal, readId(id), values.descendants);
      return `revoked ${id}${values.descendants ? ' and its descendants' : ''}`;
    case 'rotate': {
      const overlap = Number(values.overlap ?? 3600);
      if (!Number.isInteger(overlap) || overlap < 0 || overlap > maxOverlapSeconds) throw new UsageError(`--overlap is 0–${maxOverlapSeconds} seconds.`);
      const { stored, key } = await keys.rotate(rootPrincipal, readId(id), overlap);
      return `${describe(stored)}\n\nThe old key works for ${overlap} more seconds. The new one, shown this once:\n${key}`;
    }
    default: throw new UsageError(command === undefined ? 'A command is missing.' : `There is no command ${command}.`);
  }
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const texts = { type: 'string', multiple: true } as const;
  try {
    return parseArgs({
      args: [...args], allowPositionals: true,
      options: { name: text, scope: texts, identity: text, 'identity-type': text, expires: text, origin: texts, overlap: text, descendants: { type: 'boolean' } },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

async function list(keys: KeyService): Promise<string> {
  const lines: string[] = [];
  for (let cursor: string | undefined, more = true; more;) {
    const { rows, nextCursor } = await keys.list(rootPrincipal, {}, cursor, 100);
    lines.push(...rows.map(describe));
    cursor = nextCursor ?? undefined;
    more = nextCursor !== null;
  }
  return lines.length > 0 ? lines.join('\n') : 'no keys';
}

function describe({ id, name, hint, scopes: granted, boundTo, allowedOrigins, createdBy, rotatedFrom, expiresAt, revokedAt, lastUsedAt }: StoredKey): string {
  return [
    id, hint, JSON.stringify(name), granted.join(','),
    ...(boundTo ? [`as ${boundTo.identityType} ${JSON.stringify(boundTo.identity)}`] : []),
    ...(allowedOrigins.length > 0 ? [`on ${allowedOrigins.join(',')}`] : []),
    ...(createdBy ? [`by ${createdBy}`] : []),
    ...(rotatedFrom ? [`after ${rotatedFrom}`] : []),
    ...(revokedAt ? [`revoked ${revokedAt.toISOString()}`] : []),
    ...(expiresAt ? [`until ${expiresAt.toISOString()}`] : []),
    lastUsedAt ? `used ${lastUsedAt.toISOString()}` : 'never used',
  ].join('  ');
}

function readId(id: string | undefined): string {
  if (id === undefined || !/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id)) throw new UsageError('Name the key by its id; list shows it.');
  return id;
}

function readScopes(given: readonly string[] = []): string[] {
  const wanted = [...new Set(given.flatMap((some) => some.split(',')))];
  if (wanted.length === 0) throw new UsageError('create needs at least one --scope.');
  const unknown = wanted.find((scope) => !Value.Check(ScopeSchema, scope));
  if (unknown !== undefined) throw new UsageError(`There is no scope ${unknown}.`);
  return wanted;
}

function readIdentity(identity: string | undefined, identityType: string | undefined): Identity | undefined {
  try {
    return identity === undefined && identityType === undefined ? undefined : resolveIdentity(null, {}, { identity, identityType });
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const [{ field, message }] = error.extras.errors as [FieldProblem];
    throw new UsageError(`${field === 'body.identity' ? '--identity' : '--identity-type'} ${message}.`);
  }
}

function readOrigins(given: readonly string[] = []): string[] {
  const wrong = given.find((origin) => !isOrigin(origin));
  if (wrong !== undefined) throw new UsageError(`${wrong} is not an origin such as https://app.example.com (no path, no trailing slash).`);
  return [...given];
}

function readExpiry(text: string | undefined, now: number): Date | null {
  if (text === undefined) return null;
  const [, count, unit] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  const at = new Date(count && unit ? now + Number(count) * units[unit]! : text);
  if (Number.isNaN(at.getTime())) throw new UsageError('--expires is a date such as 2030-01-01, or 30d, 12h, 45m.');
  return at;
}
