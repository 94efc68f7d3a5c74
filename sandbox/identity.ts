import Type, { type Static } from 'typebox';

/** An environment, which the secret decides. */
export const Environment = Type.Union([Type.Literal('test'), Type.Literal('live')]);
export type Environment = Static<typeof Environment>;

/** A kind of identity. */
export const IdentityType = Type.Union([
  Type.Literal('user'),
  Type.Literal('team'),
  Type.Literal('organization'),
  Type.Literal('project'),
]);
export type IdentityType = Static<typeof IdentityType>;

/** Whom a token or a connection belongs to. */
export interface Owner {
  environment: Environment;
  identity?: string | undefined;
  identityType?: IdentityType | undefined;
}

/** What the token routes accept; unknown fields are ignored, as the wire does. */
export const TokenBody = Type.Object({
  identity: Type.Optional(Type.String({ minLength: 1 })),
  identityType: Type.Optional(IdentityType),
  group: Type.Optional(Type.String()),
  label: Type.Optional(Type.String()),
  ttl: Type.Optional(Type.Number({ minimum: 0 })),
});
/** The body of a token request. */
export type TokenBody = Static<typeof TokenBody>;
