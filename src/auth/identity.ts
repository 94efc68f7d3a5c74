import type { FastifyRequest } from 'fastify';
import Type from 'typebox';
import { Problem } from '../errors.js';
import { OneOf } from '../schemas.js';
import { isFromBrowser } from './browser.js';
import { isPublishable, type Principal } from './principal.js';

/** The kinds of identity the upstream knows (upstream.md, "Issuing an AuthKit token"). */
export const identityTypes = ['user', 'team', 'organization', 'project'] as const;
/** A kind of identity. */
export type IdentityType = (typeof identityTypes)[number];

/** Whose connections: a name of the application's own (1–128 characters) and its kind. */
export type Identity = Readonly<{ identity: string; identityType: IdentityType }>;

/** An identity in one word, the same wherever one is a key: of a cache, a count, a row. */
export function identityName({ identity, identityType }: { identity: string; identityType: string }): string {
  return `${identityType}:${identity}`;
}

const maxCharacters = 128;
const control = '\\u0000-\\u001f\\u007f-\\u009f';

/** An identity in a body or query; without look-around, so that other languages' regular expressions read the pattern too. */
export const IdentitySchema = Type.String({
  minLength: 1, maxLength: maxCharacters, pattern: `^[^\\s${control}](?:[^${control}]*[^\\s${control}])?$`,
  description: 'Whose: 1–128 characters, no control characters, no white space at its ends.',
});
/** Its kind. */
export const IdentityTypeSchema = OneOf(identityTypes, { description: 'The kind of identity; user unless given.' });

/** The members of a JSON body that may name the identity; `user_id` is the guide's word for `identity` of type `user`. */
export const IdentityMembers = {
  identity: Type.Optional(IdentitySchema),
  identityType: Type.Optional(IdentityTypeSchema),
  user_id: Type.Optional(IdentitySchema),
};

/** The headers that may name the identity, for a route's schema; {@link resolveIdentity} judges their values. */
export const IdentityHeaders = Type.Object({
  'x-identity': Type.Optional(Type.String({
    description: 'Whom the request acts as: 1–128 characters. A key bound to an identity needs none. ASCII as it is; anything else as in RFC 8187: `UTF-8\'\'Zo%C3%AB`.',
  })),
  'x-identity-type': Type.Optional(Type.String({ description: `One of ${identityTypes.join(', ')}; user unless given.` })),
  'x-user-id': Type.Optional(Type.String({ description: 'The same as x-identity, of type user.' })),
});

const nobody: NamedIdentity = Object.freeze({});

/** What a body or query says of the identity, unchecked. */
export type NamedIdentity = { identity?: string | undefined; identityType?: string | undefined; user_id?: string | undefined };

/**
 * The identity a request acts as, or undefined when nothing names one. In order: bound to the credential, `x-identity`
 * (+ `x-identity-type`) or `x-user-id`, `named` (the body, or a query). All that are present must agree, else 400
 * `identity_conflict`; a malformed one is 400 `invalid_request`. From a browser an unbound key may name nobody, unless it
 * is publishable: 403 `identity_not_trusted`.
 */
export function resolveIdentity(principal: Principal | null, headers: FastifyRequest['headers'], named: NamedIdentity = nobody): Identity | undefined {
  const silent = headers['x-identity'] === undefined && headers['x-identity-type'] === undefined && headers['x-user-id'] === undefined;
  if (silent && named === nobody) return principal?.identity;
  const sources: Claim[] = [
    ...(principal?.identity ? [{ where: 'the credential', ...principal.identity }] : []),
    ...claim('header.x-identity', headerText(headers, 'x-identity'), headerText(headers, 'x-identity-type')),
    ...userClaim('header.x-user-id', headerText(headers, 'x-user-id')),
    ...claim('body.identity', named.identity, named.identityType),
    ...userClaim('body.user_id', named.user_id),
  ];
  const first = sources.find((source) => source.identity !== undefined);
  if (first?.identity === undefined) {
    if (sources[0]) throw invalid(typeField(sources[0].where), 'names a type without an identity');
    return undefined;
  }
  if (principal) refuseBrowsersChoice(principal, headers, first.where);
  // The first decides the type too: what comes after may agree, but not say of which type a plain `x-identity: 42` is.
  const identityType = first.identityType ?? 'user';
  for (const other of sources) {
    const sameType = other.identityType === undefined || other.identityType === identityType;
    if ((other.identity ?? first.identity) !== first.identity || !sameType) {
      throw new Problem('identity_conflict', `${first.where} and ${other.where} name different identities.`, {
        errors: [{ field: other.where, message: `contradicts ${first.where}` }],
      });
    }
  }
  return { identity: first.identity, identityType };
}

