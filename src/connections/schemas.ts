import Type, { type Static } from 'typebox';
import { IdentityMembers, IdentitySchema, identityTypes, IdentityTypeSchema } from '../auth/identity.js';
import { Nullable, OneOf, PageQuery, printable, Ref, Time } from '../schemas.js';
import { connectionStates } from '../upstream/vault.js';

const PlatformSchema = Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9._-]+$', description: 'Platform id, such as gmail.' });
const EnvironmentSchema = OneOf(['test', 'live']);
const StateSchema = OneOf(connectionStates);
const KeySchema = Type.String({ minLength: 1, maxLength: 1024, description: 'Upstream connection key, {environment}::{platform}::{group}::{token}.' });
const NameSchema = Type.String({ maxLength: 256, pattern: printable });
const TagSchema = Type.String({ minLength: 1, maxLength: 64, pattern: printable });
const TagsSchema = Type.Array(TagSchema, { maxItems: 50, uniqueItems: true });

const recordExample = {
  key: 'test::gmail::default::af92b1c8d07e4f6a9b3c5d1e2f708192', platform: 'gmail', environment: 'test', state: 'operational', name: 'Ada\'s mail',
};
const guideExample = {
  user_id: 'ada', platform: 'gmail', connection_key: recordExample.key, environment: 'test', state: 'operational',
};

/** Taken where it is of use, and otherwise passed over, whatever it is. */
const Unjudged = (description: string) => Type.Optional(Type.Unsafe<unknown>({ description }));

/**
 * The widget's connection record, as it comes: only what says which connection it is, and whose, is judged. The identity and
 * its type are checked when they are used (see resolveIdentity), because empty ones say nothing.
 */
const RecordBody = Type.Object({
  identity: Type.Optional(Nullable(Type.String({ description: 'Whose: 1–128 characters, no control characters, no white space at its ends; an empty one names nobody.' }))),
  identityType: Type.Optional(Nullable(Type.String({ description: `One of ${identityTypes.join(', ')}.` }))),
  user_id: Type.Optional(Nullable(IdentitySchema)),
  key: KeySchema,
  platform: PlatformSchema,
  environment: Type.Optional(Nullable(EnvironmentSchema)),
  state: Unjudged(`One of ${connectionStates.join(', ')}; another is taken for unknown.`),
  active: Unjudged('`false` means the same as the state failed.'),
  name: Unjudged('Text, of which the first 256 characters are stored.'),
  tags: Unjudged('A list, of which the first 50 texts are stored, each cut at 64 characters.'),
}, { additionalProperties: true });

/** The part of a body of `POST /connections` that has to be text we can store; of a record, what is used of it as it is. */
export function judgedPart(body: unknown): unknown {
  if (typeof body !== 'object' || body === null || 'connection_key' in body) return body;
  const { identity, identityType, user_id, key, platform, environment } = body as Record<string, unknown>;
  return { identity, identityType, user_id, key, platform, environment };
}

/** The form of the guide. */
const GuideBody = Type.Object({
  ...IdentityMembers,
  platform: PlatformSchema,
  connection_key: KeySchema,
  environment: Type.Optional(EnvironmentSchema),
  state: Type.Optional(StateSchema),
  name: Type.Optional(NameSchema),
  tags: Type.Optional(TagsSchema),
}, { additionalProperties: false });

/** The body of `POST /connections`, in either form. */
export type CreateBody = Static<typeof RecordBody> | Static<typeof GuideBody>;

/** Either form; which one it is shows in `connection_key`, so that errors speak of the form that was meant. */
export const CreateBodySchema = Type.Unsafe<CreateBody>({
  type: 'object',
  if: { properties: { connection_key: {} }, required: ['connection_key'] },
  then: GuideBody,
  else: RecordBody,
  examples: [recordExample, guideExample],
});

