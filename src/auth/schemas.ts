import Type from 'typebox';
import { Nullable, PageQuery, printable, Ref, Time } from '../schemas.js';
import { IdentitySchema, IdentityTypeSchema } from './identity.js';
import { ScopeSchema } from './scopes.js';

const ScopesSchema = Type.Array(ScopeSchema, { minItems: 1, maxItems: 50, uniqueItems: true });

/** Origins a credential may be used from, such as `https://app.example.com`. */
export const OriginsSchema = Type.Array(Type.String({ maxLength: 256, format: 'origin' }), {
  minItems: 1, maxItems: 50, uniqueItems: true,
  description: 'The only origins browsers may use it from; any unless given. The widget asks for its token from its own: https://authkit.picaos.com.',
});

/** The body of `POST /api-keys`. */
export const KeyRequestSchema = Type.Object({
  name: Type.String({ minLength: 1, maxLength: 128, pattern: printable }),
  scopes: ScopesSchema,
  identity: Type.Optional(IdentitySchema),
  identityType: Type.Optional(IdentityTypeSchema),
  expiresAt: Type.Optional(Type.String({ format: 'date-time', description: 'When it stops working; never unless given, or with the key that asks.' })),
  allowedOrigins: Type.Optional(Type.Unsafe<string[]>({
    ...OriginsSchema,
    description: 'Makes the key publishable: the only origins browsers may use it from. Only for a key whose one scope is authkit:token.',
  })),
}, {
  additionalProperties: false,
  examples: [{ name: 'billing service', scopes: ['connections:read', 'proxy:stripe'], expiresAt: '2030-01-01T00:00:00Z' }],
});

/** The body of `POST /api-keys/:id/rotate`. */
export const RotateRequestSchema = Type.Object({
  overlapSeconds: Type.Integer({
    minimum: 0, maximum: 604_800, default: 3600, description: 'How long the old key keeps working; an hour unless given, a week at most.',
  }),
}, { additionalProperties: false, examples: [{ overlapSeconds: 3600 }] });

const keyMembers = {
  id: Type.String({ format: 'uuid' }),
  name: Type.String(),
  hint: Type.String({ description: 'The first characters of the key.' }),
  scopes: Type.Array(Type.String()),
  identity: Nullable(Type.String()),
  identityType: Nullable(Type.String()),
  allowedOrigins: Type.Array(Type.String(), { description: 'Of a publishable key; else empty.' }),
  createdBy: Nullable(Type.String({ description: 'The id of the key that made it, or `root`.' })),
  rotatedFrom: Nullable(Type.String({ format: 'uuid', description: 'The key that it succeeded.' })),
  createdAt: Time,
  expiresAt: Nullable(Time),
  revokedAt: Nullable(Time),
  lastUsedAt: Nullable(Time),
};
const keyExample = {
  id: '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87', name: 'billing service', hint: 'agk_9fQ2…', scopes: ['connections:read', 'proxy:stripe'],
  identity: null, identityType: null, allowedOrigins: [], createdBy: 'root', rotatedFrom: null,
  createdAt: '2026-01-01T00:00:00.000Z', expiresAt: null, revokedAt: null, lastUsedAt: null,
};

/** An API key in answers: never the key itself. */
export const KeySchema = Type.Object(keyMembers, { $id: 'ApiKey', examples: [keyExample] });

/** The creating answer: the one time the key is shown. */
export const IssuedKeySchema = Type.Object({ ...keyMembers, key: Type.String({ description: 'The key. It is not stored and not shown again.' }) }, {
  $id: 'IssuedApiKey', examples: [{ ...keyExample, key: 'agk_…' }],
});

/** The filters and the page of `GET /api-keys`. */
export const KeyListQuerySchema = Type.Object({
  createdBy: Type.Optional(Type.String({ pattern: '^(?:root|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$', description: 'Made by the key of this id, or by `root`.' })),
  rotatedFrom: Type.Optional(Type.String({ format: 'uuid', description: 'The successor of the key of this id.' })),
  ...PageQuery,
}, { additionalProperties: false });

/** A page of `GET /api-keys`. */
export const KeyPageSchema = Type.Object({ rows: Type.Array(Ref(KeySchema)), nextCursor: Nullable(Type.String()) }, {
  examples: [{ rows: [keyExample], nextCursor: null }],
});