/** 403 `identity_not_trusted` where an identity was named at `where` by a browser that holds an unbound key, unless that is publishable. */
export function refuseBrowsersChoice(principal: Principal, headers: FastifyRequest['headers'], where: string): void {
  if (principal.identity || isPublishable(principal) || !isFromBrowser(headers)) return;
  throw new Problem('identity_not_trusted', 'A browser may not choose whom an unbound key acts as: give it an AuthKit session (POST /authkit/sessions).', {
    errors: [{ field: where, message: 'comes from a browser' }],
  });
}

/** {@link resolveIdentity}, or 400 `identity_required`. */
export function requireIdentity(principal: Principal | null, headers: FastifyRequest['headers'], named?: NamedIdentity): Identity {
  const identity = resolveIdentity(principal, headers, named);
  if (identity) return identity;
  throw new Problem('identity_required', 'Name an identity: a key bound to one, the header x-identity or x-user-id, or identity in the body.', {
    errors: [{ field: 'header.x-identity', message: 'is required' }],
  });
}

/** A type alone names nobody, but must fit whom the others name. */
type Claim = { where: string; identity: string | undefined; identityType: IdentityType | undefined };

function claim(where: string, identity: string | undefined, identityType: string | undefined): Claim[] {
  if (identity === undefined) {
    if (identityType === undefined) return [];
  } else {
    checkIdentity(where, identity);
  }
  if (identityType !== undefined && !identityTypes.includes(identityType as IdentityType)) {
    throw invalid(typeField(where), `must be one of ${identityTypes.join(', ')}`);
  }
  return [{ where, identity, identityType: identityType as IdentityType | undefined }];
}

function typeField(where: string): string {
  return where.startsWith('header') ? 'header.x-identity-type' : 'body.identityType';
}

/** 400 `invalid_request` that names `where`, unless `identity` is one: 1–128 code points, none of them a control character, no white space at its ends. */
export function checkIdentity(where: string, identity: string): void {
  const problem = identityProblem(identity);
  if (problem) throw invalid(where, problem);
}

function identityProblem(identity: string): string | undefined {
  // A character outside of the basic plane has two code units, so that up to twice the length can fit.
  const fits = identity.length >= 1 && (identity.length <= maxCharacters || (identity.length <= 2 * maxCharacters && [...identity].length <= maxCharacters));
  if (!fits) return `must have 1–${maxCharacters} characters`;
  // eslint-disable-next-line no-control-regex -- control characters are exactly what is refused
  if (/[\u0000-\u001f\u007f-\u009f]/.test(identity)) return 'must not contain control characters';
  // A header cannot carry it and the vault trims it: such a name would be asked for and never found.
  if (/^\s|\s$/.test(identity)) return 'must not begin or end with white space';
  // The database would store each of them as the same replacement character, and two identities would become one.
  if (/\p{Surrogate}/u.test(identity)) return 'must not contain unpaired surrogates';
  return undefined;
}

/** What another system calls an identity, if it can be one of ours. */
export function asIdentity(identity: string, identityType: string): Identity | undefined {
  if (identityProblem(identity) || !identityTypes.includes(identityType as IdentityType)) return undefined;
  return { identity, identityType: identityType as IdentityType };
}

function userClaim(where: string, identity: string | undefined): Claim[] {
  return identity === undefined ? [] : claim(where, identity, 'user');
}

/** An ext-value of RFC 8187 §3.2.1: charset, optional language, value. */
const extended = /^utf-8'[a-z0-9-]*'(.*)$/i;
/** RFC 8187's attr-char and percent-encoded bytes, and what encodeURIComponent leaves besides. */
const extendedValue = /^(?:[\w!#$&'()*+.^`|~-]|%[0-9a-f]{2})*$/i;

/**
 * An identity header's text. Its bytes would be UTF-8 to some and Latin-1 to others (RFC 9110 §5.5), so that there is one
 * spelling for what is not ASCII: an ext-value (RFC 8187 §3.2.1). 400 `invalid_request` for other bytes and for one that is malformed.
 */
function headerText(headers: FastifyRequest['headers'], name: string): string | undefined {
  const header = headers[name];
  if (header === undefined) return undefined;
  const value = Array.isArray(header) ? header.join(', ') : header;
  if (/[^\x20-\x7e]/.test(value)) throw invalid(`header.${name}`, 'must be ASCII; send other characters as UTF-8\'\' and percent-encoded bytes (RFC 8187)');
  const encoded = extended.exec(value)?.[1];
  if (encoded === undefined) return value;
  try {
    if (extendedValue.test(encoded)) return decodeURIComponent(encoded);
  } catch {
    // Refused below: bytes that are no UTF-8.
  }
  throw invalid(`header.${name}`, 'must be percent-encoded UTF-8 after UTF-8\'\' (RFC 8187)');
}

function invalid(field: string, message: string): Problem {
  return new Problem('invalid_request', `${field} ${message}.`, { errors: [{ field, message }] });
}