/** The body of `PATCH /connections/:id`. */
export const PatchBodySchema = Type.Object({
  name: Type.Optional(Nullable(NameSchema)),
  tags: Type.Optional(TagsSchema),
  metadata: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { description: 'Yours to use, 16 KiB of JSON at most; replaces what was there.' })),
}, { additionalProperties: false, minProperties: 1, examples: [{ name: 'Support inbox', tags: ['support'], metadata: { crmId: 42 } }] });

/** The filters and the page of `GET /connections`. */
export const ListQuerySchema = Type.Object({
  identity: Type.Optional(IdentitySchema),
  identityType: Type.Optional(IdentityTypeSchema),
  platform: Type.Optional(PlatformSchema),
  environment: Type.Optional(EnvironmentSchema),
  state: Type.Optional(StateSchema),
  tag: Type.Optional(TagSchema),
  key: Type.Optional(Type.String({ minLength: 1, maxLength: 1024, pattern: printable })),
  ...PageQuery,
}, { additionalProperties: false });

/** The body of `POST /connections/sync`. */
export const SyncBodySchema = Type.Object(IdentityMembers, { additionalProperties: false, examples: [{ identity: 'ada' }] });

const connectionExample = {
  id: '01938f7e-5c1a-7d3e-9b0a-3f2d1c0b9a87', key: recordExample.key, platform: 'gmail', environment: 'test', state: 'operational', stateReason: null, identity: 'ada',
  identityType: 'user', name: 'Ada\'s mail', tags: [], metadata: {}, createdAt: '2026-01-01T00:00:00.000Z', updatedAt: '2026-01-01T00:00:00.000Z', lastUsedAt: null,
};

const connectionMembers = {
  id: Type.String({ format: 'uuid' }),
  key: Type.String(),
  platform: Type.String(),
  environment: Type.String(),
  state: Type.String(),
  stateReason: Nullable(Type.String({ description: 'Why it is in that state, where more is known: `not_in_vault` when the vault no longer has it.' })),
  identity: Type.String(),
  identityType: Type.String(),
  name: Nullable(Type.String()),
  tags: Type.Array(Type.String()),
  metadata: Type.Record(Type.String(), Type.Unknown()),
  createdAt: Time,
  updatedAt: Time,
  lastUsedAt: Nullable(Time),
};

/** A connection in answers to API keys. */
export const ConnectionSchema = Type.Object(connectionMembers, { $id: 'Connection', examples: [connectionExample] });

/** A connection in answers that browsers may get too. */
export const ConnectionViewSchema = Type.Object({
  ...connectionMembers,
  key: Type.Optional(Type.String({ description: 'Not for a session or a JWT.' })),
  metadata: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { description: 'Not for a session or a JWT.' })),
}, { $id: 'ConnectionView', examples: [connectionExample] });

/** A page of `GET /connections`. */
export const ConnectionPageSchema = Type.Object({ rows: Type.Array(Ref(ConnectionViewSchema)), nextCursor: Nullable(Type.String()) }, {
  examples: [{ rows: [connectionExample], nextCursor: null }],
});

const SyncResultSchema = Type.Object({
  created: Type.Integer(), updated: Type.Integer(), removed: Type.Integer(), unchanged: Type.Integer(),
  skipped: Type.Integer({ description: 'Rows of the vault that are not as it describes them, and were left out.' }),
});

/** The query of `POST /connections/sync`. */
export const SyncQuerySchema = Type.Object({
  all: Type.Boolean({ default: false, description: 'Every identity instead of one; needs a key that is not bound to one.' }),
}, { additionalProperties: false });

const runExample = { identities: 2, checked: 5, drift: 1, created: 0, updated: 1, removed: 0, failed: 0, skipped: 0 };

/** One answer as JSON, or many as server-sent events. */
export const SyncResponses = {
  200: {
    description: 'Synced; with `all=true`, events until everything is.',
    content: {
      'application/json': { schema: SyncResultSchema, example: { created: 1, updated: 0, removed: 0, unchanged: 3, skipped: 0 } },
      'text/event-stream': { schema: Type.String(), example: `event: done\ndata: ${JSON.stringify(runExample)}\n\n` },
    },
  },
};
